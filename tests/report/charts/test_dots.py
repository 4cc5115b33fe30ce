"""Dots on a scale, read back from the drawing."""

from __future__ import annotations

from xml.etree.ElementTree import Element, fromstring

import pytest

from unlearn.report.charts.dots import Dot, dots

ROWS = (
    Dot("original", 1.0, (0.9, 1.1), "1.000", "original"),
    Dot("retrained", 0.4, None, "0.400", "retrained"),
    Dot("unlearned", 0.7, (0.6, 0.8), "0.700", "unlearned"),
)


def parts(chart: Element, style: str) -> list[Element]:
    return [each for each in chart if each.get("class") == style]


def test_places_are_those_of_the_values() -> None:
    chart = fromstring(dots("three", ROWS, (0.3, 0.5)))
    first, second, third = (float(parts(chart, row.style)[0].get("cx", "")) for row in ROWS)
    assert (third - second) / (first - second) == pytest.approx(0.5, abs=0.001)
    (band,) = parts(chart, "band")
    middle, width = float(band.get("x", "")) + float(band.get("width", "")) / 2, float(band.get("width", "")) - 2
    assert middle == pytest.approx(second, abs=0.01)
    assert width / (first - second) == pytest.approx(0.2 / 0.6, abs=0.001)
    assert len(parts(chart, "whisker")) == 2
    assert chart.get("aria-label") == "three"


def test_alike_values_and_no_band_have_a_place() -> None:
    chart = fromstring(dots("one", [Dot("a", 1.0, None, "1.000", "original")], None))
    assert parts(chart, "band") == []
    (dot,) = parts(chart, "original")
    assert 0 < float(dot.get("cx", "")) < 340
