"""The page of a sweep: `sweep.html`, made from reports alone; it needs no network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

from unlearn.report.charts.heat_map import heat_maps
from unlearn.report.charts.parameter import numeric_settings, parameter_charts
from unlearn.report.charts.sweep_marks import Figure, Marks
from unlearn.report.charts.time_cost import time_chart
from unlearn.report.charts.tradeoff import tradeoff_charts
from unlearn.report.glossary import glossary
from unlearn.report.page import template
from unlearn.report.phrases import join_words
from unlearn.report.retained import renamed
from unlearn.report.sweep.compare import FLOOR, GAP, Ranking, format_spread, rank
from unlearn.report.sweep.comparison import ComparisonGroup, Row, Spread
from unlearn.report.sweep.read import Cell, SweepReports
from unlearn.report.sweep.settings import format_value, group_settings, row_settings
from unlearn.report.sweep.spreadsheet import report_link
from unlearn.report.sweep.tables import COLUMNS, footer, has_metric, measured_columns
from unlearn.report.sweep.verdict import verdict
from unlearn.report.table import ROWS
from unlearn.report.user_metrics import meaning, titles

FIRST = (
    "forget_accuracy",
    "retain_accuracy",
    "test_accuracy",
    "retained_test_accuracy",
    "mia_logistic_auc",
    GAP,
    "seconds",
    "speedup",
)
NAMES = {**{metric: name.strip() for metric, name in ROWS.items()}, **COLUMNS, GAP: "average gap"}


@dataclass(frozen=True)
class Value:
    """A cell of the table: its text, what stands small below it, the number to sort by, and what a tooltip adds."""

    text: str
    below: str = ""
    order: float | None = None
    tooltip: str = ""


@dataclass(frozen=True)
class Line:
    """A row of a table; references have no anchor."""

    label: str
    role: str
    n: int
    values: tuple[Value, ...]
    anchor: str = ""
    style: int = 0
    mark: str = ""


@dataclass(frozen=True)
class Charts:
    """Charts that are read together, under a heading and a sentence on how to read them."""

    heading: str
    about: str
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Part:
    """A comparison group as the page shows it."""

    name: str
    title: str
    verdict: str
    marks: str
    footer: str
    columns: dict[str, str]  # name -> meaning
    lines: tuple[Line, ...]
    more_columns: dict[str, str]
    more_lines: tuple[Line, ...]
    glossary: dict[str, str]
    reasons: tuple[str, ...]
    strategies: tuple[str, ...]
    tradeoffs: tuple[Figure, ...]
    charts: tuple[Charts, ...]
    pictures: dict[str, Any] | None
    rows: tuple[dict[str, Any], ...]
    shared: dict[str, str]


def render(reports: SweepReports, groups: Sequence[ComparisonGroup], notes: Sequence[str], into: Path) -> str:
    """Build the page of a sweep: HTML that needs no other file and no network.

    Args:
        reports: the reports that were read, and the runs that failed.
        groups: the rows that may be compared.
        notes: sentences for the top of the page.
        into: the page's folder; pages of runs below it are linked.
    """
    page: str = template("sweep/sweep.html.j2").render(
        title=title(groups),
        parts=[_part(group, number, into) for number, group in enumerate(groups, 1)],
        notes=notes,
        failures=reports.failures,
        cells=len(reports.cells),
    )
    return page


def title(groups: Sequence[ComparisonGroup]) -> str:
    """`Forgetting with random_k and top_k, digits`"""
    cells = [cell for group in groups for cell in group.cells]
    strategies = dict.fromkeys(cell.strategy for cell in cells)
    data = dict.fromkeys(str(cell.report["choices"].get("dataset", "data")) for cell in cells)
    return f"Forgetting with {join_words(list(strategies))} on {', '.join(data)}"


def _part(group: ComparisonGroup, number: int, into: Path) -> Part:
    anchors = {id(row): f"cell-{number}-{place}" for place, row in enumerate(group.rows, 1)}
    marks = Marks(anchors, tuple(sorted({row.strategy for row in group.rows})))
    ranking = rank(group.rows)
    present = [*measured_columns(group), *([GAP] if group.has(GAP) else [])]
    first = [metric for metric in FIRST if metric in present]
    own = titles(group.user_metrics)
    more = [metric for metric in ROWS | own if metric not in first and group.has(f"unlearned/{metric}")]
    names = renamed(NAMES | own, has_metric(group))
    define = partial(meaning, group.user_metrics)
    return Part(
        f"scenario-{number}",
        group.title,
        verdict(group),
        ranking.why,
        footer(group),
        {names[metric]: define(metric) for metric in first},
        tuple(_lines(group, marks, ranking, first)),
        {names[metric]: define(metric) for metric in more},
        tuple(_lines(group, marks, ranking, more)) if more else (),
        glossary({metric: names[metric] for metric in (*first, *more)}, define=define),
        tuple(_reasons(group, list(dict.fromkeys(present + more)))),
        marks.strategies,
        tuple(tradeoff_charts(group, marks)),
        tuple(_charts(group, marks)),
        next((pictures for cell in group.cells if (pictures := cell.pictures())), None),
        tuple(_detail(row, marks, into) for row in group.rows),
        {key: format_value(value) for key, value in group_settings(group.cells[0]).items()},
    )


def _lines(group: ComparisonGroup, marks: Marks, ranking: Ranking, metrics: Sequence[str]) -> Iterator[Line]:
    for role, row in (("original", group.originals), ("retrained", group.retrained)):
        values = tuple(_reference(group, row, role, metric) for metric in metrics)
        if any(value.text for value in values):
            yield Line(role, role, len(row.cells), values)
    for row in group.rows:
        values = tuple(_value(row, metric) for metric in metrics)
        yield Line(
            row.label, "unlearned", len(row.cells), values, marks.anchor(row), marks.style(row), ranking.mark(row)
        )


def _reference(group: ComparisonGroup, row: Row, role: str, metric: str) -> Value:
    """A reference's value; below that of retrained models their noise floor."""
    if metric == GAP:
        spread = group.original_gap() if role == "original" else None
        floor = group.retrained.spread(FLOOR) if role == "retrained" else None
    else:
        spread = row.spread(f"{role}/{metric}")
        floor = row.spread(f"noise_floor/{metric}") if role == "retrained" else None
    return _format(spread, metric, f"floor {floor.mean:.3f}" if floor else "", row, f"{role}/{metric}")


