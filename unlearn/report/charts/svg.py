"""Small charts as SVG elements; colours and fonts are the page's style sheet's.

Drawn in pixels 340 wide, so that on a telephone letters keep their size. Text is escaped by ElementTree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from xml.etree.ElementTree import Element, tostring

WIDTH = 340.0
LINE = 26.0  # height of a row
LETTER = 6.7  # mean width of a letter at the style sheet's 12 px
TICKS = (0.01, 0.1, 0.5, 1.0)  # shares that a histogram draws lines at
MOST = 1.0  # where the axis of gaps ends at the latest
PANEL, BELOW = 94.0, 22.0  # heights: of a histogram, and of what stands below one


@dataclass(frozen=True)
class Bar:
    """One row of a bar chart; a `value` of None leaves the row without a bar."""

    label: str
    value: float | None
    text: str  # printed beside it
    style: str  # a class of the style sheet
    spread: float | None = None  # half the length of the whisker


@dataclass(frozen=True)
class Gap:
    """A signed difference, and the half width of the band that is noise; None where undefined."""

    label: str
    value: float | None
    floor: float | None
    text: str


@dataclass(frozen=True)
class Histogram:
    """Counts in equal bins on 0-1, with those of a reference drawn as an outline."""

    label: str
    counts: Sequence[int]
    style: str
    reference: Sequence[int] | None = None


def bars(title: str, rows: Sequence[Bar], top: float, room: int = 0) -> str:
    """Horizontal bars from 0 to `top`, labels on the left, numbers on the right.

    `room` letters are kept for the numbers at least, so that charts side by side have one scale.
    """
    left, right = _margins([row.label for row in rows], [*(row.text for row in rows), room * "0"])
    scale = (right - left) / (top or 1.0)
    drawn = [_bar(row, number * LINE, left, right, scale) for number, row in enumerate(rows)]
    axis = element("line", style="axis", x1=left, x2=left, y1=0, y2=len(rows) * LINE)
    return drawing(title, len(rows) * LINE, *(part for parts in drawn for part in parts), axis)


def _bar(row: Bar, y: float, left: float, right: float, scale: float) -> list[Element]:
    middle = y + LINE / 2
    parts = [_label(row.label, left, middle), letters(row.text, WIDTH, middle, "number")]
    if row.value is not None:
        parts.append(element("rect", style=row.style, x=left, y=y + 5, width=row.value * scale, height=LINE - 10, rx=2))
    if row.value is not None and row.spread:
        low, high = (min(max(left + (row.value + sign * row.spread) * scale, left), right) for sign in (-1, 1))
        ends = f"M{low:.2f} {middle - 4}v8m0-4H{high:.2f}m0-4v8"
        parts.append(element("path", style="whisker", d=ends))
    return parts


def gaps(title: str, rows: Sequence[Gap]) -> str:
    """Signed bars from a common zero, each over its noise band; the axis reaches to `MOST`, an arrow goes beyond."""
    left, right = _margins([row.label for row in rows], [row.text for row in rows])
    known = [abs(value) for row in rows for value in (row.value, row.floor) if value is not None]
    reach = min(max(known, default=0.0), MOST) or MOST
    zero, scale = (left + right) / 2, (right - left) / 2 / reach / 1.06
    drawn = [_gap(row, number * LINE, zero, scale, reach) for number, row in enumerate(rows)]
    bottom = len(rows) * LINE
    axis = [element("line", style="axis", x1=zero, x2=zero, y1=0, y2=bottom)]
    axis += [letters(f"{at:+.2g}" if at else "0", zero + at * scale, bottom + 10, "tick") for at in (-reach, 0, reach)]
    return drawing(title, bottom + BELOW, *(part for parts in drawn for part in parts), *axis)


def _gap(row: Gap, y: float, zero: float, scale: float, reach: float) -> list[Element]:
    middle = y + LINE / 2
    parts = [_label(row.label, zero - reach * 1.06 * scale, middle), letters(row.text, WIDTH, middle, "number")]
    if row.floor is not None:
        half = max(min(row.floor, reach) * scale, 0.75)  # a floor of zero shows as a line
        parts.append(element("rect", style="band", x=zero - half, y=y + 1, width=2 * half, height=LINE - 2))
    if row.value is not None:
        end = zero + max(-reach, min(row.value, reach)) * scale
        x, width = min(zero, end), max(abs(end - zero), 1.5)
        parts.append(element("rect", style="unlearned", x=x, y=y + 8, width=width, height=LINE - 16, rx=1))
        if abs(row.value) > reach:
            tip = 5 if row.value > 0 else -5
            parts.append(element("path", style="unlearned", d=f"M{end:.2f} {middle - 8}l{tip} 8l{-tip} 8z"))
    return parts


def histograms(title: str, panels: Sequence[Histogram]) -> str:
    """One above the other on a common axis; heights are square roots of shares, so that few images stay visible."""
    drawn = [part for number, panel in enumerate(panels) for part in _panel(panel, number * PANEL)]
    bottom = len(panels) * PANEL
    left, right = _plot()
    ticks = [letters(f"{at:g}", left + at * (right - left), bottom + 9, "tick") for at in (0, 0.25, 0.5, 0.75, 1)]
    return drawing(title, bottom + BELOW, *drawn, *ticks)


def _plot() -> tuple[float, float]:
    return 38.0, WIDTH - 8.0


def _panel(panel: Histogram, y: float) -> list[Element]:
    left, right = _plot()
    bottom, high, step = y + PANEL, PANEL - 28, (right - left) / len(panel.counts)
    parts = [letters(panel.label, left, y + 14, "name")]
    for tick in TICKS:
        at = bottom - sqrt(tick) * high
        parts += [element("line", style="grid", x1=left, x2=right, y1=at, y2=at)]
        parts += [letters(f"{tick:.0%}", left - 5, at, "share")]
    parts += [
        element("rect", style=panel.style, x=left + n * step + 0.75, y=bottom - tall, width=step - 1.5, height=tall)
        for n, tall in enumerate(_heights(panel.counts, high))
        if tall
    ]
    if panel.reference is not None:
        parts.append(_outline(_heights(panel.reference, high), left, bottom, step))
    return [*parts, element("line", style="axis", x1=left, x2=right, y1=bottom, y2=bottom)]


def _heights(counts: Sequence[int], high: float) -> list[float]:
    return [sqrt(count / (sum(counts) or 1)) * high for count in counts]


def _outline(heights: list[float], left: float, bottom: float, step: float) -> Element:
    rises = "".join(f"v{before - after:.2f}h{step:.2f}" for before, after in pairwise([0.0, *heights]))
    return element("path", style="reference", d=f"M{left:.2f} {bottom:.2f}{rises}V{bottom:.2f}")


def _margins(labels: Sequence[str], texts: Sequence[str]) -> tuple[float, float]:
    """Where the plot begins and ends between the longest label and the longest number."""
    left, right = (max(map(len, words), default=0) * LETTER + 8 for words in (labels, texts))
    return min(left, WIDTH * 0.4), WIDTH - min(right, WIDTH * 0.4)


def _label(text: str, left: float, y: float) -> Element:
    """Ends at `left`; what does not fit is cut, and whole in the tooltip."""
    fits = max(round((left - 8) / LETTER), 1)
    shown = letters(text if len(text) <= fits else text[: fits - 1] + "…", left - 8, y, "label")
    if len(text) > fits:
        whole = Element("title")
        whole.text = text
        shown.append(whole)
    return shown


def letters(text: str, x: float, y: float, style: str) -> Element:
    """A word at a point, placed and coloured by the class `style`."""
    found = element("text", style=style, x=x, y=y)
    found.text = text
    return found


def element(name: str, *children: Element, style: str = "", **numbers: float | str) -> Element:
    """Any SVG element, its lengths in pixels."""
    found = {
        key: f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
        for key, value in numbers.items()
    }
    made = Element(name, {"class": style} | found if style else found)
    made.extend(children)
    return made


def drawing(title: str, height: float, *children: Element) -> str:
    """The finished chart, with its title for screen readers."""
    svg = Element("svg", {"viewBox": f"0 0 {WIDTH:g} {height:g}", "role": "img", "aria-label": title})
    svg.extend(children)
    return tostring(svg, encoding="unicode")
