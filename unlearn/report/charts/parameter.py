"""Metrics over one setting of a sweep, a line for each strategy and combination of the other settings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from unlearn.report.attacks import ATTACK
from unlearn.report.charts.sweep_marks import ONLY, REFERENCES, SELECTIONS, Figure, Marks, Measure, kept, measures
from unlearn.report.charts.theme import Spec, chart, colour, domain, layer, quantity, spans, tooltip
from unlearn.report.sweep.compare import FLOOR, GAP, format_spread
from unlearn.report.sweep.comparison import ComparisonGroup, Row
from unlearn.report.sweep.settings import format_value

MAIN = {GAP, "forget_accuracy", "retain_accuracy", "test_accuracy", "retained_test_accuracy", ATTACK}  # not folded away
MOST_BANDS = 4  # more bands of standard deviations cover each other
DASHES = ([1, 0], [6, 3], [2, 3], [8, 3, 2, 3], [12, 4], [1, 5])


def numeric_settings(group: ComparisonGroup) -> list[str]:
    """Names of the settings with two or more numeric values."""
    values: dict[str, set[float]] = defaultdict(set)
    for row in group.rows:
        for name, value in row.setting.items():
            if is_number(value):
                values[name].add(value)
    return [name for name, numbers in values.items() if len(numbers) > 1]


def is_number(value: object) -> bool:
    """Whether a setting has a place on an axis."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def other_settings(row: Row, *names: str) -> str:
    """The settings of a row besides `names`, as on the command line."""
    return " ".join(f"{name}={format_value(value)}" for name, value in row.setting.items() if name not in names)


def parameter_charts(group: ComparisonGroup, marks: Marks, parameter: str) -> Iterator[Figure]:
    """Every measure over a setting, for the lines that have two or more values of it."""
    lines: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in group.rows:
        if is_number(row.setting.get(parameter)):
            lines[row.strategy, other_settings(row, parameter)].append(row)
    drawn = [row for _, rows in sorted(lines.items()) if len(rows) > 1 for row in rows]
    for measure in measures(group) if drawn else ():
        points = [point for row in drawn if (point := _point(row, parameter, measure, marks))]
        if points:
            spec = _chart(group, marks, parameter, measure, points)
            yield Figure(measure.name, spec, measure.metric in MAIN)


def _point(row: Row, parameter: str, measure: Measure, marks: Marks) -> Spec | None:
    spread = row.spread(measure.key)
    if spread is None:
        return None
    low, high = measure.ends(spread)
    point = {"x": float(row.setting[parameter]), "y": spread.mean, "low": low, "high": high}
    return marks.fields(row) | point | {"others": other_settings(row, parameter), "text": format_spread(spread)}


def _chart(group: ComparisonGroup, marks: Marks, parameter: str, measure: Measure, points: Sequence[Spec]) -> Spec:
    levels = list(_levels(group, measure))
    ends = [value for row in (*points, *levels) for key in ("low", "y", "high") if (value := row.get(key)) is not None]
    x = _along(parameter, [row["x"] for row in points])
    y = quantity("y", measure.name, domain(ends, *measure.limits))
    others = sorted({row["others"] for row in points})
    legend = {"title": None, "values": [*marks.strategies, *REFERENCES], "symbolOpacity": 1}
    shade, shape = marks.colour() | {"legend": legend}, marks.shape() | {"legend": legend}
    along = {"x": x, "y": y, "detail": [{"field": "strategy"}, {"field": "others"}]}
    dash = _dash(others) if len(others) > 1 else {}
    is_banded = len({(row["strategy"], row["others"]) for row in points}) <= MOST_BANDS
    ribbon = layer(
        {"type": "area", "fillOpacity": 0.15},
        points,
        **(along | {"y": y | {"field": "low"}}),
        y2={"field": "high"},
        color=shade,
        opacity=kept(0.9),
    )
    tips = tooltip("setting", ("text", measure.name), "n")
    return chart(
        f"{measure.name} over {parameter}",
        [
            *_level_layers(levels, y, shade),
            *([ribbon] if is_banded else []),
            layer("line", points, SELECTIONS, **along, **dash, color=shade, opacity=kept(1)),
            layer(
                {"type": "point", "size": 70},
                points,
                x=x,
                y=y,
                shape=shape,
                color=shade,
                opacity=kept(1),
                tooltip=tips,
            ),
        ],
        240,
        [ONLY],
    )


def _along(parameter: str, values: Sequence[float]) -> Spec:
    marks = sorted(set(values))
    scale: Spec = {"type": "log"} if spans(marks) else {}
    channel = quantity("x", parameter, None, values=marks, format="~g", grid=False)
    room = 1.15 if scale else 0.06 * (marks[-1] - marks[0])
    ends = [marks[0] / room, marks[-1] * room] if scale else [marks[0] - room, marks[-1] + room]
    return channel | {"scale": scale | {"domain": ends, "nice": False}}


def _dash(others: Sequence[str]) -> Spec:
    scale = {"domain": list(others), "range": [DASHES[number % len(DASHES)] for number in range(len(others))]}
    legend = {"title": None, "symbolStrokeColor": colour("ink"), "columns": {"expr": "width < 420 ? 1 : 2"}}
    return {"strokeDash": {"field": "others", "type": "nominal", "scale": scale, "legend": legend}}


def _levels(group: ComparisonGroup, measure: Measure) -> Iterator[Spec]:
    """Where original and retrained models stand, the latter with their noise floor."""
    metric = measure.metric
    floor = group.retrained.spread(FLOOR if metric == GAP else f"noise_floor/{metric}")
    after = group.retrained.spread(f"retrained/{metric}")
    before = group.original_gap() if metric == GAP else group.originals.spread(f"original/{metric}")
    if metric == GAP and floor:
        yield {"strategy": "retrained", "low": 0.0, "high": floor.mean, "text": f"noise floor {floor.mean:.3f}"}
    if after:
        half = floor.mean if floor else 0.0
        low, high = after.mean - half, after.mean + half
        text = format_spread(after, metric) + (f", noise floor {half:.3f}" if floor else "")
        yield {"strategy": "retrained", "y": after.mean, "low": low, "high": high, "text": text}
    if before:
        yield {"strategy": "original", "y": before.mean, "text": format_spread(before, metric)}


def _level_layers(levels: Sequence[Spec], y: Spec, shade: Spec) -> list[Spec]:
    """Bands over the whole width, lines on top."""
    bands = [level for level in levels if level.get("low", 0.0) < level.get("high", 0.0)]
    lines = [level for level in levels if "y" in level]
    tips = tooltip(("strategy", "model"), ("text", "value"))
    ends = {"y": y | {"field": "low"}, "y2": {"field": "high"}}
    band = {"type": "rect", "opacity": 0.16, "color": colour("retrained")}
    return [
        layer(band, bands, **ends, tooltip=tips),
        layer({"type": "rule", "strokeWidth": 1.5, "strokeDash": [4, 3]}, lines, y=y, color=shade, tooltip=tips),
    ]
