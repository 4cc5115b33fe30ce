"""The charts of a scenario, from its rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from unlearn.report.attacks import ATTACK
from unlearn.report.charts import plane
from unlearn.report.charts.axis import Axis
from unlearn.report.charts.plane import Field, Level, Line, Point, Rung
from unlearn.report.retained import accuracy_name, graded, renamed
from unlearn.report.sweep.compare import FLOOR, GAP, front, show
from unlearn.report.sweep.scenario import ComparisonGroup, Row, Spread, worded
from unlearn.report.table import ROWS

MAIN = (
    "forget_accuracy",
    "retain_accuracy",
    "test_accuracy",
    "retained_test_accuracy",
    ATTACK,
)  # drawn in the open, the rest folded away
TEST = ("test_accuracy", "retained_test_accuracy")
MOST_LINES = 4  # with bands in one panel; more are parted by strategy
MOST_BARS = 20
SECONDS = ("seconds", "speedup")


@dataclass(frozen=True)
class Figure:
    """A chart under its caption; `main` ones are not folded away."""

    caption: str
    chart: str
    main: bool = True


@dataclass(frozen=True)
class Group:
    """Charts that are read together: a heading, what to know, the legend as (mark, name)."""

    heading: str
    about: str
    figures: tuple[Figure, ...]
    legend: tuple[tuple[str, str], ...] = ()
    references: tuple[str, ...] = ("original", "retrained")


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

    def legend(self) -> tuple[tuple[str, str], ...]:
        """The mark of every strategy."""
        return tuple((plane.swatch(number), name) for number, name in enumerate(self.strategies))


def retention(scenario: ComparisonGroup, ink: Ink) -> Iterator[Figure]:
    """Accuracy kept against how far forget accuracy is from retrained models, for retain and test."""
    for metric in graded(("retain_accuracy", "test_accuracy"), lambda name: scenario.has(f"unlearned/{name}")):
        key, name = f"unlearned/{metric}", accuracy_name(metric)
        found = [
            (row, near, kept)
            for row in scenario.rows
            if (near := row.distance("forget_accuracy")) and (kept := row.spread(key))
        ]
        if not found:
            continue
        best = set(front([(near.mean, kept.mean) for _, near, kept in found]))
        words = ("forget accuracy from retrained", name)
        points = [_point(row, near, kept, ink, words, n in best) for n, (row, near, kept) in enumerate(found)]
        floor = scenario.retrained.spread("noise_floor/forget_accuracy")
        points = [*_references(scenario, metric, floor), *points]
        x = Axis.over("distance of forget accuracy from retrained models", _reach(points, "x"))
        y = Axis.over(name, _reach(points, "y"))
        chart = plane.scatter(f"forgetting against {name}", x, y, points, floor.mean if floor else None)
        yield Figure(name, chart)


def _point(row: Row, x: Spread, y: Spread, ink: Ink, words: tuple[str, str], front_: bool) -> Point:
    told = f"{row.label}: {words[0]} {show(x)}, {words[1]} {show(y)}, n {y.n}"
    return Point(x.mean, y.mean, told, ink.style(row), ink.target(row), x.std or 0.0, y.std or 0.0, front_)


def _references(scenario: ComparisonGroup, metric: str, floor: Spread | None) -> Iterator[Point]:
    """Retrained models at their distance from each other, and the original untouched."""
    for role, row, away in (
        ("retrained", scenario.retrained, floor or Spread(0.0, None, 1)),
        ("original", scenario.originals, scenario.untouched("forget_accuracy")),
    ):
        kept = row.spread(f"{role}/{metric}")
        if kept and away:
            told = f"{role}: {show(away)} away, {accuracy_name(metric)} {show(kept)}, n {kept.n}"
            yield Point(away.mean, kept.mean, told, role, "", away.std or 0.0, kept.std or 0.0)


def cost(scenario: ComparisonGroup, ink: Ink) -> Figure | None:
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
        told = f"retrained: {show(taken, 'seconds')} s, {show(floor) if floor else '0'} from each other"
        level = floor.mean if floor else 0.0
        points.insert(0, Point(taken.mean, level, told, "retrained", "", taken.std or 0.0))
    x, y = (
        Axis.over("seconds of unlearning", _reach(points, "x")),
        Axis.over("average gap", [0.0, *_reach(points, "y")]),
    )
    chart = plane.scatter("average gap against time", x, y, points, floor.mean if floor else None, along="y")
    return Figure("average gap against time", chart)


def _reach(points: Sequence[Point], axis: str) -> list[float]:
    """The ends of all whiskers; one that would reach 0 or below is left out, a logarithm has no room for it."""
    centres = [(point.x, point.dx) if axis == "x" else (point.y, point.dy) for point in points]
    return [end for at, d in centres for end in (at - d, at, at + d) if end > 0 or at <= 0]


def parameters(scenario: ComparisonGroup) -> list[str]:
    """Names of the numeric settings that vary, those of most strategies first."""
    values: dict[str, set[float]] = defaultdict(set)
    for row in scenario.rows:
        for name, value in row.setting.items():
            if _is_number(value):
                values[name].add(value)
    return [name for name, found in values.items() if len(found) > 1]


def _is_number(value: object) -> bool:
    """Whether it has a place on an axis: one that also takes null or a word has values that have none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class Measure:
    """What is drawn over a parameter: its name, its key for the unlearned model, its name in the report."""

    name: str
    key: str
    metric: str


