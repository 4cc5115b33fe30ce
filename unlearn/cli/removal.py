"""`unlearn-store gc` and `purge`: choose, record, take out, and say so."""

from __future__ import annotations

import math
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unlearn.cli.lines import size, table
from unlearn.core.errors import ConfigError, Problem, counted
from unlearn.core.progress import Console
from unlearn.inventory.catalogue import BEGINNING, Catalogue, Item
from unlearn.inventory.gc import DAY, Rules, artefacts, leftovers, needed_by, still_unused
from unlearn.inventory.removals import Removal, record, remove, sweep_locks

if TYPE_CHECKING:
    from unlearn.inventory.purge import Sentence
    from unlearn.pipeline.config import RunConfig


def gc(store: Path, arguments: Namespace) -> int:
    """Remove what the rules do not keep; without rules, leftovers alone. Exit status 1: something was in use."""
    catalogue, days = Catalogue.read(store), arguments.older_than
    if days is not None and not (math.isfinite(days) and days >= 0):
        raise ConfigError([Problem("--older-than", "a number of days >= 0", days)])
    before = time.time() - DAY * (1 if days is None else days)
    ruled = arguments.keep or arguments.keep_kind or days is not None
    needed = needed_by(catalogue, arguments.keep) if ruled else None
    rules = Rules(before, needed, frozenset(arguments.keep_kind), frozenset(arguments.drop_kind))
    going = [*leftovers(catalogue, None if days is None else before), *artefacts(catalogue, rules)]
    if arguments.dry_run:
        return _say(going, "would go")
    going = list(still_unused(going, before))
    if any(isinstance(removal.what, Item) for removal in going):
        record(store, "gc", going, {})
    held = _take_out(store, going)
    print(f"{counted(sweep_locks(store, catalogue.locks), 'lock file')} that nobody held went as well")
    return int(bool(held))


def purge(store: Path, arguments: Namespace, run: RunConfig) -> int:
    """Remove what was derived from the requested records. Exit status 1: it is not complete."""
    from unlearn.inventory.members import Members
    from unlearn.inventory.purge import pictured, sentence

    catalogue, requested = Catalogue.read(store), run.forget.requested(run.dataset)
    judged = sentence(catalogue, Members(catalogue, run.dataset, requested), arguments.undecided == "remove")
    pages = list(pictured(arguments.reports))
    held = [] if arguments.dry_run else _carry_out(store, catalogue, judged, len(requested))
    if arguments.dry_run:
        _say(judged.going, "would go")
    print("\nstays")
    rows = [(kind, str(count), why) for (kind, why), count in _counts(judged).items()]
    table(("kind", "count", "why"), rows, ("count",))
    _say_undecided(judged.undecided)
    _say_outside(pages, bool(arguments.reports), any(removal.what.kind == "checkpoint" for removal in judged.going))
    return int(bool(held or judged.undecided))


def _carry_out(store: Path, catalogue: Catalogue, judged: Sentence, records: int) -> list[Removal]:
    """Recorded before anything goes, so that what a killed purge leaves is explained; returns what was in use."""
    kept = [{"kind": kind, "why": why, "count": count} for (kind, why), count in _counts(judged).items()]
    told = {"records": records, "kept": kept, "undecided": [item.key for item, _ in judged.undecided]}
    path = record(store, "purge", judged.going, told | {"complete": False})
    held = _take_out(store, judged.going)
    sweep_locks(store, catalogue.locks)
    done = [removal for removal in judged.going if removal not in held]
    record(store, "purge", done, told | {"complete": not (held or judged.undecided)}, path)
    print(f"recorded in {path}")
    return held


def _counts(judged: Sentence) -> Counter[tuple[str, str]]:
    return Counter((item.kind, why) for item, why in judged.stays)


def _take_out(store: Path, going: Sequence[Removal]) -> list[Removal]:
    with Console().working("remove" if going else None) as tick:
        held = remove(store, going, tick)
    _say([removal for removal in going if removal not in held], "went")
    for removal in held:
        print(f"in use: {removal.label} {removal.what.key[:BEGINNING]}; it stays, run this again when its job is done")
    return held


def _say(going: Sequence[Removal], verb: str) -> int:
    rows = [(r.what.kind, r.label, r.what.key[:BEGINNING], size(r.what.bytes), r.why) for r in going]
    if rows:
        table(("kind", "label", "key", "size", "why"), rows, ("size",))
    whole = sum(r.what.bytes for r in going)
    print(f"{len(going)} {verb}, {whole} bytes ({size(whole)})")
    return 0


def _say_undecided(undecided: Sequence[tuple[Item, str]]) -> None:
    for item, why in undecided:
        print(f"undecided: {item.kind} {item.label} {item.key[:BEGINNING]}: {why}")
    if undecided:
        print("NOT COMPLETE: the undecided stay; look at them (unlearn-store show KEY), or add --undecided remove")


def _say_outside(pages: Sequence[Path], searched: bool, checkpoint: bool) -> None:
    """What lies outside of the store is left to the user."""
    print("\nleft to you")
    for page in pages:
        print(f"  {page} holds pictures: look at it, and remove it if they are of the forgotten")
    if not searched:
        print("  pages hold pictures if report.images was on, and so do folders of W&B: --reports DIR finds them")
    if checkpoint:
        print("  the file of the checkpoint, which the store had a copy of")
    print("  the images themselves, their request file, copies of this store, and what was sent to W&B")
