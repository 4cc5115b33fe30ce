"""Which cells belong together: rows of one strategy and setting, in scenarios that share everything else."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf
from statistics import fmean, stdev
from typing import Any

from unlearn.report.attacks import GRADER
from unlearn.report.criterion import distance
from unlearn.report.sweep.read import Cell

# How a cell is run, and its seeds: neither makes two cells incomparable, but for the numerics below.
RUNTIME = {
    "paths",
    "logger",
    "trainer",
    "cluster",
    "report",
    "rebuild_damaged",
    "until",
    "objective",
    "seed",
    "seeds",
    "baseline",
}
NUMERICS = {"trainer.precision", "trainer.tf32", "trainer.channels_last", "trainer.deterministic", "trainer.devices"}
ASIDE = {"dataset.download", "dataset.memory_limit", "dataset.workers", "spd_gan.fresh"}
TYPED = {
    "dataset",
    "forget",
    "model",
    "checkpoint",
    "spd_gan",
    "attacks",
    "strategy",
    "strategy.selection",
    "blend",
    "retain",
}  # the option counts
DIGITS = 8  # of a number that somebody wrote, at most
BESIDE = {"blend": "none", "retain": "full"}  # groups that, like the strategy, are compared; what no option stands for
COMPARED = {"strategy", *BESIDE}
MEASURED = {"metrics"}  # what else was measured does not change what is compared


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (None for one value) of `n` values."""

    mean: float
    std: float | None
    n: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        """Over what is known; None where nothing is."""
        known = [value for value in values if value is not None]
        return cls(fmean(known), stdev(known) if len(known) > 1 else None, len(known)) if known else None


@dataclass(frozen=True, eq=False)
class Row:
    """One strategy and setting over its seeds."""

    strategy: str
    setting: dict[str, Any]  # the leaves in which the cells of one strategy differ, be it another
    cells: tuple[Cell, ...]

    @property
    def label(self) -> str:
        """`top_k k=0.01 noise_scale=0.5`"""
        return " ".join([self.strategy, *(f"{name}={worded(value)}" for name, value in self.setting.items())])

    @property
    def timed(self) -> bool:
        """Whether all its cells ran on one kind of hardware: seconds of two are not averaged."""
        return len({json.dumps(cell.report["hardware"], sort_keys=True) for cell in self.cells}) == 1

    def spread(self, key: str) -> Spread | None:
        """Over seeds; None where no cell has a value."""
        if key.endswith(("/seconds", "/speedup")) and not self.timed:
            return None
        return Spread.of(cell.metrics.get(key) for cell in self.cells)

    def distance(self, metric: str) -> Spread | None:
        """Mean absolute difference to each retrained model, over seeds."""
        behind = (cell.report["statistics"].get(f"gap/{metric}", {}) for cell in self.cells)
        return Spread.of(each.get("mean_absolute") for each in behind)

    def reason(self, key: str) -> str:
        """Why a value is missing in the first cell that lacks it; empty where none does."""
        if key.endswith(("/seconds", "/speedup")) and not self.timed:
            return "timed on different hardware"
        lacking = (cell for cell in self.cells if key in cell.metrics and cell.metrics[key] is None)
        return next((str(cell.report["notes"].get(key, "undefined")) for cell in lacking), "")


@dataclass(frozen=True, eq=False)
class ComparisonGroup:
    """Rows that may be compared: data, request, model and training are the same."""

    apart: dict[str, Any]  # the leaves in which it differs from the other scenarios
    rows: tuple[Row, ...]  # the closest to retraining first

    @property
    def title(self) -> str:
        """What tells it from the others; what it is about where there are none."""
        choices = self.cells[0].report["choices"]
        told = self.apart or {group: choices[group] for group in ("forget", "dataset", "model") if group in choices}
        return ", ".join(f"{name}={worded(value)}" for name, value in told.items())

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Of all rows."""
        return tuple(cell for row in self.rows for cell in row.cells)

    @cached_property
    def originals(self) -> Row:
        """One cell for each original model."""
        return Row("original", {}, _once(self.cells, lambda cell: cell.key("original")))

    @cached_property
    def retrained(self) -> Row:
        """One cell for each set of retrained models."""
        return Row("retrained", {}, _once(self.cells, _retrained_keys))

    @property
    def timed(self) -> bool:
        """Whether seconds of different rows compare."""
        return Row("", {}, self.cells).timed

    def has(self, key: str) -> bool:
        """Whether any cell has a value."""
        return any(cell.metrics.get(key) is not None for cell in self.cells)

    def untouched(self, metric: str = "") -> Spread | None:
        """How far from retraining it is to do nothing, by one metric or as the average gap is."""
        return Spread.of(_away(cell, [metric] if metric else averaged(cell)) for cell in self.originals.cells)

    def seeds(self) -> str:
        """`0, 1, 2`, or every seed by name where they are set apart."""
        return seed_words(self.cells)


def group(cells: Sequence[Cell]) -> tuple[list[ComparisonGroup], int]:
    """Scenarios with their rows in the order found, and how many cells gave way to a newer one of the same seeds."""
    shared: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        shared[_text(frame(cell))].append(cell)
    frames = [frame(found[0]) for found in shared.values()]
    scenarios = [
        ComparisonGroup(_apart(each, frames), _rows(found)) for each, found in zip(frames, shared.values(), strict=True)
    ]
    return scenarios, len(cells) - sum(len(scenario.cells) for scenario in scenarios)


def _apart(mine: dict[str, Any], frames: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Where it differs from others; of the fields of an option, from others with that option."""

    def differs(key: str) -> bool:
        option = key.partition(".")[0]
        alike = [other for other in frames if option == key or other.get(option) == mine.get(option)]
        return len({_text(other.get(key)) for other in alike}) > 1

    return {key: value for key, value in mine.items() if differs(key)}