def measures(scenario: ComparisonGroup) -> Iterator[Measure]:
    """The average gap and every metric that has a value."""
    if scenario.has(GAP):
        yield Measure("average gap", GAP, GAP)
    for metric, name in renamed(ROWS, lambda name: scenario.has(f"unlearned/{name}")).items():
        key = f"unlearned/{metric}"
        if metric != "unlearning_accuracy" and scenario.has(key) and (metric not in SECONDS or scenario.timed):
            yield Measure(name.strip(), key, metric)


@dataclass(frozen=True)
class Series:
    """Rows that differ in one parameter alone, along it."""

    strategy: str
    others: str  # the settings that stay the same
    dash: int  # by these, in every strategy alike
    rows: tuple[Row, ...]


def series(scenario: ComparisonGroup, parameter: str) -> list[Series]:
    """By strategy and other settings, where two values of the parameter or more were tried."""
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in scenario.rows:
        if _is_number(row.setting.get(parameter)):
            groups[row.strategy, _others(row, parameter)].append(row)
    found = {names: rows for names, rows in sorted(groups.items()) if len(rows) > 1}
    dashes = sorted({others for _, others in found})
    return [
        Series(
            strategy, others, dashes.index(others), tuple(sorted(rows, key=lambda row: float(row.setting[parameter])))
        )
        for (strategy, others), rows in found.items()
    ]


def _others(row: Row, *parameters: str) -> str:
    return " ".join(f"{name}={worded(value)}" for name, value in row.setting.items() if name not in parameters)


def line_legend(found: Sequence[Series], ink: Ink) -> tuple[tuple[str, str], ...]:
    """Colours by strategy, dashes by the other settings."""
    dashes = {each.others: plane.swatch(None, each.dash) for each in found if each.others}
    return ink.legend() + tuple((mark, others) for others, mark in sorted(dashes.items()))


def curves(scenario: ComparisonGroup, ink: Ink, parameter: str, found: Sequence[Series]) -> Iterator[Figure]:
    """Each metric over one parameter, a line for each series; a panel for each strategy where lines are many."""
    strategies = list(dict.fromkeys(each.strategy for each in found))
    parted = len(found) > MOST_LINES and len(strategies) > 1
    panels = [[each for each in found if each.strategy == name] for name in strategies] if parted else [found]
    for measure in measures(scenario):
        drawn = [[line for each in panel if (line := _line(each, measure, parameter, ink))] for panel in panels]
        levels = list(_levels(scenario, measure.metric))
        x, y = _curve_axes([line for lines in drawn for line in lines], levels, parameter, measure)
        for lines in filter(None, drawn):
            chart = plane.lines(f"{measure.name} over {parameter}", x, y, lines, levels, len(lines) <= MOST_LINES)
            suffix = f", {lines[0].label.split()[0]}" if parted else ""
            yield Figure(measure.name + suffix, chart, measure.metric in {GAP, *MAIN})


