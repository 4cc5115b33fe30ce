"""How sure the three models are of the true class, subset by subset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from unlearn.report.charts.accuracies import SUBSETS
from unlearn.report.charts.theme import (
    ROLES,
    Spec,
    chart,
    faded,
    layer,
    legend_filter,
    quantity,
    role_colour,
    tooltip,
)


def confidence_charts(report: dict[str, Any]) -> Iterator[tuple[str, Spec]]:
    """Subset and histogram: fractions of images by the probability that a model gives to their true class.

    Heights are square roots of the fractions, so that few images stay visible.
    """
    for subset in SUBSETS:
        counts = {role: report["confidence"].get(role, {}).get(subset) for role in ROLES}
        rows = [row for role, bins in counts.items() if bins for row in _bins(role, bins)]
        if rows:
            yield subset, _histogram(subset, rows)


def _histogram(subset: str, rows: list[Spec]) -> Spec:
    scale = {"type": "sqrt", "domain": [0, 1], "nice": False}
    y = {
        "field": "fraction",
        "type": "quantitative",
        "stack": None,
        "scale": scale,
        "title": "fraction of images",
        "axis": {"values": [0.01, 0.1, 0.25, 0.5, 1], "format": "~%"},
    }
    x = quantity("low", "probability of the true class", (0, 1))
    tips = tooltip(("role", "model"), ("bin", "probability"), ("text", "images"))
    bars = {"type": "bar", "opacity": 0, "tooltip": True}
    return chart(
        f"Confidence in the true class on {subset}",
        [
            layer(
                {"type": "line", "interpolate": "step-after"},
                [*rows, *({**row, "low": 1.0} for row in rows if row["last"])],
                [legend_filter("role")],
                x=x,
                y=y,
                color=role_colour(),
                opacity=faded(),
            ),
            layer(bars, rows, x=x, x2={"field": "high"}, y=y, detail={"field": "role"}, tooltip=tips),
        ],
        200,
    )


def _bins(role: str, counts: list[int]) -> Iterator[Spec]:
    total = sum(counts) or 1
    for number, count in enumerate(counts):
        low, high = number / len(counts), (number + 1) / len(counts)
        text = f"{count:,} of {sum(counts):,} ({count / total:.1%})"
        row = {"role": role, "low": low, "high": high, "fraction": count / total, "text": text}
        yield row | {"bin": f"{low:g} to {high:g}", "last": number == len(counts) - 1}
