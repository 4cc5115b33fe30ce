"""Taking things out of a store, with a record of what went: `removals/<time>-….json`, keys and no names."""

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
    """One folder that goes, and why."""

    what: Item | Leftover
    why: str

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.what.entry.folder if isinstance(self.what, Item) else self.what.folder

    @property
    def label(self) -> str:
        """What the user sees."""
        return self.what.label if isinstance(self.what, Item) else self.folder.name


def remove(root: Path, removals: Sequence[Removal], tick: Tick) -> list[Removal]:
    """Take the folders out, dependants before what they were made from; returns those that another process holds.

    Raises:
        StoreError: the store cannot be written.
    """
    store, held = ArtifactStore(root), []
    latest = sorted(removals, key=lambda r: r.what.created if isinstance(r.what, Item) else time.time(), reverse=True)
    for number, removal in enumerate(latest, start=1):
        if not store.remove(removal.what.key, removal.folder):
            held.append(removal)
        tick(number, len(latest))
    return held


def remove_stale_locks(root: Path, keys: Sequence[str]) -> int:
    """Remove lock files that nobody holds; returns how many were."""
    return sum(ArtifactStore(root).remove(key) for key in keys)


def record(root: Path, by: str, removals: Sequence[Removal], more: Mapping[str, Any], path: Path | None = None) -> Path:
    """Write what goes, and `more`, before it goes; `path` renews a record.

    Raises:
        StoreError: the store cannot be written.
    """
    now = time.gmtime()
    path = path or root / FOLDER / f"{time.strftime('%Y%m%dT%H%M%SZ', now)}-{uuid.uuid4().hex[:8]}.json"
    gone = [{"kind": removal.what.kind, "key": removal.what.key} for removal in removals]
    size = sum(removal.what.bytes for removal in removals)
    told = {"schema_version": SCHEMA_VERSION, "by": by, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", now)}
    try:
        path.parent.mkdir(exist_ok=True)
        aside = path.with_suffix(".new")
        aside.write_text(json.dumps(told | dict(more) | {"bytes": size, "removed": gone}, indent=1))
        aside.replace(path)
    except OSError as error:
        raise StoreError(f"--store: expected a writable store, got {root}: {error}") from error
    return path


def read_removals(root: Path) -> dict[str, str]:
    """How each key went that was ever removed on purpose: `purge of 2026-11-25`.

    Raises:
        StoreError: a record cannot be read.
    """
    found: dict[str, str] = {}
    for path in sorted((root / FOLDER).glob("*.json")):
        try:
            if not path.is_file():
                raise OSError("not a file")
            told = json.loads(path.read_text())
            found |= {each["key"]: f"{told['by']} of {told['time'][:10]}" for each in told["removed"]}
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise StoreError(f"--store: expected a record of removals, got a damaged {path}: {error!r}") from error
    return found
