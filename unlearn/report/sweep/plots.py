"""The charts of a scenario, from its rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from unlearn.report import plane
from unlearn.report.assemble import ATTACK
from unlearn.report.plane import Axis, Field, Level, Line, Point, Rung
from unlearn.report.sweep.compare import FLOOR, GAP, front, show
from unlearn.report.sweep.scenario import Row, Scenario, Spread, worded
from unlearn.report.table import ROWS

MAIN = ("forget_accuracy", "retain_accuracy", "test_accuracy", ATTACK)  # drawn in the open, the rest folded away
MOST_LINES = 6  # in one panel; more are parted by strategy
MOST_BARS = 20
SECONDS = ("seconds", "speedup")


@dataclass(frozen=True)
class Figure:
    """A chart under its caption; `main` ones are not folded away."""

    caption: str
    chart: str
    main: bool = True


@dataclass(frozen=True)
class Ink:
    """Which anchor and which colour belong to a row."""

    anchors: dict[int, str]
    strategies: tuple[str, ...]

    def target(self, row: Row) -> str:
        """The anchor of its section."""
        return self.anchors[id(row)]

    def style(self, row: Row) -> int:
        """The number of its strategy."""
        return self.strategies.index(row.strategy)


def retention(scenario: Scenario, ink: Ink) -> Iterator[Figure]:
    """Accuracy kept against how far forget accuracy is from retrained models, for retain and test."""
    for subset in ("retain", "test"):
        key = f"unlearned/{subset}_accuracy"
        found = [
            (row, near, kept)
            for row in scenario.rows
            if (near := row.distance("forget_accuracy")) and (kept := row.spread(key))
        ]
        if not found:
            continue
        best = set(front([(near.mean, kept.mean) for _, near, kept in found]))
        words = ("forget accuracy from retrained", f"{subset} accuracy")
        points = [_point(row, near, kept, ink, words, n in best) for n, (row, near, kept) in enumerate(found)]
        floor = scenario.retrained.spread("noise_floor/forget_accuracy")
        points = [*_references(scenario, subset, floor), *points]
        x = Axis.over("distance of forget accuracy from retrained models", _reach(points, "x"))
        y = Axis.over(f"{subset} accuracy", _reach(points, "y"))
        chart = plane.scatter(f"forgetting against {subset} accuracy", x, y, points, floor.mean if floor else None)
        yield Figure(f"{subset} accuracy", chart)


def _point(row: Row, x: Spread, y: Spread, ink: Ink, words: tuple[str, str], front_: bool) -> Point:
    told = f"{row.label}: {words[0]} {show(x)}, {words[1]} {show(y)}, n {y.n}"
    return Point(x.mean, y.mean, told, ink.style(row), ink.target(row), x.std or 0.0, y.std or 0.0, front_)


def _references(scenario: Scenario, subset: str, floor: Spread | None) -> Iterator[Point]:
    """Retrained models at their distance from each other, and the original untouched."""
    for role, row, away in (
        ("retrained", scenario.retrained, floor or Spread(0.0, None, 1)),
        ("original", scenario.originals, _original_distance(scenario)),
    ):
        kept = row.spread(f"{role}/{subset}_accuracy")
        if kept and away:
            told = f"{role}: {show(away)} away, {subset} accuracy {show(kept)}, n {kept.n}"
            yield Point(away.mean, kept.mean, told, role, "", away.std or 0.0, kept.std or 0.0)


def _original_distance(scenario: Scenario) -> Spread | None:
    pairs = [
        [cell.metrics.get(f"{role}/forget_accuracy") for role in ("original", "retrained")]
        for cell in scenario.originals.cells
    ]
    return Spread.of(None if a is None or b is None else abs(a - b) for a, b in pairs)


def cost(scenario: Scenario, ink: Ink) -> Figure | None:
    """Average gap against the seconds that unlearning took; None where they do not compare."""
    found = [
        (row, seconds, gap)
        for row in scenario.rows
        if (seconds := row.spread("unlearned/seconds")) and (gap := row.spread(GAP))
    ]
    if not found or not scenario.timed:
        return None
    best = set(front([(seconds.mean, -gap.mean) for _, seconds, gap in found]))
    points = [_point(row, x, y, ink, ("seconds", "average gap"), n in best) for n, (row, x, y) in enumerate(found)]
    floor, taken = scenario.retrained.spread(FLOOR), scenario.retrained.spread("retrained/seconds")
    if taken:
        told = f"retrained: {show(taken, '{:.1f}')} s, {show(floor) if floor else '0'} from each other"
        level = floor.mean if floor else 0.0
        points.insert(0, Point(taken.mean, level, told, "retrained", "", taken.std or 0.0))
    x, y = Axis.over("seconds of unlearning", _reach(points, "x")), Axis.over("average gap", [0.0, *_reach(points, "y")])
    chart = plane.scatter("average gap against time", x, y, points, floor.mean if floor else None, along="y")
    return Figure("average gap against time", chart)


def _reach(points: Sequence[Point], axis: str) -> list[float]:
    """The ends of all whiskers; one that would reach 0 or below is left out, a logarithm has no room for it."""
    centres = [(point.x, point.dx) if axis == "x" else (point.y, point.dy) for point in points]
    return [end for at, d in centres for end in (at - d, at, at + d) if end > 0 or at <= 0]


def parameters(scenario: Scenario) -> list[str]:
    """Names of the numeric settings that vary, those of most strategies first."""
    values: dict[str, set[float]] = defaultdict(set)
    for row in scenario.rows:
        for name, value in row.setting.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                values[name].add(value)
    return [name for name, found in values.items() if len(found) > 1]


def metrics(scenario: Scenario) -> Iterator[tuple[str, str, str]]:
    """Name, key of the unlearned model's value, and name in the report of all that can be drawn over a parameter."""
    if scenario.has(GAP):
        yield "average gap", GAP, GAP
    for metric, name in ROWS.items():
        key = f"unlearned/{metric}"
        if metric != "unlearning_accuracy" and scenario.has(key) and (metric not in SECONDS or scenario.timed):
            yield name.strip(), key, metric


