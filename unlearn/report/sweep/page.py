"""The page of a sweep: `sweep.html`, made from reports alone; it has one small script and needs no network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from unlearn.report.charts.plane import STYLES
from unlearn.report.page import template
from unlearn.report.retained import renamed
from unlearn.report.sweep import plots
from unlearn.report.sweep.compare import FLOOR, GAP, Ranking, rank, show
from unlearn.report.sweep.plots import Group, Ink
from unlearn.report.sweep.read import Cell, Found
from unlearn.report.sweep.scenario import ComparisonGroup, Row, Spread, frame, own, worded
from unlearn.report.sweep.tables import COLUMNS, footer, has_metric, link, shown
from unlearn.report.sweep.verdict import verdict
from unlearn.report.table import ROWS

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
    """A cell of the table: what it says, what stands small below it, what to sort by, and what to tell on hovering."""

    text: str
    below: str = ""
    order: float | None = None
    behind: str = ""


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
class Part:
    """A scenario as the page shows it."""

    name: str
    title: str
    verdict: str
    marks: str
    footer: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    more_columns: tuple[str, ...]
    more_lines: tuple[Line, ...]
    reasons: tuple[str, ...]
    strategies: tuple[str, ...]
    groups: tuple[Group, ...]
    pictures: dict[str, Any] | None
    rows: tuple[dict[str, Any], ...]
    shared: dict[str, str]


def render(found: Found, scenarios: Sequence[ComparisonGroup], notes: Sequence[str], into: Path) -> str:
    """The whole page; links lead to pages of runs that lie below `into`."""
    script = Path(__file__).with_name("sweep.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = [_part(scenario, number, into) for number, scenario in enumerate(scenarios, 1)]
    page: str = template("sweep/sweep.html.j2").render(
        title=title(scenarios),
        parts=parts,
        notes=notes,
        failures=found.failures,
        cells=len(found.cells),
        script=script,
        digest=digest,
    )
    return page


def title(scenarios: Sequence[ComparisonGroup]) -> str:
    """`random_k, top_k on digits`"""
    cells = [cell for scenario in scenarios for cell in scenario.cells]
    strategies = dict.fromkeys(cell.strategy for cell in cells)
    data = dict.fromkeys(str(cell.report["choices"].get("dataset", "data")) for cell in cells)
    return f"{', '.join(strategies)} on {', '.join(data)}"


def _part(scenario: ComparisonGroup, number: int, into: Path) -> Part:
    anchors = {id(row): f"cell-{number}-{place}" for place, row in enumerate(scenario.rows, 1)}
    ink = Ink(anchors, tuple(sorted({row.strategy for row in scenario.rows})))
    ranking = rank(scenario.rows)
    present = [*shown(scenario), *([GAP] if scenario.has(GAP) else [])]
    first = [metric for metric in FIRST if metric in present]
    more = [metric for metric in ROWS if metric not in first and scenario.has(f"unlearned/{metric}")]
    names = renamed(NAMES, has_metric(scenario))
    return Part(
        f"scenario-{number}",
        scenario.title,
        verdict(scenario),
        ranking.why,
        footer(scenario),
        tuple(names[metric] for metric in first),
        tuple(_lines(scenario, ink, ranking, first)),
        tuple(names[metric] for metric in more),
        tuple(_lines(scenario, ink, ranking, more)) if more else (),
        tuple(_reasons(scenario, list(dict.fromkeys(present + more)))),
        ink.strategies,
        tuple(_figures(scenario, ink)),
        next((pictures for cell in scenario.cells if (pictures := cell.pictures())), None),
        tuple(_detail(row, ink, into) for row in scenario.rows),
        {key: worded(value) for key, value in frame(scenario.cells[0]).items()},
    )


def _lines(scenario: ComparisonGroup, ink: Ink, ranking: Ranking, metrics: Sequence[str]) -> Iterator[Line]:
    for role, row in (("original", scenario.originals), ("retrained", scenario.retrained)):
        values = tuple(_reference(scenario, row, role, metric) for metric in metrics)
        if any(value.text for value in values):
            yield Line(role, role, len(row.cells), values)
    for row in scenario.rows:
        values = tuple(_value(row, metric) for metric in metrics)
        about = (ink.target(row), ink.style(row) % STYLES, ranking.mark(row))
        yield Line(row.label, "unlearned", len(row.cells), values, *about)


def _reference(scenario: ComparisonGroup, row: Row, role: str, metric: str) -> Value:
    """A reference's value; below that of retrained models their noise floor."""
    if metric == GAP:
        found = scenario.untouched() if role == "original" else None
        below = scenario.retrained.spread(FLOOR) if role == "retrained" else None
    else:
        found = row.spread(f"{role}/{metric}")
        below = row.spread(f"noise_floor/{metric}") if role == "retrained" else None
    return _told(found, metric, f"floor {below.mean:.3f}" if below else "", row, f"{role}/{metric}")


