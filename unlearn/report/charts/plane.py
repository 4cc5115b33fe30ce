"""Charts with two axes, beside the bars of `svg`: points, lines with bands, heat maps. Every mark leads somewhere.

Drawn 340 pixels wide as those are; colours are the page's style sheet's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, tostring

from unlearn.report.charts.axis import Axis
from unlearn.report.charts.svg import LETTER, WIDTH, drawing, element, letters

HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 250.0, 54.0, 12.0, 12.0, 40.0  # of a chart, and of its margins
CROWD = 40  # more points than these, and only those of the front keep their whiskers
SQUARE = 34.0  # height of a heat map's field
RUNG = 36.0  # height of a bar with its name
STYLES, DASHES = 6, 6  # colours (and shapes), and kinds of lines, that the style sheet has


@dataclass(frozen=True)
class Point:
    """A mean in the plane with its spread in both directions (0: none)."""

    x: float
    y: float
    label: str  # told on hovering
    style: int | str  # number of the strategy, or the role
    target: str = ""  # anchor that it leads to
    dx: float = 0.0
    dy: float = 0.0
    front: bool = False  # on the Pareto front


@dataclass(frozen=True)
class Line:
    """Means over one parameter, `points` as (x, mean, spread, label, target)."""

    label: str
    style: int
    dash: int
    points: tuple[tuple[float, float, float, str, str], ...]


@dataclass(frozen=True)
class Level:
    """A horizontal reference: a line, a band, or both."""

    role: str
    value: float | None
    band: tuple[float, float] | None = None


@dataclass(frozen=True)
class Field:
    """One field of a heat map."""

    column: int
    row: int
    value: float
    text: str
    label: str
    target: str


def scatter(title: str, x: Axis, y: Axis, points: Sequence[Point], band: float | None = None, along: str = "x") -> str:
    """Points over a band from 0 to `band` of the axis `along`; the front is joined by a line."""
    drawn = frame(x, y)
    if band is not None and band > 0:
        drawn.append(_band(x, y, band, along))
    chosen = sorted((point for point in points if point.front), key=lambda point: point.x)
    if len(chosen) > 1:
        way = "L".join(f"{at_x(x, point.x):.2f} {at_y(y, point.y):.2f}" for point in chosen)
        drawn.append(element("path", style="front", d=f"M{way}"))
    for point in points:
        whiskers = len(points) <= CROWD or point.front or isinstance(point.style, str)
        drawn.append(_point(x, y, point, whiskers))
    return drawing(title, HEIGHT, *drawn)


def _band(x: Axis, y: Axis, band: float, along: str) -> Element:
    left, right, top, bottom = at_x(x, x.low), at_x(x, x.high), at_y(y, y.high), at_y(y, y.low)
    if along == "x":
        right = at_x(x, band)
    else:
        top = at_y(y, band)
    return element("rect", style="band", x=left, y=top, width=max(right - left, 1.0), height=max(bottom - top, 1.0))


def _point(x: Axis, y: Axis, point: Point, whiskers: bool) -> Element:
    at, up = at_x(x, point.x), at_y(y, point.y)
    marks = _whiskers(x, y, point) if whiskers else []
    return _leading(point.target, point.label, *marks, _shape(point.style, at, up, point.front))


def _whiskers(x: Axis, y: Axis, point: Point) -> list[Element]:
    at, up = at_x(x, point.x), at_y(y, point.y)
    ways = []
    if point.dx:
        ways.append(f"M{at_x(x, point.x - point.dx):.2f} {up:.2f}H{at_x(x, point.x + point.dx):.2f}")
    if point.dy:
        ways.append(f"M{at:.2f} {at_y(y, point.y - point.dy):.2f}V{at_y(y, point.y + point.dy):.2f}")
    return [element("path", style="spread", d="".join(ways))] if ways else []


def _shape(style: int | str, x: float, y: float, front: bool) -> Element:
    """Shape and colour of a strategy, no two alike among 36; a cross for references."""
    if isinstance(style, str):
        return element("path", style=f"cross {style}", d=f"M{x - 5:.2f} {y - 5:.2f}l10 10m0-10l-10 10")
    ways = (
        f"M{x - 4.5:.2f} {y:.2f}a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z",
        f"M{x - 4:.2f} {y - 4:.2f}h8v8h-8z",
        f"M{x:.2f} {y - 5:.2f}l5 9h-10z",
        f"M{x:.2f} {y - 5.5:.2f}l5.5 5.5l-5.5 5.5l-5.5-5.5z",
        f"M{x:.2f} {y + 5:.2f}l5-9h-10z",
        f"M{x - 2:.2f} {y - 5:.2f}h4v3h3v4h-3v3h-4v-3h-3v-4h3z",
    )
    return element(
        "path", style=f"mark s{style % STYLES}" + " chosen" * front, d=ways[(style + style // STYLES) % STYLES]
    )


def lines(title: str, x: Axis, y: Axis, found: Sequence[Line], levels: Sequence[Level] = (), bands: bool = True) -> str:
    """A line for each series, with a band of its spread, over the levels of the references."""
    drawn = frame(x, y)
    drawn += [part for level in levels for part in _level(x, y, level)]
    drawn += [_ribbon(x, y, line) for line in found if bands and len(line.points) > 1]
    for line in found:
        way = "L".join(f"{at_x(x, point[0]):.2f} {at_y(y, point[1]):.2f}" for point in line.points)
        drawn.append(element("path", style=f"line s{line.style % STYLES} d{line.dash % DASHES}", d=f"M{way}"))
        drawn += [
            _leading(target, label, _shape(line.style, at_x(x, at), at_y(y, mean), False))
            for at, mean, _, label, target in line.points
        ]
    return drawing(title, HEIGHT, *drawn)


def _level(x: Axis, y: Axis, level: Level) -> Iterator[Element]:
    left, right = at_x(x, x.low), at_x(x, x.high)
    if level.band:
        low, high = (at_y(y, end) for end in level.band)
        yield element("rect", style="band", x=left, y=high, width=right - left, height=max(low - high, 1.0))
    if level.value is not None:
        yield element("path", style=f"level {level.role}", d=f"M{left:.2f} {at_y(y, level.value):.2f}H{right:.2f}")


def _ribbon(x: Axis, y: Axis, line: Line) -> Element:
    above = [f"{at_x(x, at):.2f} {at_y(y, mean + spread):.2f}" for at, mean, spread, *_ in line.points]
    below = [f"{at_x(x, at):.2f} {at_y(y, mean - spread):.2f}" for at, mean, spread, *_ in reversed(line.points)]
    return element("path", style=f"ribbon s{line.style % STYLES}", d=f"M{'L'.join([*above, *below])}z")


def heat(title: str, x: Axis, y: Axis, fields: Sequence[Field], low: float, high: float) -> str:
    """Fields of equal size, the stronger the higher; `marks` of the axes name columns and rows. -> an SVG"""
    left = max((len(f"{mark:g}") for mark in y.marks), default=1) * LETTER + 24
    wide, bottom = (WIDTH - left - 4) / len(x.marks), len(y.marks) * SQUARE
    drawn = []
    for field in fields:
        at, up = left + field.column * wide, (len(y.marks) - 1 - field.row) * SQUARE
        share = 0.05 + 0.55 * ((field.value - low) / (high - low) if high > low else 0.5)
        box = element("rect", style="field", x=at + 1, y=up + 1, width=wide - 2, height=SQUARE - 2, rx=2)
        box.set("fill-opacity", f"{share:.3f}")
        drawn.append(
            _leading(field.target, field.label, box, letters(field.text, at + wide / 2, up + SQUARE / 2, "in"))
        )
    drawn += [letters(f"{mark:g}", left + (n + 0.5) * wide, bottom + 10, "tick") for n, mark in enumerate(x.marks)]
    drawn += [letters(f"{mark:g}", left - 6, bottom - (n + 0.5) * SQUARE, "share") for n, mark in enumerate(y.marks)]
    drawn += [letters(x.label, left + (WIDTH - left) / 2, bottom + 26, "tick"), _upright(y.label, bottom / 2)]
    return drawing(title, bottom + 34, *drawn)


@dataclass(frozen=True)
class Rung:
    """A bar below its name, up to `value`."""

    name: str
    value: float
    spread: float
    text: str
    style: int
    target: str


def ladder(title: str, rungs: Sequence[Rung], line: float) -> str:
    """Bars below their names, however long those are; a line across each stands at `line`.

    They start at 0; where positive values span a decade, which one long bar would flatten, on a logarithmic scale.
    """
    right = WIDTH - max(len(rung.text) for rung in rungs) * LETTER - 8
    wide = Axis.over(title, [line, *(rung.value for rung in rungs)])
    reach = wide if wide.log else Axis(title, 0.0, max(line, *(rung.value + rung.spread for rung in rungs)))
    drawn = [_rung(rung, number * RUNG, right, reach) for number, rung in enumerate(rungs)]
    axis = element("line", style="axis", x1=0, x2=0, y1=0, y2=len(rungs) * RUNG)
    at = right * reach.at(line)
    way = "".join(f"M{at:.2f} {number * RUNG + RUNG - 17:.2f}v16" for number in range(len(rungs)))
    return drawing(title, len(rungs) * RUNG, *drawn, axis, element("path", style="level none", d=way))


def swatch(style: int | None, dash: int | None = None) -> str:
    """A strategy's mark for a legend, 12 pixels high, on a piece of a line; either may be left out."""
    wide = 12 if dash is None else 32
    svg = Element("svg", {"viewBox": f"0 0 {wide} 12", "width": str(wide), "class": "swatch", "aria-hidden": "true"})
    if dash is not None:
        colour = "plain" if style is None else f"s{style % STYLES}"
        svg.append(element("path", style=f"line {colour} d{dash % DASHES}", d="M0 6H32"))
    if style is not None:
        svg.append(_shape(style, wide / 2, 6, False))
    return tostring(svg, encoding="unicode")