def curves(scenario: Scenario, ink: Ink, parameter: str) -> Iterator[Figure]:
    """Each metric over one parameter, a line for each strategy and other setting, a panel for each strategy if many."""
    series = _series(scenario.rows, parameter)
    if not series:
        return
    strategies = list(dict.fromkeys(rows[0].strategy for _, rows in series))
    parted = len(series) > MOST_LINES
    panels = [[each for each in series if each[1][0].strategy == name] for name in strategies] if parted else [series]
    for name, key, metric in metrics(scenario):
        for panel in panels:
            suffix = f", {panel[0][1][0].strategy}" if parted else ""
            chart = _curve(scenario, ink, parameter, (name, key, metric), panel)
            if chart:
                yield Figure(name + suffix, chart, metric in {GAP, *MAIN})


def _series(rows: Sequence[Row], parameter: str) -> list[tuple[str, list[Row]]]:
    """Rows that differ in the parameter alone, by strategy and other settings."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if parameter in row.setting:
            others = [f"{name}={worded(value)}" for name, value in row.setting.items() if name != parameter]
            found[" ".join([row.strategy, *others])].append(row)
    ordered = [(label, sorted(rows, key=lambda row: row.setting[parameter])) for label, rows in sorted(found.items())]
    return [(label, rows) for label, rows in ordered if len(rows) > 1]


def _curve(scenario: Scenario, ink: Ink, parameter: str, drawn: tuple[str, str, str], panel: Any) -> str:
    name, key, metric = drawn
    dashes: dict[str, int] = defaultdict(int)
    found = []
    for label, rows in panel:
        points = tuple(
            (row.setting[parameter], value.mean, value.std or 0.0, f"{row.label}: {name} {show(value)}, n {value.n}", ink.target(row))
            for row in rows
            if (value := row.spread(key))
        )
        if points:
            found.append(Line(label, ink.style(rows[0]), dashes[rows[0].strategy], points))
            dashes[rows[0].strategy] += 1
    if not found:
        return ""
    levels = list(_levels(scenario, metric))
    marks = sorted({point[0] for line in found for point in line.points})
    values = [v for line in found for _, mean, std, *_ in line.points for v in (mean - std, mean + std)]
    x = Axis.over(parameter, marks, marks)
    y = Axis.over(name, [v if metric not in SECONDS else max(v, 0.0) for v in values] + [level.value for level in levels if level.value is not None])
    return plane.lines(f"{name} over {parameter}", x, y, found, levels, len(found) <= MOST_LINES)


def _levels(scenario: Scenario, metric: str) -> Iterator[Level]:
    """Where original and retrained models stand, the latter within the noise floor."""
    floor = scenario.retrained.spread(FLOOR if metric == GAP else f"noise_floor/{metric}")
    after = scenario.retrained.spread(f"retrained/{metric}")
    before = scenario.untouched() if metric == GAP else scenario.originals.spread(f"original/{metric}")
    if metric == GAP and floor:
        yield Level("retrained", None, (0.0, floor.mean))
    if after:
        band = (after.mean - floor.mean, after.mean + floor.mean) if floor else None
        yield Level("retrained", after.mean, band)
    if before:
        yield Level("original", before.mean)


def maps(scenario: Scenario, ink: Ink, pair: tuple[str, str]) -> Iterator[Figure]:
    """A heat map of each metric over two parameters, one for each strategy and other setting, shades in common."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in scenario.rows:
        if set(pair) <= set(row.setting):
            others = [f"{name}={worded(value)}" for name, value in row.setting.items() if name not in pair]
            groups[" ".join([row.strategy, *others])].append(row)
    for name, key, metric in metrics(scenario):
        means = [found.mean for rows in groups.values() for row in rows if (found := row.spread(key))]
        for label, rows in groups.items():
            chart = _map(rows, pair, (name, key), ink, (min(means), max(means)) if means else (0.0, 1.0))
            if chart:
                yield Figure(f"{name}, {label}", chart, metric in {GAP, "forget_accuracy", "test_accuracy"})