def _line(each: Series, measure: Measure, parameter: str, ink: Ink) -> Line | None:
    points = tuple(
        (
            float(row.setting[parameter]),
            value.mean,
            value.std or 0.0,
            f"{row.label}: {measure.name} {show(value, measure.metric)}, n {value.n}",
            ink.target(row),
        )
        for row in each.rows
        if (value := row.spread(measure.key))
    )
    return Line(f"{each.strategy} {each.others}", ink.style(each.rows[0]), each.dash, points) if points else None


def _curve_axes(drawn: Sequence[Line], levels: Sequence[Level], parameter: str, measure: Measure) -> tuple[Axis, Axis]:
    """Common to all panels of a metric."""
    points = [point for line in drawn for point in line.points]
    marks = sorted({point[0] for point in points})
    ends = [end for _, mean, std, *_ in points for end in (mean - std, mean, mean + std) if end > 0 or mean <= 0]
    known = [level.value for level in levels if level.value is not None]
    return Axis.over(parameter, marks, marks), Axis.over(measure.name, ends + known)


def _levels(scenario: ComparisonGroup, metric: str) -> Iterator[Level]:
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


def maps(scenario: ComparisonGroup, ink: Ink, pair: tuple[str, str]) -> Iterator[Figure]:
    """A heat map of each metric over two parameters, one for each strategy and other setting, shades in common."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in scenario.rows:
        if all(_is_number(row.setting.get(name)) for name in pair):
            groups[f"{row.strategy} {_others(row, *pair)}".strip()].append(row)
    for measure in measures(scenario):
        reach = _shades([found for rows in groups.values() for row in rows if (found := row.spread(measure.key))])
        for label, rows in sorted(groups.items()):
            chart = _map(rows, pair, measure, ink, reach)
            if chart:
                yield Figure(f"{measure.name}, {label}", chart, measure.metric in {GAP, "forget_accuracy", *TEST})


def _shades(found: Sequence[Spread]) -> tuple[float, float]:
    """From the faintest to the strongest: wide enough that less than the spread over seeds stays faint (our choice)."""
    if not found:
        return 0.0, 1.0
    low, high = min(each.mean for each in found), max(each.mean for each in found)
    room = max(0.0, 4 * fmean(each.std or 0.0 for each in found) - (high - low)) / 2
    return low - room, high + room


def _map(rows: list[Row], pair: tuple[str, str], measure: Measure, ink: Ink, reach: tuple[float, float]) -> str:
    columns, lines = (sorted({float(row.setting[name]) for row in rows}) for name in pair)
    if len(columns) < 2 or len(lines) < 2:
        return ""
    fields = [
        Field(
            columns.index(row.setting[pair[0]]),
            lines.index(row.setting[pair[1]]),
            found.mean,
            show(Spread(found.mean, None, found.n), measure.metric),
            f"{row.label}: {measure.name} {show(found, measure.metric)}, n {found.n}",
            ink.target(row),
        )
        for row in rows
        if (found := row.spread(measure.key))
    ]
    x, y = (Axis(name, 0, 1, marks=tuple(marks)) for name, marks in zip(pair, (columns, lines), strict=True))
    return plane.heat(f"{measure.name} over {pair[0]} and {pair[1]}", x, y, fields, *reach) if fields else ""


def speedups(scenario: ComparisonGroup, ink: Ink) -> Figure | None:
    """How many times as long retraining took, for the rows closest to retraining."""
    found = [(row, value) for row in scenario.rows if (value := row.spread("unlearned/speedup"))][:MOST_BARS]
    if not found:
        return None
    rungs = [
        Rung(row.label, value.mean, value.std or 0.0, f"{show(value, 'speedup')}×", ink.style(row), ink.target(row))
        for row, value in found
    ]
    return Figure("speed-up over retraining", plane.ladder("speed-up over retraining", rungs, 1.0))
