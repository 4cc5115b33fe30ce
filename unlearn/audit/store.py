"""What there is to hold an audit record against: a store, or why there is none; and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from unlearn.core.errors import StoreError, first_line
from unlearn.inventory.catalogue import BEGINNING, Catalogue, Item
from unlearn.inventory.removals import gone
from unlearn.inventory.verify import problems


class State(StrEnum):
    """What came of looking at one thing."""

    AGREES = "agrees"
    DIFFERS = "differs"
    UNCHECKED = "unchecked"


class Finding(NamedTuple):
    """One line of the answer."""

    state: State
    what: str
    why: str


@dataclass(frozen=True)
class Shelf:
    """A store, or why there is none to look at."""

    root: Path
    catalogue: Catalogue | None
    gone: dict[str, str]
    why: str = ""
    looked_at: dict[str, list[str]] = field(default_factory=dict)  # by key: what is wrong with it

    @classmethod
    def read(cls, root: Path) -> Shelf:
        """The store at `root`, if there is one."""
        try:
            return cls(root, Catalogue.read(root), gone(root))
        except StoreError as error:
            return cls(root, None, {}, first_line(error).removeprefix("--store: "))

    def find(self, key: str) -> Item | None:
        """The artefact of that key."""
        return self.catalogue.items.get(key) if self.catalogue else None

    def absence(self, key: str) -> str:
        """Why it is not there."""
        if self.catalogue is None:
            return self.why
        return f"{key[:BEGINNING]} is not in {self.root}" + (f", {self.gone[key]}" if key in self.gone else "")

    def wrong(self, item: Item) -> list[str]:
        """What is wrong with an artefact of it; its files are read once."""
        if item.key not in self.looked_at:
            self.looked_at[item.key] = problems(item)
        return self.looked_at[item.key]


def judged(same: bool, what: str, good: str, bad: str) -> Finding:
    """Agrees, and why so, or differs, and in what."""
    return Finding(State.AGREES, what, good) if same else Finding(State.DIFFERS, what, bad)
