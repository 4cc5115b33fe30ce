"""Seconds of every stage of a run."""

from __future__ import annotations

from typing import Any

from unlearn.report.charts.theme import Spec, chart, colour, layer, quantity, tooltip

STATUSES = ("built", "reused")


def timing_chart(report: dict[str, Any]) -> Spec:
    """A bar per stage, hollow if its artifact was reused."""
    rows = [
        {"stage": name, "seconds": part["seconds"], "text": f"{part['seconds']:.1f} s", "status": part["status"]}
        for name, part in _with_shadow_models_summed(report["artifacts"]).items()
    ]
    y = {"field": "stage", "type": "nominal", "title": None, "sort": None}
    x = quantity("seconds", "seconds", [0, max((row["seconds"] for row in rows), default=1.0) * 1.35 or 1.0])
    fill = {"domain": list(STATUSES), "range": [colour("soft"), colour("paper")]}
    bar = {"type": "bar", "stroke": colour("soft"), "strokeWidth": 1.5, "cornerRadiusEnd": 2, "height": {"band": 0.6}}
    tips = tooltip("stage", ("text", "time"), "status")
    return chart(
        "Seconds by stage",
        [
            layer(
                bar,
                rows,
                x=x,
                y=y,
                fill={"field": "status", "type": "nominal", "scale": fill, "legend": {"title": None}},
                tooltip=tips,
            ),
            layer({"type": "text", "align": "left", "dx": 6}, rows, x=x, y=y, text={"field": "text"}, tooltip=tips),
        ],
        26 * len(rows),
    )


def _with_shadow_models_summed(parts: dict[str, Any]) -> dict[str, Any]:
    """The stages, with one entry for all shadow models; it is reused if all of them were."""
    shadows = [part for name, part in parts.items() if name.startswith("shadow_")]
    others = {name: part for name, part in parts.items() if not name.startswith("shadow_")}
    if not shadows:
        return others
    status = "reused" if all(part["status"] == "reused" for part in shadows) else "built"
    seconds = sum(part["seconds"] for part in shadows)
    return others | {f"{len(shadows)} shadow models": {"seconds": seconds, "status": status}}