def _map(rows: list[Row], pair: tuple[str, str], drawn: tuple[str, str], ink: Ink, reach: tuple[float, float]) -> str:
    columns, lines = (sorted({row.setting[name] for row in rows}) for name in pair)
    if len(columns) < 2 or len(lines) < 2:
        return ""
    fields = [
        Field(
            columns.index(row.setting[pair[0]]),
            lines.index(row.setting[pair[1]]),
            found.mean,
            f"{found.mean:.3f}" if abs(found.mean) < 100 else f"{found.mean:.0f}",
            f"{row.label}: {drawn[0]} {show(found)}, n {found.n}",
            ink.target(row),
        )
        for row in rows
        if (found := row.spread(drawn[1]))
    ]
    x, y = (Axis(name, 0, 1, False, tuple(marks)) for name, marks in zip(pair, (columns, lines), strict=True))
    return plane.heat(f"{drawn[0]} over {pair[0]} and {pair[1]}", x, y, fields, *reach) if fields else ""


def speedups(scenario: Scenario, ink: Ink) -> Figure | None:
    """How many times as long retraining took, for the rows closest to retraining."""
    found = [(row, value) for row in scenario.rows if (value := row.spread("unlearned/speedup"))][:MOST_BARS]
    if not found:
        return None
    rungs = [
        Rung(row.label, value.mean, value.std or 0.0, f"{show(value, '{:.2f}')}×", ink.style(row), ink.target(row))
        for row, value in found
    ]
    return Figure("", plane.ladder("speed-up over retraining", rungs, 1.0))
