"""ROC curves of attacks as charts, both axes logarithmic: what counts is how many are found at few mistakes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

from unlearn.report.attacks import ATTACK
from unlearn.report.charts.axis import Axis
from unlearn.report.charts.plane import BOTTOM, HEIGHT, TOP, at_x, at_y, frame
from unlearn.report.charts.svg import drawing, element
from unlearn.report.ranked import READABLE
from unlearn.report.table import ROWS, cell

Report = dict[str, Any]
MODELS = ("retrained", "original", "unlearned")  # the last is drawn on top


@dataclass(frozen=True)
class Roc:
    """One attack's curves, and what is to be known of them."""

    name: str
    areas: dict[str, str]  # AUC by role
    members: int
    non_members: int
    chart: str

    @property
    def readable(self) -> float:
        """The rate of mistakes below which fewer than `READABLE` non-members decide."""
        return min(READABLE / self.non_members, 1.0)


def rocs(report: Report) -> Iterator[Roc]:
    """Every attack that ranks; none of a report from before curves were kept."""
    for name, curves in report.get("curves", {}).items():
        title = _title(name)
        roles = dict.fromkeys(model["role"] for model in curves["models"])
        areas = {role: cell(report, role, f"{name}_auc") for role in roles}
        yield Roc(title, areas, curves["members"], curves["non_members"], roc(f"ROC curves of {title}", curves))


def _title(name: str) -> str:
    """As the table calls it below the attack by loss, or after the attack's own name."""
    if f"{name}_auc" == ATTACK:
        return "by loss"
    return ROWS.get(f"{name}_auc", f"by {name.removeprefix('mia_').replace('_', ' ')}").strip()


def roc(title: str, curves: Mapping[str, Any]) -> str:
    """Shares of members found over shares of non-members mistaken; the diagonal is a guess. -> an SVG

    What fewer than `READABLE` mistakes decide is shaded. A share of 0 is drawn at the lower edge.
    """
    low = 0.7 / max(curves["members"], curves["non_members"])
    x, y = Axis("non-members mistaken", low, 1.0, True), Axis("members found", low, 1.0, True)
    drawn = [*_unread(x, y, READABLE / curves["non_members"]), *frame(x, y)]
    corners = [(at_x(x, end), at_y(y, end)) for end in (low, 1.0)]
    drawn.append(_path(corners, "guess"))
    for role in MODELS:
        for model in curves["models"]:
            if model["role"] == role:
                points = zip(curves["fpr"], model["tpr"], strict=True)
                drawn.append(_path([(at_x(x, fpr), at_y(y, tpr)) for fpr, tpr in points], f"roc {role}"))
    return drawing(title, HEIGHT, *drawn)


def _unread(x: Axis, y: Axis, until: float) -> list[Element]:
    left, right = at_x(x, x.low), at_x(x, until)
    return [element("rect", style="unread", x=left, y=TOP, width=right - left, height=HEIGHT - TOP - BOTTOM)]


def _path(points: Sequence[tuple[float, float]], style: str) -> Element:
    return element("path", style=style, d="M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points))