def _value(row: Row, metric: str) -> Value:
    """An unlearned model's value; below it the gap to retrained models, or the floor of the average gap."""
    if metric == GAP:
        floor = row.spread(FLOOR)
        return _told(row.spread(GAP), metric, f"floor {floor.mean:.3f}" if floor else "", row, GAP)
    gap = row.spread(f"gap/{metric}")
    below = f"gap {round(gap.mean, 3) + 0.0:+.3f}" if gap else ""
    return _told(row.spread(f"unlearned/{metric}"), metric, below, row, f"unlearned/{metric}")


def _told(found: Spread | None, metric: str, below: str, row: Row, key: str) -> Value:
    if found is None:
        reason = row.reason(key)
        return Value("–" if reason else "", below, None, reason)
    missing = f"n = {found.n} of {len(row.cells)}" if found.n < len(row.cells) else ""
    each = "\n".join(
        f"{_seeds(cell)}: {value:.4f}" for cell in row.cells if (value := cell.metrics.get(key)) is not None
    )
    text = show(found, metric).replace(" ± ", "\u00a0±\u00a0")
    return Value(text, " · ".join(part for part in (below, missing) if part), found.mean, each)


def _seeds(cell: Cell) -> str:
    """`seed 0`, or every seed by name where they differ."""
    seeds = dict(cell.seeds)
    if len(set(seeds.values())) == 1:
        return f"seed {next(iter(seeds.values()))}"
    return " ".join(f"{name} {seed}" for name, seed in seeds.items())


def _reasons(scenario: ComparisonGroup, metrics: Sequence[str]) -> Iterator[str]:
    """Why values are missing, each reason once for its metric."""
    for metric in metrics:
        key = metric if metric == GAP else f"unlearned/{metric}"
        lacking = [(row, why) for row in scenario.rows if (why := row.reason(key))]
        for why in dict.fromkeys(why for _, why in lacking):
            count = sum(reason == why for _, reason in lacking)
            yield f"{NAMES[metric]}: no value for some seed in {count} of {len(scenario.rows)} rows: {why}"


def _figures(scenario: ComparisonGroup, ink: Ink) -> Iterator[Group]:
    """What is drawn, from the broad view to single parameters."""
    kept = tuple(plots.retention(scenario, ink))
    if kept:
        yield Group("Forgetting against retention", KEPT, kept, ink.legend())
    timed = tuple(figure for figure in (plots.cost(scenario, ink), plots.speedups(scenario, ink)) if figure)
    if timed:
        yield Group("Time", TIME, timed, ink.legend(), ("retrained",))
    varied = plots.parameters(scenario)
    for name in varied:
        lines = plots.series(scenario, name)
        found = tuple(plots.curves(scenario, ink, name, lines))
        if found:
            yield Group(f"Over {name}", CURVES, found, plots.line_legend(lines, ink))
    for pair in combinations(varied, 2):
        found = tuple(plots.maps(scenario, ink, pair))
        if found:
            yield Group(f"Over {pair[0]} and {pair[1]}", MAPS, found)


KEPT = (
    "To the left of the band's edge a row is no further from retrained models than those are from each other. The line "
    "joins the Pareto front: no other row is both as close and as accurate. Whiskers: standard deviations over seeds."
)
TIME = (
    "Below the band's edge a row is within the noise floor; the line joins the rows that no other beats in both. The "
    "speed-up is how many times as long retraining took, for the rows closest to it: "
    f"{plots.MOST_BARS} at most, the table has all. Each bar is crossed where both take equally long."
)
CURVES = (
    "Means over seeds, bands of one standard deviation. The blue line and band are retrained models and their noise "
    "floor, the grey line the original."
)
MAPS = (
    "Means over seeds; a field is the stronger the higher its value, on one scale for each metric, faint within noise."
)


def _detail(row: Row, ink: Ink, into: Path) -> dict[str, Any]:
    return {
        "anchor": ink.target(row),
        "label": row.label,
        "style": ink.style(row) % STYLES,
        "config": {key: worded(value) for key, value in own(row.cells[0]).items()},
        "cells": [_cell(cell, into) for cell in row.cells],
    }


def _cell(cell: Cell, into: Path) -> dict[str, Any]:
    page = link(cell.page, into)
    return {
        "seeds": _seeds(cell),
        "baseline": ", ".join(map(str, cell.report["seeds"].get("baseline", []))) or "none",
        "artifacts": {name: part["key"] for name, part in cell.report["artifacts"].items()},
        "page": page if cell.page.is_file() and not Path(page).is_absolute() else "",
        "report": link(cell.path, into),
        "command": cell.report["command"],
        "versions": " ".join(f"{name} {version}" for name, version in cell.report["versions"].items()),
        "hardware": " ".join(f"{name} {value}" for name, value in cell.report["hardware"].items()),
    }
