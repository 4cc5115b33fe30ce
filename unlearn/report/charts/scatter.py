"""Rows of a sweep in the plane of two quantities, with whiskers, the noise floor and the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from unlearn.report.charts.sweep_marks import ONLY, SELECTIONS, Marks, kept
from unlearn.report.charts.theme import Spec, chart, colour, domain, layer, quantity, spans, tooltip
from unlearn.report.sweep.compare import pareto_front

FRONT_LINE = {"type": "line", "color": colour("ink"), "strokeWidth": 2.5, "opacity": 0.75, "interpolate": "linear"}
UNLESS_NARROW = {"opacity": {"expr": "width < 420 ? 0 : 1"}}  # there is no room on a phone
LABELLED = 6  # a longer front is not labelled: the names would cover each other


@dataclass(frozen=True)
class Side:
    """One axis: what it shows, the ends of its range, whether less is better, and how far the noise floor reaches."""

    name: str
    low: float | None = None
    high: float | None = None
    is_less_better: bool = False
    floor: float | None = None
    may_be_log: bool = False


@dataclass(frozen=True)
class Point:
    """A mean with its ends in both directions; `fields` are shown in the tooltip or name the row."""

    x: tuple[float, float, float]  # low, mean, high
    y: tuple[float, float, float]
    fields: dict[str, Any] = field(default_factory=dict)

    def row(self) -> Spec:
        """The point as data."""
        (x_low, x, x_high), (y_low, y, y_high) = self.x, self.y
        ends = {"x_low": x_low, "x_high": x_high, "y_low": y_low, "y_high": y_high}
        return self.fields | {"x": x, "y": y} | ends


def scatter_chart(
    title: str, sides: tuple[Side, Side], points: Sequence[Point], references: Sequence[Point], marks: Marks
) -> Spec:
    """Draw the points of a sweep.

    Args:
        title: for screen readers.
        sides: the horizontal and the vertical axis.
        points: rows; their `fields` hold those of `Marks.fields`, `x_text`, `y_text`, and `seconds` where timed.
        references: original and retrained models; their `fields` hold the role as `strategy`, and the texts.
        marks: colours of the rows.
    """
    rows, known = [point.row() for point in points], [point.row() for point in references]
    x, y = (_channel(axis, side, [*rows, *known]) for axis, side in zip("xy", sides, strict=True))
    front = _front(rows, sides)
    texts = (("x_text", sides[0].name), ("y_text", sides[1].name))
    cross, by_strategy = {"type": "point", "shape": "cross", "angle": 45, "size": 160}, marks.colour()
    tips = tooltip(("strategy", "model"), *texts, "n")
    return chart(
        title,
        [
            *_bands(sides, x, y),
            layer(FRONT_LINE, front, x=x, y=y),
            *_whiskers(rows, x, y, marks),
            _dots(rows, x, y, texts, marks),
            layer(cross, known, x=x, y=y, color=by_strategy, tooltip=tips),
            layer(_text_mark(12) | {"fontWeight": 600}, known, x=x, y=y, text={"field": "strategy"}, color=by_strategy),
            layer(_text_mark(-12) | UNLESS_NARROW, _labels(front), x=x, y=y, text={"field": "label"}),
        ],
        380,
        [ONLY],
    )


def _front(rows: Sequence[Spec], sides: tuple[Side, Side]) -> list[Spec]:
    """The rows on the Pareto front, from left to right."""
    x_sign, y_sign = (1 if side.is_less_better else -1 for side in sides)
    best = pareto_front([(x_sign * row["x"], -y_sign * row["y"]) for row in rows])
    return sorted((rows[index] for index in best), key=lambda row: (row["x"], row["y"]))


def _whiskers(rows: Sequence[Spec], x: Spec, y: Spec, marks: Marks) -> list[Spec]:
    faint = {"color": marks.colour(), "opacity": kept(0.35)}
    across = {"x": x | {"field": "x_low"}, "x2": {"field": "x_high"}, "y": y}
    upright = {"x": x, "y": y | {"field": "y_low"}, "y2": {"field": "y_high"}}
    return [layer("rule", rows, **ends, **faint) for ends in (across, upright)]


def _dots(rows: Sequence[Spec], x: Spec, y: Spec, texts: Sequence[tuple[str, str]], marks: Marks) -> Spec:
    """A point for every row; its size is the seconds if all rows were timed."""
    is_timed = all("seconds" in row for row in rows)
    return layer(
        {"type": "point", "stroke": colour("paper"), "strokeWidth": 1},
        rows,
        SELECTIONS,
        x=x,
        y=y,
        size=_size() if is_timed else {"value": 110},
        shape=marks.shape(),
        color=marks.colour(),
        opacity=kept(0.9),
        tooltip=tooltip("setting", *texts, *([("seconds_text", "seconds")] if is_timed else []), "n"),
    )


def _text_mark(dy: int) -> Spec:
    """A text at its point, on the side where there is room."""
    return {"type": "text", "align": _inwards("right", "left"), "dx": _inwards(-12, 12), "dy": dy}


def _inwards(right: str | int, left: str | int) -> Spec:
    """A property of a label that depends on whether its point is near the right edge."""
    return {"expr": f"scale('x', datum.x) > width * 0.6 ? {right!r} : {left!r}"}


def _labels(front: Sequence[Spec]) -> list[Spec]:
    """One label per place of a short front; the first row names those that lie on it."""
    places: dict[tuple[str, str], list[Spec]] = {}
    for row in front:
        places.setdefault((f"{row['x']:.3g}", f"{row['y']:.3g}"), []).append(row)
    labels = [
        rows[0] | {"label": rows[0]["short"] + (f" and {len(rows) - 1} more" if len(rows) > 1 else "")}
        for rows in places.values()
    ]
    return labels if len(labels) <= LABELLED else []


def _channel(axis: str, side: Side, rows: Sequence[Spec]) -> Spec:
    values = [row[f"{axis}{end}"] for row in rows for end in ("_low", "", "_high")]
    if side.may_be_log and spans(row[axis] for row in rows):
        smallest = min(row[axis] for row in rows)
        return quantity(axis, side.name, (smallest / 1.3, max(values) * 1.3), is_log=True)
    return quantity(axis, side.name, domain([*values, side.floor], side.low, side.high))


def _bands(sides: tuple[Side, Side], x: Spec, y: Spec) -> list[Spec]:
    """The noise floor as a band from 0 along its axis."""
    mark = {"type": "rect", "color": colour("retrained"), "opacity": 0.16}
    tips = tooltip(("text", "noise floor"))
    bands = []
    for axis, side, channel in zip("xy", sides, (x, y), strict=True):
        if side.floor:
            row = {"from": 0, "to": side.floor, "text": f"{side.floor:.3f}"}
            ends = {axis: channel | {"field": "from"}, f"{axis}2": {"field": "to"}}
            bands.append(layer(mark, [row], **ends, tooltip=tips))
    return bands


def _size() -> Spec:
    legend = {
        "title": "seconds",
        "symbolFillColor": colour("soft"),
        "symbolStrokeColor": colour("soft"),
        "tickCount": 3,
    }
    return {"field": "seconds", "type": "quantitative", "scale": {"range": [70, 500], "zero": False}, "legend": legend}