def _rung(rung: Rung, y: float, right: float, reach: Axis) -> Element:
    middle, long = y + RUNG - 9, right * reach.at(rung.value)
    bar = element("rect", style=f"s{rung.style % STYLES}", x=0, y=middle - 6, width=long, height=12, rx=2)
    parts = [letters(rung.name, 4, y + 10, "rung"), bar, letters(rung.text, WIDTH, middle, "number")]
    if rung.spread:
        low, high = (right * reach.at(rung.value + sign * rung.spread) for sign in (-1, 1))
        parts.append(element("path", style="whisker", d=f"M{low:.2f} {middle:.2f}H{high:.2f}"))
    return _leading(rung.target, f"{rung.name}: {rung.text}", *parts)


def frame(x: Axis, y: Axis) -> list[Element]:
    """Grid, numbers and the names of both axes."""
    left, right, top, bottom = LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM
    drawn = []
    for value in y.ticks():
        up = at_y(y, value)
        drawn += [
            element("line", style="grid", x1=left, x2=right, y1=up, y2=up),
            letters(_short(value), left - 5, up, "share"),
        ]
    for value in _apart(x):
        at = at_x(x, value)
        drawn += [
            element("line", style="grid", x1=at, x2=at, y1=top, y2=bottom),
            letters(_short(value), at, bottom + 10, "tick"),
        ]
    drawn.append(element("path", style="axis edge", d=f"M{left:.2f} {top:.2f}V{bottom:.2f}H{right:.2f}"))
    return [*drawn, letters(x.label, (left + right) / 2, HEIGHT - 12, "tick"), _upright(y.label, (top + bottom) / 2)]


def _apart(x: Axis) -> list[float]:
    """Ticks that have room for their numbers."""
    kept: list[float] = []
    for value in x.ticks():
        room = (len(_short(value)) + 1) * LETTER * 0.85
        if not kept or at_x(x, value) - at_x(x, kept[-1]) >= room:
            kept.append(value)
    return kept


def _upright(text: str, y: float) -> Element:
    found = letters(text, 6.0, y, "tick")
    found.set("transform", f"rotate(-90 6 {y:.2f})")
    return found


def _leading(target: str, label: str, *marks: Element) -> Element:
    """Marks that tell their label and lead to an anchor."""
    title = Element("title")
    title.text = label
    if not target:
        return element("g", title, *marks)
    return element("a", title, *marks, href=f"#{target}", **{"data-told": label})


def at_x(axis: Axis, value: float) -> float:
    """Pixels from the left edge."""
    return LEFT + axis.at(value) * (WIDTH - RIGHT - LEFT)


def at_y(axis: Axis, value: float) -> float:
    """Pixels from the top."""
    return HEIGHT - BOTTOM - axis.at(value) * (HEIGHT - BOTTOM - TOP)


def _short(value: float) -> str:
    return f"{value:.6g}"
