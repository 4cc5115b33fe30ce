"""Three models on one scale: a dot each, over the band in which retrained models lie from each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from unlearn.report.charts.axis import Axis
from unlearn.report.charts.svg import BELOW, LETTER, LINE, WIDTH, drawing, element, letters


@dataclass(frozen=True)
class Dot:
    """One row: a value, the ends of its whisker if it has one, and its colour's class."""

    label: str
    value: float
    interval: tuple[float, float] | None
    text: str  # printed beside it
    style: str


def dots(title: str, rows: Sequence[Dot], band: tuple[float, float] | None) -> str:
    """Rows on a common axis that spans what they hold; it need not begin at 0. -> an SVG"""
    ends = [end for pair in (*(row.interval for row in rows), band) if pair for end in pair]
    axis = Axis.near("", [*(row.value for row in rows), *ends])
    left = max(len(row.label) for row in rows) * LETTER + 14
    right = WIDTH - max(len(row.text) for row in rows) * LETTER - 14
    bottom = len(rows) * LINE

    def at(value: float) -> float:
        return left + axis.at(value) * (right - left)

    drawn = [element("line", style="grid", x1=at(tick), x2=at(tick), y1=0, y2=bottom) for tick in axis.ticks()]
    drawn += [letters(f"{tick:.6g}", at(tick), bottom + 10, "tick") for tick in axis.ticks()]
    if band is not None:
        low, high = at(band[0]), at(band[1])
        drawn.append(element("rect", style="band", x=low - 1, y=0, width=high - low + 2, height=bottom))
    for number, row in enumerate(rows):
        drawn += _row(row, number * LINE + LINE / 2, left, at(row.value), [at(end) for end in row.interval or ()])
    return drawing(title, bottom + BELOW, *drawn)


def _row(row: Dot, y: float, left: float, at: float, ends: Sequence[float]) -> list[Element]:
    parts = [letters(row.label, left - 10, y, "label"), letters(row.text, WIDTH, y, "number")]
    if ends:
        parts.append(element("path", style="whisker", d=f"M{ends[0]:.2f} {y - 4}v8m0-4H{ends[1]:.2f}m0-4v8"))
    return [*parts, element("circle", style=row.style, cx=at, cy=y, r=5)]
