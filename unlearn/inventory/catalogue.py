"""The content of a store: all artifacts by their `meta.json`, read once, and leftovers of killed processes."""

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

UNFINISHED = ("building", "partial")  # folders of unfinished builds, each named by its key
NO_KINDS = {*UNFINISHED, "locks", "pins", "removals"}
BEGINNING = 12  # characters of a key in messages


@dataclass(frozen=True)
class Item:
    """An artifact; `meta` is empty if its `meta.json` is damaged."""

    entry: Entry
    bytes: int
    used: float  # seconds since 1970; the store notes a use once an hour
    damage: str = ""  # the problem of its `meta.json`; empty if there is none

    @property
    def key(self) -> str:
        """The hash that names the artifact."""
        return self.entry.key

    @property
    def kind(self) -> str:
        """The kind of artifact: its folder in the store."""
        return self.entry.folder.parent.name

    @property
    def meta(self) -> dict[str, Any]:
        """The content of its `meta.json`."""
        return self.entry.meta

    @property
    def spec(self) -> dict[str, Any]:
        """Everything that determined its content."""
        return dict(self.meta.get("spec") or {})

    @property
    def label(self) -> str:
        """The label that the run gave it."""
        return as_one_line(self.meta.get("label") or self.kind) if self.meta else f"damaged {META}"

    @property
    def has_digest(self) -> bool:
        """Whether edits of its `meta.json` can be detected; earlier versions wrote no digest."""
        return DIGEST in self.meta

    def intact(self) -> Item:
        """Return the artifact if its `meta.json` is intact.

        Raises:
            StoreError: its `meta.json` is damaged, so that nothing is known about it.
        """
        if not self.meta:
            raise StoreError(
                f"--store: expected the artifact {self.entry.folder} as it was written, got a damaged {META}: "
                f"{self.damage}; "
                f"remove that folder, or run again with rebuild_damaged=true"
            )
        return self

    @property
    def created(self) -> float:
        """Time of the build, in seconds since 1970."""
        return float(self.meta.get("created", self.used))

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Keys of the artifacts that it was built from, each once; `parts` are those that its spec does not name."""
        named = [key for _, key in references(self.spec)]
        parts = self.meta.get("parts")
        return tuple(dict.fromkeys([*named, *(filter(_is_text, parts) if isinstance(parts, list) else ())]))


@dataclass(frozen=True)
class Leftover:
    """An unfinished build: a part of an artifact, or the last checkpoint of a training run."""

    kind: str
    folder: Path
    bytes: int
    used: float

    @property
    def key(self) -> str:
        """The key of the artifact that was being built."""
        return self.folder.name.partition("-")[0]


@dataclass(frozen=True)
class Catalogue:
    """The content of a store at one moment."""

    root: Path
    items: dict[str, Item]  # by key, sorted by kind and label
    leftovers: tuple[Leftover, ...]
    locks: tuple[str, ...]  # keys with a lock file, held or not
    misplaced: tuple[Item, ...] = ()  # damaged artifacts with the key of an artifact of another kind

    @classmethod
    def read(cls, root: Path) -> Catalogue:
        """Read all `meta.json` files of a store.

        Raises:
            StoreError: there is no store, or it cannot be read.
        """
        try:
            listed = sorted(_items(root), key=lambda item: (item.kind, item.label, item.created))
            leftovers = tuple(_leftovers(root))
            locks = tuple(sorted(path.stem for path in root.glob("locks/*.lock")))
            is_store = listed or any((root / name).is_dir() for name in NO_KINDS)
        except OSError as error:
            raise StoreError(f"--store: expected a readable store of artifacts, got {root}: {error}") from error
        if not is_store:
            raise StoreError(f"--store: expected a folder that unlearn filled, got {root} without any artifact")
        items: dict[str, Item] = {}
        for item in sorted(listed, key=lambda item: not item.meta):  # intact artifacts come first
            items.setdefault(item.key, item)
        misplaced = tuple(item for item in listed if items[item.key] is not item)
        return cls(root, {item.key: items[item.key] for item in listed}, leftovers, locks, misplaced)

    @cached_property
    def dependants(self) -> dict[str, list[Item]]:
        """The artifacts that were built directly from each key."""
        dependants: dict[str, list[Item]] = defaultdict(list)
        for item in self.items.values():
            for key in item.inputs:
                dependants[key].append(item)
        return dependants

    def find(self, beginning: str) -> Item:
        """Find the only artifact with a key that starts with `beginning`.

        Raises:
            StoreError: there is none, or more than one.
        """
        matches = [item for key, item in self.items.items() if key.startswith(beginning)]
        if len(matches) != 1:
            keys = abbreviate([f"{item.key[:BEGINNING]} ({item.label})" for item in matches]) if matches else "none"
            raise StoreError(f"KEY: expected the beginning of one key in {self.root}, got {beginning!r}: {keys}")
        return matches[0]

    @property
    def kinds(self) -> list[str]:
        """All kinds of artifacts in the store, sorted."""
        return sorted({item.kind for item in self.items.values()})

    def closure(self, keys: Iterable[str]) -> set[str]:
        """The keys and all that they were built from, directly or not, without those that the store lacks."""
        closure: set[str] = set()
        waiting = [key for key in keys if key in self.items]
        while waiting:
            key = waiting.pop()
            if key not in closure:
                closure.add(key)
                waiting += [input_key for input_key in self.items[key].inputs if input_key in self.items]
        return closure


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _items(root: Path) -> Iterator[Item]:
    for kind in os.scandir(root):
        if kind.is_dir() and kind.name not in NO_KINDS:
            yield from (_item(Path(folder.path)) for folder in os.scandir(kind.path) if SHA256.fullmatch(folder.name))


def _item(folder: Path) -> Item:
    """Read an artifact, or whatever is in its place: `--store` may point to any folder."""
    try:
        meta, stat = read_meta(folder), (folder / META).stat()
    except (OSError, MetaError) as error:
        return Item(Entry(folder, {}, reused=True), *_extent(folder), damage=str(error))
    size = stat.st_size + sum(file["bytes"] for file in meta["files"].values())
    return Item(Entry(folder, meta, reused=True), size, stat.st_mtime)


def _leftovers(root: Path) -> Iterator[Leftover]:
    for kind in UNFINISHED:
        for folder in sorted((root / kind).glob("*")):
            yield Leftover(kind, folder, *_extent(folder))


def _extent(folder: Path) -> tuple[int, float]:
    """Size of a folder in bytes, and the time of its last change; a running build may rename it meanwhile."""
    inside = folder.rglob("*") if folder.is_dir() else ()
    stats = [stat for stat in map(_stat, (folder, *inside)) if stat]
    size = sum(stat.st_size for stat in stats[1:])
    return size, max((stat.st_mtime for stat in stats), default=0.0)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
