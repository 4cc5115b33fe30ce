"""Group the runs of a sweep: rows of one strategy and setting, in groups that share everything else."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf
from statistics import fmean, stdev
from typing import Any

from unlearn.report.assemble import TIMES
from unlearn.report.criterion import distance
from unlearn.report.sweep.read import Cell
from unlearn.report.sweep.settings import (
    Settings,
    as_text,
    distinct_names,
    find_distinguishing,
    find_varied,
    format_value,
    group_settings,
    row_settings,
    shorten_keys,
)
from unlearn.report.user_metrics import KEY as USER_METRICS


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (None for one value) of `n` values."""

    mean: float
    std: float | None
    n: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        """Summarise the values that are not None; returns None if there are none."""
        known = [value for value in values if value is not None]
        return cls(fmean(known), stdev(known) if len(known) > 1 else None, len(known)) if known else None


@dataclass(frozen=True, eq=False)
class Row:
    """The runs of one strategy and setting over seeds.

    Args:
        strategy: name of the strategy.
        setting: the settings in which runs of one strategy differ, of this or another strategy.
        cells: the runs, sorted by seed.
    """

    strategy: str
    setting: Settings
    cells: tuple[Cell, ...]

    @property
    def label(self) -> str:
        """The row's name: `top_k k=0.01 noise_scale=0.5`."""
        return " ".join([self.strategy, *(f"{name}={format_value(value)}" for name, value in self.setting.items())])

    @cached_property
    def is_timed(self) -> bool:
        """Whether all runs used the same hardware; seconds on different hardware are not averaged."""
        return len({json.dumps(cell.report["hardware"], sort_keys=True) for cell in self.cells}) == 1

    def spread(self, key: str) -> Spread | None:
        """Summarise a metric over seeds; None if no run has a value."""
        if key.endswith(TIMES) and not self.is_timed:
            return None
        return Spread.of(cell.metrics.get(key) for cell in self.cells)

    def distance(self, metric: str) -> Spread | None:
        """Summarise the mean absolute difference to each retrained model over seeds."""
        gaps = (cell.report["statistics"].get(f"gap/{metric}", {}) for cell in self.cells)
        return Spread.of(gap.get("mean_absolute") for gap in gaps)

    def reason(self, key: str) -> str:
        """Explain the null value of the first run that has one; empty if none has."""
        if key.endswith(TIMES) and not self.is_timed:
            return "timed on different hardware"
        undefined = (cell for cell in self.cells if key in cell.metrics and cell.metrics[key] is None)
        return next((str(cell.report["notes"].get(key, "undefined")) for cell in undefined), "")


@dataclass(frozen=True, eq=False)
class ComparisonGroup:
    """Rows that are comparable: data, request, model and training are the same.

    Args:
        distinguishing: the settings that differ from other groups.
        rows: the rows, sorted by average gap.
    """

    distinguishing: Settings
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        """The distinguishing settings; forget request, data set and model if there is only one group."""
        choices = self.cells[0].report["choices"]
        default = {option: choices[option] for option in ("forget", "dataset", "model") if option in choices}
        return ", ".join(f"{name}={format_value(value)}" for name, value in (self.distinguishing or default).items())

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """The runs of all rows."""
        return tuple(cell for row in self.rows for cell in row.cells)

    @cached_property
    def user_metrics(self) -> dict[str, Any]:
        """The descriptions of measurements by user-supplied metrics, as in a report."""
        entries = {name: entry for cell in self.cells for name, entry in cell.report.get(USER_METRICS, {}).items()}
        return {USER_METRICS: entries}

    @cached_property
    def originals(self) -> Row:
        """One run for each original model."""
        return Row("original", {}, _keep_first(self.cells, lambda cell: cell.key("original")))

    @cached_property
    def retrained(self) -> Row:
        """One run for each set of retrained models."""
        return Row("retrained", {}, _keep_first(self.cells, _retrained_keys))

    @cached_property
    def is_timed(self) -> bool:
        """Whether seconds of different rows are comparable."""
        return Row("", {}, self.cells).is_timed

    def has(self, key: str) -> bool:
        """Whether a run has a value of a metric."""
        return any(cell.metrics.get(key) is not None for cell in self.cells)

    def original_gap(self, metric: str = "") -> Spread | None:
        """Summarise the gap of the original models in one metric; by default their average gap."""
        return Spread.of(
            _original_gap(cell, [metric] if metric else averaged_metrics(cell)) for cell in self.originals.cells
        )

    def seeds(self) -> str:
        """Format the seeds of all runs: `0, 1, 2`, or by name if they differ."""
        return format_seeds(self.cells)


