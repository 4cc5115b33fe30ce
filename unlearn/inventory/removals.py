"""Removes artifacts from a store and records their keys, without names, in `removals/<time>-….json`."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearn.core.artifact_store import ArtifactStore
from unlearn.core.errors import StoreError
from unlearn.core.progress import Tick
from unlearn.inventory.catalogue import Item, Leftover

SCHEMA_VERSION = 1
FOLDER = "removals"


@dataclass(frozen=True)
class Removal:
    """A folder to remove, and the reason."""

    target: Item | Leftover
    why: str

    @property
    def folder(self) -> Path:
        """The folder to remove."""
        return self.target.entry.folder if isinstance(self.target, Item) else self.target.folder

    @property
    def label(self) -> str:
        """The label in messages."""
        return self.target.label if isinstance(self.target, Item) else self.folder.name


def remove(root: Path, removals: Sequence[Removal], tick: Tick) -> list[Removal]:
    """Remove folders, dependants before their inputs.

    Args:
        root: the store.
        removals: the folders to remove.
        tick: gets the number of folders done, and of all folders.

    Returns:
        The removals that were skipped, because another process holds the lock.

    Raises:
        StoreError: the store cannot be written.
    """
    store, held = ArtifactStore(root), []
    latest = sorted(
        removals, key=lambda r: r.target.created if isinstance(r.target, Item) else time.time(), reverse=True
    )
    for number, removal in enumerate(latest, start=1):
        if not store.remove(removal.target.key, removal.folder):
            held.append(removal)
        tick(number, len(latest))
    return held


def remove_stale_locks(root: Path, keys: Sequence[str]) -> int:
    """Remove lock files that no process holds, and return their number."""
    return sum(ArtifactStore(root).remove(key) for key in keys)


def record(root: Path, by: str, removals: Sequence[Removal], more: Mapping[str, Any], path: Path | None = None) -> Path:
    """Write a record of removals, before they happen.

    Args:
        root: the store.
        by: the command, such as `purge`.
        removals: the folders to remove.
        more: further fields of the record.
        path: an earlier record to replace; None writes a new one.

    Returns:
        The path of the record.

    Raises:
        StoreError: the store cannot be written.
    """
    now = time.gmtime()
    path = path or root / FOLDER / f"{time.strftime('%Y%m%dT%H%M%SZ', now)}-{uuid.uuid4().hex[:8]}.json"
    removed = [{"kind": removal.target.kind, "key": removal.target.key} for removal in removals]
    size = sum(removal.target.bytes for removal in removals)
    fields = {"schema_version": SCHEMA_VERSION, "by": by, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", now)}
    try:
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(fields | dict(more) | {"bytes": size, "removed": removed}, indent=1))
        temporary.replace(path)
    except OSError as error:
        raise StoreError(f"--store: expected a writable store, got {root}: {error}") from error
    return path


def read_removals(root: Path) -> dict[str, str]:
    """Read all records of removals.

    Returns:
        The command and the date by key: `purge of 2026-11-25`.

    Raises:
        StoreError: a record cannot be read.
    """
    removals: dict[str, str] = {}
    for path in sorted((root / FOLDER).glob("*.json")):
        try:
            if not path.is_file():
                raise OSError("not a file")
            content = json.loads(path.read_text())
            removals |= {gone["key"]: f"{content['by']} of {content['time'][:10]}" for gone in content["removed"]}
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise StoreError(f"--store: expected a record of removals, got a damaged {path}: {error!r}") from error
    return removals
