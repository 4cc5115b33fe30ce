"""The store that an audit record is compared with, and the findings of that comparison."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from unlearn.core.errors import StoreError, first_line
from unlearn.inventory.catalogue import BEGINNING, Catalogue, Item
from unlearn.inventory.removals import read_removals
from unlearn.inventory.verify import find_problems


class State(StrEnum):
    """The result of one check."""

    AGREES = "agrees"
    DIFFERS = "differs"
    UNCHECKED = "unchecked"


class Finding(NamedTuple):
    """One line of the audit: the result, the field of the record it is about, and the reason."""

    state: State
    field: str
    reason: str


@dataclass(frozen=True)
class AuditStore:
    """A store to compare a record with, or the reason why there is none.

    Args:
        root: folder of the store.
        catalogue: the artifacts in it; None if there is no store.
        removed: how artifacts were removed on purpose, by key.
        error: why there is no catalogue; empty if there is one.
        problems_by_key: problems of the artifacts that were checked already.
    """

    root: Path
    catalogue: Catalogue | None
    removed: dict[str, str]
    error: str = ""
    problems_by_key: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, root: Path) -> AuditStore:
        """Read the catalogue of the store at `root`; a store that cannot be read is an `error`, not an exception."""
        try:
            return cls(root, Catalogue.read(root), read_removals(root))
        except StoreError as error:
            return cls(root, None, {}, first_line(error).removeprefix("--store: "))

    def find(self, key: str) -> Item | None:
        """Return the artifact with this key, or None."""
        return self.catalogue.items.get(key) if self.catalogue else None

    def explain_absence(self, key: str) -> str:
        """Say why `find` returned None: there is no store, or the artifact was removed or never built."""
        if self.catalogue is None:
            return self.error
        how = f", {self.removed[key]}" if key in self.removed else ""
        return f"{key[:BEGINNING]} is not in {self.root}{how}"

    def find_problems(self, item: Item) -> list[str]:
        """Return the problems of an artifact's files, such as damaged or missing ones; reads each file only once."""
        if item.key not in self.problems_by_key:
            self.problems_by_key[item.key] = find_problems(item)
        return self.problems_by_key[item.key]


def make_finding(agrees: bool, field: str, if_agrees: str, if_differs: str) -> Finding:
    """Return a finding with the reason that fits its state."""
    return Finding(State.AGREES, field, if_agrees) if agrees else Finding(State.DIFFERS, field, if_differs)
