"""What lies in a store: every artefact by its `meta.json`, read once, and what killed processes left behind."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from unlearn.core.artifact_meta import DIGEST, META, SHA256, MetaError, read_meta
from unlearn.core.artifact_store import Entry
from unlearn.core.errors import StoreError, abbreviate, as_one_line
from unlearn.inventory.specs import references

ASIDE = ("building", "partial")  # folders of the unfinished, each named by its key
NO_KINDS = {*ASIDE, "locks", "pins", "removals"}
BEGINNING = 12  # characters of a key that are shown


@dataclass(frozen=True)
class Item:
    """An artefact. One whose `meta.json` is not as it was written has an empty `meta`."""

    entry: Entry
    bytes: int
    used: float  # seconds since 1970; the store notes a use once an hour
    damage: str = ""  # what is wrong with its `meta.json`

    @property
    def key(self) -> str:
        """The hash that names it."""
        return self.entry.key

    @property
    def kind(self) -> str:
        """The folder of the store it lies in."""
        return self.entry.folder.parent.name

    @property
    def meta(self) -> dict[str, Any]:
        """What its `meta.json` says."""
        return self.entry.meta

    @property
    def spec(self) -> dict[str, Any]:
        """All that determined it."""
        return dict(self.meta.get("spec") or {})

    @property
    def label(self) -> str:
        """What the run called it."""
        return as_one_line(self.meta.get("label") or self.kind) if self.meta else f"damaged {META}"

    @property
    def has_digest(self) -> bool:
        """Whether edits of its `meta.json` can be seen; entries of earlier versions carry no digest."""
        return DIGEST in self.meta

    def intact(self) -> Item:
        """The same.

        Raises:
            StoreError: its `meta.json` is damaged, so that nothing is known of it.
        """
        if not self.meta:
            raise StoreError(
                f"--store: expected the artefact {self.entry.folder} as it was written, got a damaged {META}: "
                f"{self.damage}; "
                f"remove that folder, or run again with rebuild_damaged=true"
            )
        return self

    @property
    def created(self) -> float:
        """Seconds since 1970."""
        return float(self.meta.get("created", self.used))

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Keys of the artefacts it was made from, each once."""
        return tuple(dict.fromkeys(key for _, key in references(self.spec)))


@dataclass(frozen=True)
class Leftover:
    """A folder of `ASIDE`: half an artefact, or the last checkpoint of an unfinished training."""

    kind: str
    folder: Path
    bytes: int
    used: float

    @property
    def key(self) -> str:
        """Of the artefact that it was to become."""
        return self.folder.name.partition("-")[0]


@dataclass(frozen=True)
class Catalogue:
    """A store at one moment."""

    root: Path
    items: dict[str, Item]  # by key, sorted by kind and label
    leftovers: tuple[Leftover, ...]
    locks: tuple[str, ...]  # keys that have a lock file, held or not
    misplaced: tuple[Item, ...] = ()  # damaged ones whose key another kind has

    @classmethod
    def read(cls, root: Path) -> Catalogue:
        """Read every `meta.json`.

        Raises:
            StoreError: there is no store, or it cannot be read.
        """
        try:
            found = sorted(_items(root), key=lambda item: (item.kind, item.label, item.created))
            leftovers = tuple(_leftovers(root))
            locks = tuple(sorted(path.stem for path in root.glob("locks/*.lock")))
            known = found or any((root / name).is_dir() for name in NO_KINDS)
        except OSError as error:
            raise StoreError(f"--store: expected a readable store of artefacts, got {root}: {error}") from error
        if not known:
            raise StoreError(f"--store: expected a folder that unlearn filled, got {root} without any artefact")
        items: dict[str, Item] = {}
        for item in sorted(found, key=lambda item: not item.meta):  # who is whole comes first
            items.setdefault(item.key, item)
        misplaced = tuple(item for item in found if items[item.key] is not item)
        return cls(root, {item.key: items[item.key] for item in found}, leftovers, locks, misplaced)

    @cached_property
    def dependants(self) -> dict[str, list[Item]]:
        """What was made from each key, directly."""
        found: dict[str, list[Item]] = defaultdict(list)
        for item in self.items.values():
            for key in item.inputs:
                found[key].append(item)
        return found

    def find(self, beginning: str) -> Item:
        """The one artefact whose key begins so.

        Raises:
            StoreError: there is none, or more than one.
        """
        found = [item for key, item in self.items.items() if key.startswith(beginning)]
        if len(found) != 1:
            several = abbreviate([f"{item.key[:BEGINNING]} ({item.label})" for item in found]) if found else "none"
            raise StoreError(f"KEY: expected the beginning of one key in {self.root}, got {beginning!r}: {several}")
        return found[0]

    @property
    def kinds(self) -> list[str]:
        """Those that there are, sorted."""
        return sorted({item.kind for item in self.items.values()})

    def closure(self, keys: Iterable[str]) -> set[str]:
        """The keys and all that they were made from, as far as it is there."""
        found: set[str] = set()
        waiting = [key for key in keys if key in self.items]
        while waiting:
            key = waiting.pop()
            if key not in found:
                found.add(key)
                waiting += [each for each in self.items[key].inputs if each in self.items]
        return found


def _items(root: Path) -> Iterator[Item]:
    for kind in os.scandir(root):
        if kind.is_dir() and kind.name not in NO_KINDS:
            yield from (_item(Path(each.path)) for each in os.scandir(kind.path) if SHA256.fullmatch(each.name))


def _item(folder: Path) -> Item:
    """Whatever lies where an artefact belongs: `--store` may point to a folder that is no store at all."""
    try:
        meta, stat = read_meta(folder), (folder / META).stat()
    except (OSError, MetaError) as error:
        return Item(Entry(folder, {}, reused=True), *_extent(folder), damage=str(error))
    size = stat.st_size + sum(file["bytes"] for file in meta["files"].values())
    return Item(Entry(folder, meta, reused=True), size, stat.st_mtime)


def _leftovers(root: Path) -> Iterator[Leftover]:
    for kind in ASIDE:
        for folder in sorted((root / kind).glob("*")):
            yield Leftover(kind, folder, *_extent(folder))


def _extent(folder: Path) -> tuple[int, float]:
    """Bytes in a folder, and when anything in it was last written; a running build may be renaming it away."""
    inside = folder.rglob("*") if folder.is_dir() else ()
    stats = [each for each in map(_stat, (folder, *inside)) if each]
    files = sum(each.st_size for each in stats[1:])
    return files, max((each.st_mtime for each in stats), default=0.0)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
