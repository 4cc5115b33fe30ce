"""A number over the requests of a stream, a line for each policy, on top of the original and the retrained models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unlearn.report.charts.theme import (
    SHAPES,
    STRATEGIES,
    Spec,
    chart,
    clip,
    colour,
    domain,
    faded,
    layer,
    legend_filter,
    quantity,
    spans,
    tooltip,
)
from unlearn.report.stream.lines import REFERENCES, StreamLine, StreamMeasure
from unlearn.report.sweep.compare import format_spread

MOST_BANDS = 4  # more bands of standard deviations cover each other


def request_chart(measure: StreamMeasure, lines: Sequence[StreamLine], may_be_log: bool = False) -> Spec | None:
    """Draw a measure over requests.

    Args:
        measure: what is drawn.
        lines: policies and references; with several runs, means with a band of one standard deviation.
        may_be_log: whether the axis becomes logarithmic if the values span a decade.

    Returns:
        The chart; None if nothing was measured.
    """
    rows = [row for line in lines for row in _rows(line, measure)]
    if not rows:
        return None
    is_log = may_be_log and spans(row["y"] for row in rows)
    bands = [] if is_log else _bands(rows)
    values = [row["y"] for row in rows] + [row[end] for row in bands for end in ("low", "high")]
    ends = domain(values, *measure.limits)
    if is_log:
        ends = [min(row["y"] for row in rows) / 1.3, max(row["y"] for row in rows) * 1.3]
    last = max(row["x"] for row in rows)
    x = quantity("x", "request", [1, max(last, 2)], format="d", grid=False, tickMinStep=1)
    y = quantity("y", measure.title, ends, is_log)
    labels = [line.label for line in lines if any(row["line"] == line.label for row in rows)]
    shade, tips = _colour(labels), tooltip("line", ("request", "request"), ("text", measure.title), ("n", "runs"))
    ribbon = {"type": "area", "fillOpacity": 0.15, "interpolate": "linear"}
    references = [row for row in rows if row["line"] in REFERENCES]
    policies = [row for row in rows if row["line"] not in REFERENCES]
    dashed = {"type": "line", "strokeDash": [5, 3], "strokeWidth": 1.5}
    return chart(
        f"{measure.title} over requests",
        [
            layer(
                ribbon,
                bands,
                x=x,
                y=y | {"field": "low"},
                y2={"field": "high"},
                color=shade,
                opacity=faded(opacity=0.9),
            ),
            layer("line", policies, [legend_filter("line")], x=x, y=y, color=shade, opacity=faded()),
            layer(dashed, references, x=x, y=y, color=shade, opacity=faded()),
            layer(
                {"type": "point", "size": 36},
                rows,
                x=x,
                y=y,
                shape=_shape(labels),
                color=shade,
                opacity=faded(),
                tooltip=tips,
            ),
        ],
        220,
    )


def _bands(rows: Sequence[Spec]) -> list[Spec]:
    """Return the rows with a spread over runs; none if there are too many lines."""
    bands = [row for row in rows if row["low"] < row["high"]]
    return bands if len({row["line"] for row in bands}) <= MOST_BANDS else []


def _rows(line: StreamLine, measure: StreamMeasure) -> list[dict[str, Any]]:
    rows = []
    for step in range(len(line.entries)):
        spread = line.spread(measure, step)
        if spread is not None:
            low, high = measure.limits
            deviation = spread.std or 0.0
            ends = (spread.mean - deviation, spread.mean + deviation)
            low_end, high_end = (clip(end, -1e9 if low is None else low, 1e9 if high is None else high) for end in ends)
            point: Spec = {"x": step + 1, "y": spread.mean, "low": low_end, "high": high_end}
            texts = {"request": str(step + 1), "text": format_spread(spread), "n": str(spread.n)}
            rows.append({"line": line.label} | point | texts)
    return rows


def _colour(labels: Sequence[str]) -> Spec:
    policies = [label for label in labels if label not in REFERENCES]
    colours = [colour(label if label in REFERENCES else f"s{policies.index(label) % STRATEGIES}") for label in labels]
    return _by_line(labels, colours)


def _shape(labels: Sequence[str]) -> Spec:
    policies = [label for label in labels if label not in REFERENCES]
    shapes = ["stroke" if label in REFERENCES else SHAPES[policies.index(label) % len(SHAPES)] for label in labels]
    return _by_line(labels, shapes)


def _by_line(labels: Sequence[str], values: Sequence[Any]) -> Spec:
    legend = {"title": None, "symbolOpacity": 1, "columns": {"expr": "width < 330 ? 1 : width < 700 ? 2 : 6"}}
    scale = {"domain": list(labels), "range": list(values)}
    return {"field": "line", "type": "nominal", "scale": scale, "legend": legend}
