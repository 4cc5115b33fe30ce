"""ROC curves of attacks on logarithmic axes: what counts is how many are found at few mistakes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from unlearn.report.attacks import ATTACK
from unlearn.report.charts.theme import (
    ZOOM,
    Spec,
    chart,
    colour,
    faded,
    layer,
    legend_filter,
    quantity,
    role_colour,
    tooltip,
)
from unlearn.report.ranked import READABLE
from unlearn.report.table import ROWS, cell

Report = dict[str, Any]


@dataclass(frozen=True)
class Roc:
    """The curves of one attack.

    Args:
        name: the attack, as the table calls it.
        areas: AUC by role, as text.
        members: number of members; `non_members` likewise.
        chart: the curves.
    """

    name: str
    areas: dict[str, str]
    members: int
    non_members: int
    chart: Spec

    @property
    def readable(self) -> float:
        """The false positive rate below which fewer than `READABLE` non-members decide."""
        return min(READABLE / self.non_members, 1.0)


def roc_charts(report: Report) -> Iterator[Roc]:
    """Every attack that ranks samples; nothing for a report of a version that kept no curves."""
    for name, curves in report.get("curves", {}).items():
        title = _title(name)
        roles = dict.fromkeys(model["role"] for model in curves["models"])
        areas = {role: cell(report, role, f"{name}_auc") for role in roles}
        yield Roc(title, areas, curves["members"], curves["non_members"], roc_chart(f"ROC curves, {title}", curves))


def _title(name: str) -> str:
    """As the table calls it; the attack by loss has no name of its own there."""
    if f"{name}_auc" == ATTACK:
        return "by loss"
    return ROWS.get(f"{name}_auc", f"by {name.removeprefix('mia_').replace('_', ' ')}").strip()


def roc_chart(title: str, curves: Mapping[str, Any]) -> Spec:
    """True over false positive rates, with the diagonal of a guess.

    Where fewer than `READABLE` non-members decide, the background is shaded. Rates of 0 are drawn at the lower edge.
    """
    low = 0.7 / max(curves["members"], curves["non_members"])
    x = quantity("fpr", "non-members mistaken for members", (low, 1), is_log=True)
    y = quantity("tpr", "members found", (low, 1), is_log=True)
    points = [
        {"model": f"{model['role']}, seed {model['seed']}" if "seed" in model else model["role"], "role": model["role"]}
        | {"fpr": max(fpr, low), "tpr": max(tpr, low), "found": f"{tpr:.2%}", "mistaken": f"{fpr:.2%}"}
        for model in curves["models"]
        for fpr, tpr in zip(curves["fpr"], model["tpr"], strict=True)
    ]
    shaded = [{"fpr": low, "end": min(READABLE / curves["non_members"], 1.0)}]
    guess = [{"fpr": end, "tpr": end} for end in (low, 1.0)]
    tips = tooltip("model", ("found", "members found"), ("mistaken", "non-members mistaken"))
    lines = {"x": x, "y": y, "color": role_colour(), "detail": {"field": "model"}, "opacity": faded()}
    return chart(
        title,
        [
            layer({"type": "rect", "color": colour("rule"), "opacity": 0.7}, shaded, x=x, x2={"field": "end"}),
            layer({"type": "line", "strokeDash": [4, 4], "strokeWidth": 1, "color": colour("soft")}, guess, x=x, y=y),
            layer("line", points, [legend_filter("role"), ZOOM], **lines),
            layer({"type": "point", "size": 60, "opacity": 0}, points, x=x, y=y, tooltip=tips),
        ],
        280,
    )