def _value(row: Row, metric: str) -> Value:
    """An unlearned model's value; below it the gap to retrained models, or the floor of the average gap."""
    if metric == GAP:
        floor = row.spread(FLOOR)
        return _format(row.spread(GAP), metric, f"floor {floor.mean:.3f}" if floor else "", row, GAP)
    gap = row.spread(f"gap/{metric}")
    below = f"gap {round(gap.mean, 3) + 0.0:+.3f}" if gap else ""
    return _format(row.spread(f"unlearned/{metric}"), metric, below, row, f"unlearned/{metric}")


def _format(spread: Spread | None, metric: str, below: str, row: Row, key: str) -> Value:
    if spread is None:
        reason = row.reason(key)
        return Value("–" if reason else "", below, None, reason)
    missing = f"n = {spread.n} of {len(row.cells)}" if spread.n < len(row.cells) else ""
    by_seed = "\n".join(
        f"{_seeds(cell)}: {value:.4f}" for cell in row.cells if (value := cell.metrics.get(key)) is not None
    )
    text = format_spread(spread, metric).replace(" ± ", "\u00a0±\u00a0")
    return Value(text, " · ".join(part for part in (below, missing) if part), spread.mean, by_seed)


def _seeds(cell: Cell) -> str:
    """`seed 0`, or every seed by name where they differ."""
    seeds = dict(cell.seeds)
    if len(set(seeds.values())) == 1:
        return f"seed {next(iter(seeds.values()))}"
    return " ".join(f"{name} {seed}" for name, seed in seeds.items())


def _reasons(group: ComparisonGroup, metrics: Sequence[str]) -> Iterator[str]:
    """Why values are missing, each reason once per metric."""
    for metric in metrics:
        key = metric if metric == GAP else f"unlearned/{metric}"
        missing = [reason for row in group.rows if (reason := row.reason(key))]
        for reason in dict.fromkeys(missing):
            count = f"{missing.count(reason)} of {len(group.rows)} rows"
            yield f"{NAMES[metric]}: no value for some seed in {count}: {reason}"


def _charts(group: ComparisonGroup, marks: Marks) -> Iterator[Charts]:
    """The charts below the first, from the broad view to single settings."""
    if timed := time_chart(group, marks):
        yield Charts("Time", TIME, (timed,))
    settings = numeric_settings(group)
    for name in settings:
        if figures := tuple(parameter_charts(group, marks, name)):
            yield Charts(f"Over {name}", CURVES, figures)
    for pair in combinations(settings, 2):
        if figures := tuple(heat_maps(group, marks, pair)):
            yield Charts(f"Over {pair[0]} and {pair[1]}", MAPS, figures)


TIME = "Rows within the band are no further from retrained models than those are from each other (the noise floor)."
CURVES = (
    "Means over seeds, bands of one standard deviation. Dashed in blue: retrained models, with their noise floor as a "
    "band; dashed in grey: the original."
)
MAPS = "Means over seeds; the higher a value, the stronger its shade, on one scale per metric."


def _detail(row: Row, marks: Marks, into: Path) -> dict[str, Any]:
    return {
        "anchor": marks.anchor(row),
        "label": row.label,
        "style": marks.style(row),
        "config": {key: format_value(value) for key, value in row_settings(row.cells[0]).items()},
        "cells": [_cell(cell, into) for cell in row.cells],
    }


def _cell(cell: Cell, into: Path) -> dict[str, Any]:
    page = report_link(cell.page, into)
    return {
        "seeds": _seeds(cell),
        "baseline": ", ".join(map(str, cell.report["seeds"].get("baseline", []))) or "none",
        "artifacts": {name: part["key"] for name, part in cell.report["artifacts"].items()},
        "page": page if cell.page.is_file() and not Path(page).is_absolute() else "",
        "report": report_link(cell.path, into),
        "command": cell.report["command"],
        "versions": " ".join(f"{name} {version}" for name, version in cell.report["versions"].items()),
        "hardware": " ".join(f"{name} {value}" for name, value in cell.report["hardware"].items()),
    }
