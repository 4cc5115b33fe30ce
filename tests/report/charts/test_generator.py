"""How the images were moved, as charts: whole, in their frame, and silent about what an old artefact did not keep."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import fromstring

import pytest

from unlearn.report.charts.generator import Line, caption, charts, lines, moved_by
from unlearn.report.charts.svg import WIDTH

if TYPE_CHECKING:
    from conftest import Finished

CURVE = [
    {"step": 5 * n, "discriminator_loss": 0.5 - 0.01 * n, "generator_loss": 0.4, "term": -0.2 * n} for n in range(10)
]
LOOKS = {"mean_shift": 0.1, "max_shift": 0.2, "guide_accuracy": 0.5}
TOLD: dict[str, Any] = {"by": "SPD-GAN", "term": "shift", "epsilon": 0.2, "curve": [row | LOOKS for row in CURVE]}


def points(chart: str) -> list[list[tuple[float, float]]]:
    """The corners of every line."""
    paths = re.findall(r'<path class="line line\d" d="M([^"]*)"', chart)
    return [[tuple(map(float, corner.split())) for corner in path.split("L")] for path in paths]  # type: ignore[misc]


def test_every_column_is_drawn_once_and_inside() -> None:
    found = dict(charts(TOLD))
    assert [len(points(chart)) for chart in found.values()] == [2, 1, 1, 2]
    for chart in found.values():
        _, _, width, height = map(float, fromstring(chart).attrib["viewBox"].split())
        assert all(0 <= x <= width and 0 <= y <= height for line in points(chart) for x, y in line)


def test_an_artefact_of_an_earlier_version_shows_what_it_kept() -> None:
    assert list(dict(charts(TOLD | {"curve": CURVE}))) == ["losses", "term that moves the images away"]
    assert list(charts(TOLD | {"curve": []})) == []  # random noise


def test_lines_by_hand() -> None:
    chart = lines("t", [0, 10], [Line("a", [1.0, 0.0], "line0"), Line("b", [0.5, 2.0], "line1")], (0.0, 1.0))
    (a, b) = points(chart)
    right = WIDTH - 6.7 - 8
    assert a == [(44, 10), (pytest.approx(right, abs=0.1), 120)]
    assert b == [(44, 65), (pytest.approx(right, abs=0.1), 10)]  # cut at the top


def test_names_do_not_cover_each_other() -> None:
    chart = lines("t", [0, 1], [Line(name, [0.0, 0.5], "line0") for name in "abc"], (0.0, 1.0))
    heights = sorted(float(each.attrib["y"]) for each in fromstring(chart).iter("text") if each.text in set("abc"))
    assert heights == [65, 78, 91]


def test_the_report_holds_the_curve_and_the_page_draws_it(finished: Finished) -> None:
    told = moved_by(finished.outcome)["spd_gan"]
    stage = finished.outcome.plan.spd_gan
    assert stage is not None
    assert told["curve"] == stage.curve(finished.context)
    assert len(told["curve"]) == 10
    assert set(LOOKS) < set(told["curve"][0])
    assert told["curve"][0]["max_shift"] == 0  # the generator starts as the identity
    assert 0 < told["curve"][-1]["mean_shift"] <= told["curve"][-1]["max_shift"] <= told["epsilon"] + 1e-6
    assert caption(told) == "SPD-GAN, term shift, ε = 0.2"
