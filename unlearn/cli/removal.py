"""The commands `unlearn-store gc` and `unlearn-store purge`: choose, record and remove artifacts."""

from __future__ import annotations

import math
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unlearn.cli.lines import format_size, print_table
from unlearn.core.errors import ConfigError, Problem, pluralize
from unlearn.core.progress import Console
from unlearn.inventory.catalogue import BEGINNING, Catalogue, Item
from unlearn.inventory.gc import DAY, Rules, drop_recently_used, find_leftovers, find_needed_keys, find_unneeded
from unlearn.inventory.removals import Removal, record, remove, remove_stale_locks

if TYPE_CHECKING:
    from unlearn.inventory.purge import PurgePlan
    from unlearn.pipeline.config import RunConfig


def gc(store: Path, arguments: Namespace) -> int:
    """Remove the artifacts that the rules do not keep; without rules, only leftovers of killed processes.

    Args:
        store: The folder of the store.
        arguments: The options `--keep`, `--keep-kind`, `--drop-kind`, `--older-than` and `--dry-run`.

    Returns:
        The exit status: 1 if something was in use and stays, else 0.

    Raises:
        ConfigError: `--older-than` is no number of days.
    """
    catalogue, days = Catalogue.read(store), arguments.older_than
    if days is not None and not (math.isfinite(days) and days >= 0):
        raise ConfigError([Problem("--older-than", "a number of days >= 0", days)])
    before = time.time() - DAY * (1 if days is None else days)
    has_rules = arguments.keep or arguments.keep_kind or days is not None
    needed = find_needed_keys(catalogue, arguments.keep) if has_rules else None
    rules = Rules(before, needed, frozenset(arguments.keep_kind), frozenset(arguments.drop_kind))
    going = [*find_leftovers(catalogue, None if days is None else before), *find_unneeded(catalogue, rules)]
    if arguments.dry_run:
        _print_removals(going, "would be removed")
        return 0
    going = list(drop_recently_used(going, before))
    if any(isinstance(removal.target, Item) for removal in going):
        record(store, "gc", going, {})
    in_use = _remove(store, going)
    print(f"{pluralize(remove_stale_locks(store, catalogue.locks), 'lock file')} without a holder removed as well")
    return int(bool(in_use))


def purge(store: Path, arguments: Namespace, run: RunConfig) -> int:
    """Remove the artifacts that were derived from the requested records.

    Args:
        store: The folder of the store.
        arguments: The options `--reports`, `--undecided` and `--dry-run`.
        run: A config with the data set and the request.

    Returns:
        The exit status: 1 if the purge is not complete, else 0.
    """
    from unlearn.inventory.members import Members
    from unlearn.inventory.purge import find_pictures, plan_purge

    catalogue, requested = Catalogue.read(store), run.forget.requested(run.dataset)
    plan = plan_purge(catalogue, Members(catalogue, run.dataset, requested), arguments.undecided == "remove")
    pages = list(find_pictures(arguments.reports))
    in_use = [] if arguments.dry_run else _carry_out(store, catalogue, plan, len(requested))
    if arguments.dry_run:
        _print_removals(plan.going, "would be removed")
    print("\nkept")
    rows = [(kind, str(count), why) for (kind, why), count in _count_kept(plan).items()]
    print_table(("kind", "count", "why"), rows, ("count",))
    _print_undecided(plan.undecided)
    _print_outside(pages, bool(arguments.reports), any(removal.target.kind == "checkpoint" for removal in plan.going))
    return int(bool(in_use or plan.undecided))


def _carry_out(store: Path, catalogue: Catalogue, plan: PurgePlan, records: int) -> list[Removal]:
    """Record and remove; returns the artifacts in use, which stay.

    The record is written first, so that it also explains what a killed purge leaves.
    """
    kept = [{"kind": kind, "why": why, "count": count} for (kind, why), count in _count_kept(plan).items()]
    details = {"records": records, "kept": kept, "undecided": [item.key for item, _ in plan.undecided]}
    path = record(store, "purge", plan.going, details | {"complete": False})
    in_use = _remove(store, plan.going)
    remove_stale_locks(store, catalogue.locks)
    done = [removal for removal in plan.going if removal not in in_use]
    record(store, "purge", done, details | {"complete": not (in_use or plan.undecided)}, path)
    print(f"recorded in {path}")
    return in_use


def _count_kept(plan: PurgePlan) -> Counter[tuple[str, str]]:
    return Counter((item.kind, why) for item, why in plan.stays)


def _remove(store: Path, going: Sequence[Removal]) -> list[Removal]:
    """Remove, and print what was removed; returns the artifacts in use, which stay."""
    with Console().working("remove" if going else None) as tick:
        in_use = remove(store, going, tick)
    _print_removals([removal for removal in going if removal not in in_use], "removed")
    for removal in in_use:
        print(
            f"in use: {removal.label} {removal.target.key[:BEGINNING]}; it stays, run this again when its job is done"
        )
    return in_use


def _print_removals(going: Sequence[Removal], verb: str) -> None:
    rows = [(r.target.kind, r.label, r.target.key[:BEGINNING], format_size(r.target.bytes), r.why) for r in going]
    if rows:
        print_table(("kind", "label", "key", "size", "why"), rows, ("size",))
    total = sum(r.target.bytes for r in going)
    print(f"{len(going)} {verb}, {total} bytes ({format_size(total)})")


def _print_undecided(undecided: Sequence[tuple[Item, str]]) -> None:
    for item, why in undecided:
        print(f"undecided: {item.kind} {item.label} {item.key[:BEGINNING]}: {why}")
    if undecided:
        print(
            "NOT COMPLETE: undecided artifacts stay; look at them (unlearn-store show KEY), or add --undecided remove"
        )


def _print_outside(pages: Sequence[Path], searched: bool, checkpoint: bool) -> None:
    """Print what the user has to remove, since it is outside the store."""
    print("\nleft to you")
    for page in pages:
        print(f"  {page} contains pictures: inspect it, and remove it if they show forgotten records")
    if not searched:
        print("  pages and W&B folders contain pictures if report.images was on: --reports DIR finds them")
    if checkpoint:
        print("  the file of the checkpoint, of which the store had a copy")
    print("  the images, the request file, copies of this store, and what was sent to W&B")