def frame(cell: Cell) -> dict[str, Any]:
    """Everything not compared that makes numbers comparable: leaves, and how many models were retrained."""
    retrained = {"retrained models": len(cell.report["seeds"].get("baseline", []))}
    return {key: value for key, value in cell.leaves.items() if _frames(key, cell)} | retrained


def _frames(key: str, cell: Cell) -> bool:
    top = key.partition(".")[0]
    if top == "attacks" and key != top and not key.startswith(f"attacks.{GRADER}."):
        return False  # as MEASURED
    if key in NUMERICS or (key in TYPED and top not in COMPARED):
        return True
    known = key == "dataset.root" and "dataset.download" in cell.leaves  # published data are the same in any folder
    return not (_is_choice(key, cell) or known or key in ASIDE or top in RUNTIME | MEASURED | COMPARED)


def own(cell: Cell) -> dict[str, Any]:
    """The leaves of the strategy and of the groups beside it, and which selection it was given."""
    found = {key: value for key, value in cell.leaves.items() if key.startswith("strategy.")}
    found |= BESIDE | {key: value for key, value in cell.leaves.items() if key.partition(".")[0] in BESIDE}
    return {key: value for key, value in found.items() if key in TYPED or not _is_choice(key, cell)}


def _is_choice(key: str, cell: Cell) -> bool:
    """Whether this is an option's name: the leaves below it say what it stands for."""
    return key.replace(".", "/") in cell.report["choices"]


def worded(value: Any) -> str:
    """A leaf as one writes it on the command line; of a number that was drawn, four digits."""
    if isinstance(value, float) and len(repr(value)) > DIGITS:
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def seed_words(cells: Sequence[Cell]) -> str:
    """The seeds of cells in a few words; those that never vary are left out where others do."""
    found = [dict(cell.seeds) for cell in cells]
    if all(len(set(each.values())) <= 1 for each in found):
        return ", ".join(map(str, sorted({seed for each in found for seed in each.values()})))
    values = {name: sorted({each[name] for each in found if name in each}) for name in _names(found)}
    return "; ".join(f"{name} {', '.join(map(str, seeds))}" for name, seeds in values.items())


def _rows(cells: list[Cell]) -> tuple[Row, ...]:
    settings: dict[str, dict[tuple[Any, ...], Cell]] = defaultdict(dict)
    for cell in cells:
        at = settings[cell.strategy + _text(own(cell))]
        if cell.seeds not in at or cell.modified >= at[cell.seeds].modified:
            at[cell.seeds] = cell
    groups = [tuple(sorted(found.values(), key=lambda cell: cell.seeds)) for found in settings.values()]
    varied = _varied(cells)
    rows = [Row(found[0].strategy, _setting(found[0], varied), found) for found in groups]
    return tuple(sorted(rows, key=_closeness))


def _closeness(row: Row) -> float:
    found = row.spread("average_gap")
    return found.mean if found else inf


def _varied(cells: list[Cell]) -> set[str]:
    """The leaves in which cells of one strategy differ; of the others they are told too, since a search may have tried
    one of them with a single value."""
    settings: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for cell in cells:
        settings[cell.strategy].append(own(cell))
    return {key for alike in settings.values() for key in _names(alike) if _varies(key, alike)}


def _varies(key: str, alike: list[dict[str, Any]]) -> bool:
    """Whether settings differ in a leaf; in a field of an option, those that took the option."""
    option = key.partition(".")[0]
    found = [(None if option == key else _text(each.get(option)), _text(each.get(key))) for each in alike]
    return len(set(found)) > len({taken for taken, _ in found})


def _setting(cell: Cell, told: set[str]) -> dict[str, Any]:
    """The cell's leaves among those that are told, by the shortest name that is theirs alone."""
    mine = own(cell)
    varied = [key for key in mine if key in told]
    short = [key.rpartition(".")[2] for key in varied]
    names = [
        last if short.count(last) == 1 else key.removeprefix("strategy.")
        for last, key in zip(short, varied, strict=True)
    ]
    return {name: mine[key] for name, key in zip(names, varied, strict=True)}


def _names(found: Iterable[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for each in found for name in each))


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _once(cells: Sequence[Cell], key: Callable[[Cell], object]) -> tuple[Cell, ...]:
    kept: dict[object, Cell] = {}
    for cell in sorted(cells, key=lambda cell: cell.seeds):
        kept.setdefault(key(cell), cell)
    return tuple(kept.values())


def _retrained_keys(cell: Cell) -> tuple[str, ...]:
    parts = cell.report["artifacts"]
    return tuple(part["key"] for name, part in parts.items() if name.startswith("retrained"))


def averaged(cell: Cell) -> list[str]:
    """The metrics of the average gap."""
    over = cell.report["statistics"].get("average_gap", {}).get("over", [])
    return [key.partition("/")[2] for key in over]


def _away(cell: Cell, metrics: Sequence[str]) -> float | None:
    """Mean over metrics of the original's mean absolute difference to each retrained model."""
    roles = ("original", "retrained")
    known = [cell.metrics.get(f"{role}/{metric}") is not None for role in roles for metric in metrics]
    return fmean(distance(cell.report, "original", metric) for metric in metrics) if known and all(known) else None
