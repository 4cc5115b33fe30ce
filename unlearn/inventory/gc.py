"""What nobody needs: artefacts that no listed report rests on, and what killed processes left behind."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearn.core.artifact_meta import META
from unlearn.core.errors import ConfigError
from unlearn.inventory.catalogue import Catalogue, Item
from unlearn.inventory.removals import Removal

DAY = 24 * 3600.0
KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Rules:
    """What stays. A running job may need again what was used lately: nothing used after `before` ever goes.

    `needed` are the keys of listed reports (None: everything is needed): they stay with all that they were made from,
    and so do all artefacts of `keep_kinds`. Artefacts of `drop_kinds` go even if a report rests on them.
    """

    before: float  # seconds since 1970
    needed: frozenset[str] | None = None
    keep_kinds: frozenset[str] = frozenset()
    drop_kinds: frozenset[str] = frozenset()


def find_needed_keys(catalogue: Catalogue, reports: Sequence[Path]) -> frozenset[str]:
    """The keys that reports name: files, or folders that are searched for `report.json`.

    Raises:
        ConfigError: a path without reports, a report that cannot be read, or that is of another store.
    """
    found: set[str] = set()
    for path in reports:
        files = [path] if path.is_file() else sorted(path.rglob("report.json"))
        if not files:
            raise ConfigError([f"--keep: expected a report.json or a folder with some, got {path}"])
        for file in files:
            keys = set(_keys(_read(file)))
            if not keys & set(catalogue.items):
                raise ConfigError([f"--keep: expected a report made from {catalogue.root}, got {file} of another one"])
            found |= keys
    return frozenset(found)


def find_unneeded(catalogue: Catalogue, rules: Rules) -> Iterator[Removal]:
    """Those that go.

    Raises:
        ConfigError: a kind that the store does not have.
        StoreError: a `meta.json` cannot be read: what that artefact rests on is not known.
    """
    strange = sorted((rules.keep_kinds | rules.drop_kinds) - set(catalogue.kinds))
    if strange:
        raise ConfigError([f"gc: expected kinds among {', '.join(catalogue.kinds)}, got {', '.join(strange)}"])
    if rules.needed is None and not rules.drop_kinds:
        return
    items = [item.intact() for item in catalogue.items.values()]
    recent = catalogue.closure(item.key for item in items if item.used > rules.before)
    needed = catalogue.items.keys() if rules.needed is None else rules.needed
    kept = catalogue.closure(item.key for item in items if item.key in needed or item.kind in rules.keep_kinds)
    for item in items:
        if item.key in recent:
            continue
        if item.kind in rules.drop_kinds:
            yield Removal(item, f"--drop-kind {item.kind}")
        elif item.key not in kept:
            yield Removal(item, "not needed")


def find_leftovers(catalogue: Catalogue, before: float | None) -> Iterator[Removal]:
    """Half-built folders, checkpoints of trainings that were finished, and of those untouched since `before`."""
    for each in catalogue.leftovers:
        if each.kind == "building":
            yield Removal(each, "half-built")
        elif each.key in catalogue.items:
            yield Removal(each, "its training is finished")
        elif before is not None and each.used <= before:
            yield Removal(each, "its training was not resumed")


def drop_recently_used(removals: Iterable[Removal], before: float) -> Iterator[Removal]:
    """Without artefacts that a job took up since the catalogue was read."""
    for removal in removals:
        meta = removal.folder / META
        if not (isinstance(removal.what, Item) and meta.exists() and meta.stat().st_mtime > before):
            yield removal


def _read(file: Path) -> Any:
    try:
        if not file.is_file():
            raise OSError("not a file")
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError([f"--keep: expected a report, got a damaged {file}: {error}"]) from error


def _keys(value: Any) -> Iterator[str]:
    """All keys that a report of any version holds, wherever."""
    if isinstance(value, str):
        yield from (value,) if KEY.fullmatch(value) else ()
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _keys(item)
