"""Accuracy of the three models, subset by subset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from unlearn.report.charts.theme import ROLES, Spec, chart, clip, colour, layer, quantity, role_colour, tooltip
from unlearn.report.retained import NAMES, RETAINED, renamed
from unlearn.report.table import cell, measured

SUBSETS = ("forget", "retain", "test")


def accuracy_chart(report: dict[str, Any]) -> Spec | None:
    """Bars from 0 to 1 with the standard deviation over retrained models; None if no accuracy was measured."""
    rows = list(_rows(report))
    if not rows:
        return None
    subsets = list(dict.fromkeys(row["subset"] for row in rows))
    place = {
        "y": {"field": "subset", "type": "nominal", "title": None, "sort": subsets},
        "yOffset": {"field": "role", "type": "nominal", "sort": list(ROLES)},
    }
    tips = tooltip("subset", ("role", "model"), ("text", "accuracy"), "n")
    ends = {"x": quantity("low", None, (0, 1)), "x2": {"field": "high"}}
    label = {"type": "text", "align": "right", "dx": -6, "fontSize": 11, "color": colour("paper")}
    wide = [row for row in rows if row["value"] > 0.2]
    bar = {"type": "bar", "cornerRadiusEnd": 2}
    return chart(
        "Accuracy of the three models",
        [
            layer(bar, rows, **place, x=quantity("value", "accuracy", (0, 1)), color=role_colour(), tooltip=tips),
            layer("rule", [row for row in rows if row["low"] < row["high"]], **place, **ends, tooltip=tips),
            layer(label, wide, **place, x=quantity("low", None, (0, 1)), text={"field": "text"}),
        ],
        66 * len(subsets),
    )


def _rows(report: dict[str, Any]) -> Iterator[Spec]:
    names = {f"{subset}_accuracy": subset for subset in SUBSETS}
    names = renamed(names, measured(report)) | {RETAINED["test_accuracy"]: NAMES[RETAINED["test_accuracy"]]}
    for metric, subset in names.items():
        for role in ROLES:
            value = report["metrics"].get(f"{role}/{metric}")
            if value is not None:
                entry = report["statistics"][f"{role}/{metric}"]
                low, high = (clip(value + sign * (entry["std"] or 0.0)) for sign in (-1, 1))
                text = cell(report, role, metric)
                row = {"subset": subset, "role": role, "value": value, "low": low, "high": high, "text": text}
                yield row | {"n": f"{entry['n']:,} images" if entry.get("n") else ""}
