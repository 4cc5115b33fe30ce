"""Gaps of the unlearned model to retrained models, over the noise floor."""

from __future__ import annotations

from typing import Any

from unlearn.report.charts.theme import Spec, chart, clip, colour, layer, quantity, tooltip
from unlearn.report.table import cell, rows

MIRRORED = {"unlearning_accuracy"}  # its gap is that of forget accuracy with the opposite sign
LARGEST = 1.0  # a larger gap, of a metric without an upper end, is drawn as an arrow at the end of the axis


def gap_chart(report: dict[str, Any]) -> Spec | None:
    """Signed gap and noise floor of every metric of the table; None without a retrained model."""
    gaps = [_row(report, metric, name.strip()) for metric, name, _ in rows(report) if _has_gap(report, metric)]
    if not gaps:
        return None
    reach = max(abs(row[key]) for row in gaps for key in ("shown", "low", "high")) or LARGEST
    ends = (-reach, reach)
    names = [row["metric"] for row in gaps]
    y = {"field": "metric", "type": "nominal", "title": None, "sort": names, "axis": {"grid": True}}
    tips = tooltip("metric", ("gap", "gap to retrained"), ("floor", "noise floor"))
    band = {"type": "bar", "color": colour("retrained"), "opacity": 0.22, "height": {"band": 0.9}}
    return chart(
        "Gap of the unlearned model to retrained models",
        [
            layer(
                band,
                [row for row in gaps if row["floor"]],
                x=quantity("low", None, ends),
                x2={"field": "high"},
                y=y,
                tooltip=tips,
            ),
            layer(
                {"type": "rule", "strokeWidth": 2, "color": colour("unlearned")},
                gaps,
                x=quantity("zero", None, ends),
                x2={"field": "shown"},
                y=y,
            ),
            layer(
                {"type": "point", "size": 70, "color": colour("unlearned")},
                gaps,
                x=quantity("shown", "unlearned minus the mean of retrained models", ends),
                y=y,
                shape={"field": "shape", "type": "nominal", "scale": None, "legend": None},
                tooltip=tips,
            ),
        ],
        24 * len(gaps),
    )


def _has_gap(report: dict[str, Any], metric: str) -> bool:
    return metric not in MIRRORED and report["metrics"].get(f"gap/{metric}") is not None


def _row(report: dict[str, Any], metric: str, name: str) -> Spec:
    value, floor = report["metrics"][f"gap/{metric}"], report["metrics"].get(f"noise_floor/{metric}")
    is_beyond = abs(value) > LARGEST
    half = min(floor or 0.0, LARGEST)
    return {
        "metric": name,
        "shown": clip(value, -LARGEST, LARGEST),
        "shape": ("triangle-right" if value > 0 else "triangle-left") if is_beyond else "circle",
        "zero": 0,
        "low": -half,
        "high": half,
        "gap": cell(report, "gap", metric),
        "floor": "" if floor is None else f"{floor:.3f}",
    }