def group_cells(cells: Sequence[Cell]) -> tuple[list[ComparisonGroup], int]:
    """Group the runs of a sweep.

    Returns:
        The groups in the order of their first run, and the number of runs that were replaced by a newer run of the
        same setting and seeds.
    """
    shared: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        shared[as_text(group_settings(cell))].append(cell)
    settings = [group_settings(members[0]) for members in shared.values()]
    groups = [
        ComparisonGroup(find_distinguishing(of_group, settings), _build_rows(members))
        for of_group, members in zip(settings, shared.values(), strict=True)
    ]
    return groups, len(cells) - sum(len(group.cells) for group in groups)


def _build_rows(cells: list[Cell]) -> tuple[Row, ...]:
    by_setting: dict[str, dict[tuple[Any, ...], Cell]] = defaultdict(dict)
    for cell in cells:
        by_seeds = by_setting[cell.strategy + as_text(row_settings(cell))]
        if cell.seeds not in by_seeds or cell.modified >= by_seeds[cell.seeds].modified:
            by_seeds[cell.seeds] = cell
    members = [tuple(sorted(by_seeds.values(), key=lambda cell: cell.seeds)) for by_seeds in by_setting.values()]
    varied = find_varied(cells)
    rows = [Row(group[0].strategy, shorten_keys(group[0], varied), group) for group in members]
    return tuple(sorted(rows, key=_mean_gap))


def _mean_gap(row: Row) -> float:
    gap = row.spread("average_gap")
    return gap.mean if gap else inf


def format_seeds(cells: Sequence[Cell]) -> str:
    """Format the seeds of runs: `0, 1, 2` if each run uses a single seed, else by name: `train 0, 1; data 0`."""
    seeds = [dict(cell.seeds) for cell in cells]
    if all(len(set(named.values())) <= 1 for named in seeds):
        return ", ".join(map(str, sorted({seed for named in seeds for seed in named.values()})))
    values = {name: sorted({named[name] for named in seeds if name in named}) for name in distinct_names(seeds)}
    return "; ".join(f"{name} {', '.join(map(str, numbers))}" for name, numbers in values.items())


def _keep_first(cells: Sequence[Cell], key: Callable[[Cell], object]) -> tuple[Cell, ...]:
    kept: dict[object, Cell] = {}
    for cell in sorted(cells, key=lambda cell: cell.seeds):
        kept.setdefault(key(cell), cell)
    return tuple(kept.values())


def _retrained_keys(cell: Cell) -> tuple[str, ...]:
    artifacts = cell.report["artifacts"]
    return tuple(artifact["key"] for name, artifact in artifacts.items() if name.startswith("retrained"))


def averaged_metrics(cell: Cell) -> list[str]:
    """Return the metrics that the average gap contains."""
    keys = cell.report["statistics"].get("average_gap", {}).get("over", [])
    return [key.partition("/")[2] for key in keys]


def _original_gap(cell: Cell, metrics: Sequence[str]) -> float | None:
    """The mean over metrics of the original's mean absolute difference to each retrained model."""
    roles = ("original", "retrained")
    is_known = [cell.metrics.get(f"{role}/{metric}") is not None for role in roles for metric in metrics]
    if not is_known or not all(is_known):
        return None
    return fmean(distance(cell.report, "original", metric) for metric in metrics)
