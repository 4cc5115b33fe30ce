"""Garbage collection: finds artifacts that no listed report needs, and leftovers of killed processes."""

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
REPORTS = ("report.json", "stream.json")
KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Rules:
    """Which artifacts are kept.

    Attributes:
        before: seconds since 1970. Artifacts used later are kept, because a running job may need them.
        needed: the keys in listed reports; they are kept with all that they were built from. None: all keys.
        keep_kinds: kinds of artifacts that are kept, with all that they were built from.
        drop_kinds: kinds of artifacts that are removed even if a report needs them.
    """

    before: float
    needed: frozenset[str] | None = None
    keep_kinds: frozenset[str] = frozenset()
    drop_kinds: frozenset[str] = frozenset()


def find_needed_keys(catalogue: Catalogue, reports: Sequence[Path]) -> frozenset[str]:
    """Find the keys that reports name.

    Args:
        catalogue: the store.
        reports: files, or folders that are searched for `report.json` and `stream.json`.

    Raises:
        ConfigError: a path has no reports, or a report is unreadable or of another store.
    """
    needed: set[str] = set()
    for path in reports:
        files = [path] if path.is_file() else sorted(file for name in REPORTS for file in path.rglob(name))
        if not files:
            raise ConfigError([f"--keep: expected a report.json or a folder with some, got {path}"])
        for file in files:
            keys = set(_keys(_read(file)))
            if not keys & set(catalogue.items):
                raise ConfigError([f"--keep: expected a report made from {catalogue.root}, got {file} of another one"])
            needed |= keys
    return frozenset(needed)


def find_unneeded(catalogue: Catalogue, rules: Rules) -> Iterator[Removal]:
    """Find the artifacts that the rules do not keep.

    Raises:
        ConfigError: the rules name a kind that the store does not have.
        StoreError: a `meta.json` is damaged, so that the inputs of that artifact are unknown.
    """
    unknown = sorted((rules.keep_kinds | rules.drop_kinds) - set(catalogue.kinds))
    if unknown:
        raise ConfigError([f"gc: expected kinds among {', '.join(catalogue.kinds)}, got {', '.join(unknown)}"])
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
    """Find unfinished builds, and checkpoints of training runs that have finished or not changed since `before`."""
    for leftover in catalogue.leftovers:
        if leftover.kind == "building":
            yield Removal(leftover, "half-built")
        elif leftover.key in catalogue.items:
            yield Removal(leftover, "its training is finished")
        elif before is not None and leftover.used <= before:
            yield Removal(leftover, "its training was not resumed")


def drop_recently_used(removals: Iterable[Removal], before: float) -> Iterator[Removal]:
    """Drop the removals of artifacts that a job has used since the catalogue was read."""
    for removal in removals:
        meta = removal.folder / META
        if not (isinstance(removal.target, Item) and meta.exists() and meta.stat().st_mtime > before):
            yield removal


def _read(file: Path) -> Any:
    try:
        if not file.is_file():
            raise OSError("not a file")
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError([f"--keep: expected a report, got a damaged {file}: {error}"]) from error


def _keys(value: Any) -> Iterator[str]:
    """Yield all keys anywhere in a report of any version."""
    if isinstance(value, str):
        yield from (value,) if KEY.fullmatch(value) else ()
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _keys(item)
