"""The look that all charts share: colours, fonts, scales, and the common parts of a Vega-Lite specification.

Specifications are plain dicts: to import Altair takes seconds, which every run would pay. A test validates them
against the schema that Altair ships.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Any

Spec = dict[str, Any]
ROLES = ("original", "retrained", "unlearned")
STRATEGIES = 6  # colours for strategies; later strategies start over, with other shapes
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
DECADES = 10.0  # positive values whose largest is this many times the smallest get a logarithmic axis

# After Okabe and Ito: grey, blue and orange stay apart for every kind of colour blindness.
COLOURS = {
    "light": {
        **{"paper": "#fdfdfc", "ink": "#1c2126", "soft": "#5a646e", "rule": "#e3e5e7", "tint": "#f4f5f5"},
        **{"original": "#8b949d", "retrained": "#0072b2", "unlearned": "#d55e00", "good": "#00795a"},
        **{"s0": "#d55e00", "s1": "#009e73", "s2": "#b0629a", "s3": "#b58900", "s4": "#6a4fb3", "s5": "#7a4a21"},
    },
    "dark": {
        **{"paper": "#16191c", "ink": "#e7e9eb", "soft": "#9ba5ae", "rule": "#2e3439", "tint": "#1e2226"},
        **{"original": "#838d97", "retrained": "#56b4e9", "unlearned": "#e69f00", "good": "#2fc79b"},
        **{"s0": "#f08c3a", "s1": "#2fc79b", "s2": "#dd8fc3", "s3": "#e6c229", "s4": "#a894ec", "s5": "#c9976a"},
    },
}


def colour(name: str) -> dict[str, str]:
    """A colour by its name in `COLOURS`; a page switches all of them between light and dark."""
    return {"expr": name}


CONFIG: Spec = {
    "background": colour("paper"),
    "font": "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif",
    "view": {"stroke": None},
    "axis": {
        **{"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "labelLimit": 150, "tickCount": 5},
        **{"labelColor": colour("soft"), "titleColor": colour("soft"), "domainColor": colour("soft")},
        **{"gridColor": colour("rule"), "tickColor": colour("soft"), "labelOverlap": "greedy", "titlePadding": 8},
    },
    "legend": {
        **{"orient": "top", "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "offset": 10},
        **{"labelColor": colour("ink"), "titleColor": colour("soft"), "labelLimit": 240, "symbolLimit": 40},
        **{"layout": {"top": {"direction": "vertical"}}},
        **{"columns": {"expr": "width < 220 ? 1 : width < 560 ? 3 : 6"}, "symbolStrokeWidth": 2},
    },
    "text": {"color": colour("ink"), "fontSize": 12},
    "point": {"filled": True, "opacity": 1},
    "rule": {"color": colour("ink")},
    "line": {"strokeWidth": 2},
    "tick": {"thickness": 2},
}


def chart(title: str, layers: Sequence[Spec], height: int, params: Sequence[Spec] = ()) -> Spec:
    """A chart as wide as its place on the page.

    Args:
        title: read out by screen readers, and the name of a saved file.
        layers: marks, the last on top.
        height: pixels of the plot.
        params: selections of the whole chart, besides the colours.
    """
    colours = [{"name": name, "value": value} for name, value in COLOURS["light"].items()]
    return {
        "description": title,
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "config": CONFIG,
        "params": [*colours, *params],
        "layer": list(layers),
    }


def layer(mark: str | Spec, rows: Sequence[Spec], params: Sequence[Spec] = (), /, **encoding: Any) -> Spec:
    """One kind of mark over its own rows of data."""
    selections = {"params": list(params)} if params else {}
    return {"data": {"values": list(rows)}, "mark": mark, "encoding": encoding, **selections}


def quantity(
    field: str, title: str | None, domain: Sequence[float] | None = None, is_log: bool = False, **axis: Any
) -> Spec:
    """A channel for numbers, from one end of `domain` to the other and no further."""
    scale: Spec = {"zero": False} if domain is None else {"domain": list(domain), "nice": False, "clamp": True}
    scale |= {"type": "log"} if is_log else {}
    return {"field": field, "type": "quantitative", "title": title, "scale": scale, "axis": axis}


def role_colour() -> Spec:
    """A channel that colours models by their role."""
    scale = {"domain": list(ROLES), "range": [colour(role) for role in ROLES]}
    return {"field": "role", "type": "nominal", "scale": scale, "legend": {"title": None}}


def tooltip(*fields: str | tuple[str, str]) -> list[Spec]:
    """What a mark shows on hovering: fields that hold ready texts, by their own name or another title."""
    pairs = [(field, field) if isinstance(field, str) else field for field in fields]
    return [{"field": field, "type": "nominal", "title": title} for field, title in pairs]


def legend_filter(field: str) -> Spec:
    """A selection by clicks on the legend; see `faded`."""
    return {"name": "picked", "select": {"type": "point", "fields": [field]}, "bind": "legend"}


def faded(*tests: str, opacity: float = 1.0) -> Spec:
    """A channel that makes marks faint which the legend, or one of the `tests`, leaves out."""
    test: Any = {"and": [{"param": "picked", "empty": True}, *tests]}
    return {"condition": {"test": test, "value": opacity}, "value": 0.08}


ZOOM: Spec = {
    "name": "zoom",
    "select": {"type": "interval", "zoom": "wheel![event.shiftKey]"},  # the wheel alone scrolls the page
    "bind": "scales",
}


def spans(values: Iterable[float | None]) -> bool:
    """Whether values are positive and span a decade, so that their axis is logarithmic."""
    known = [value for value in values if value is not None and isfinite(value)]
    return bool(known) and min(known) > 0 and max(known) / min(known) >= DECADES


def domain(values: Iterable[float | None], low: float | None = None, high: float | None = None) -> list[float]:
    """Ends of an axis around values, with some room, but never beyond `low` or `high`, the quantity's own range."""
    known = [value for value in values if value is not None and isfinite(value)] or [0.0, 1.0]
    start, end = min(known), max(known)
    room = (end - start) * 0.06 or max(abs(end) * 0.05, 0.01)
    start = start - room if low is None else max(low, start - room)
    end = end + room if high is None else min(high, end + room)
    return [start, end] if start < end else [start - room, end + room]


def clip(value: float, low: float = 0.0, high: float = 1.0) -> float:
    """A value cut to the range of its quantity."""
    return min(max(value, low), high)
