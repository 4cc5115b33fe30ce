"""Charts with two axes: what is drawn stands where the numbers say, read back from the SVG."""

from __future__ import annotations

import re
from math import isfinite
from xml.etree.ElementTree import Element, fromstring

import pytest

from unlearn.report.charts import plane
from unlearn.report.charts.axis import Axis
from unlearn.report.charts.plane import Field, Level, Line, Point, Rung

UNIT = Axis("a", 0.0, 1.0)


def of(chart: str, style: str) -> list[Element]:
    return [element for element in fromstring(chart).iter() if style in (element.get("class") or "").split()]


def start(element: Element) -> tuple[float, float]:
    """Where its path begins."""
    x, y = re.findall(r"-?[\d.]+", element.get("d", ""))[:2]
    return float(x), float(y)


def test_decades_are_logarithmic_and_zero_is_not() -> None:
    log, linear = Axis.over("k", [0.001, 0.01, 0.1]), Axis.over("k", [0.0, 0.01, 0.1])
    assert (log.log, linear.log) == (True, False)
    assert log.at(0.01) == pytest.approx(0.5)
    assert log.at(0.1) - log.at(0.01) == pytest.approx(log.at(0.01) - log.at(0.001))
    assert log.at(0.0) == 0.0
    assert {0.001, 0.01, 0.1} <= {round(tick, 9) for tick in log.ticks()}
    assert linear.ticks() == pytest.approx([0.0, 0.05, 0.1])


@pytest.mark.parametrize("values", [[], [0.5], [0.0], [-1.0, 1.0], [0.97, 0.99], [float("nan"), 2.0]])
def test_any_values_have_an_axis(values: list[float]) -> None:
    axis = Axis.over("a", values)
    assert axis.low < axis.high
    assert all(axis.low <= value <= axis.high for value in values if isfinite(value))
    assert axis.ticks()


def test_points_stand_where_their_numbers_are_and_lead_to_their_row() -> None:
    points = [Point(x, 1 - x, f"at {x}", 0, f"row-{x}", front=x > 0) for x in (0.0, 0.5, 1.0)]
    chart = plane.scatter("t", UNIT, UNIT, [*points, Point(0.5, 0.5, "reference", "retrained")], band=0.5)
    marks = [start(mark) for mark in of(chart, "mark")]
    assert marks[1] == pytest.approx([(marks[0][n] + marks[2][n]) / 2 for n in (0, 1)], abs=0.02)
    assert marks[0][1] < marks[2][1]  # 1 is up
    links = [element for element in fromstring(chart).iter() if element.tag == "a"]
    assert [link.get("href") for link in links] == ["#row-0.0", "#row-0.5", "#row-1.0"]
    assert [link.get("data-told") for link in links] == [point.label for point in points]
    (band,), (front,) = of(chart, "band"), of(chart, "front")
    assert float(band.get("x", "")) + float(band.get("width", "")) == pytest.approx(marks[1][0] + 4.5, abs=0.02)
    assert start(front)[0] == pytest.approx(marks[1][0] + 4.5, abs=0.02)


def test_bands_span_the_spread() -> None:
    line = Line("a", 1, 2, ((0.0, 0.5, 0.25, "l", "t"), (1.0, 0.5, 0.25, "l", "t")))
    chart = plane.lines("t", UNIT, UNIT, [line], [Level("retrained", 0.5, (0.25, 0.75))])
    (ribbon,), (band,), (drawn,) = of(chart, "ribbon"), of(chart, "band"), of(chart, "d2")
    heights = [float(y) for y in re.findall(r"[\d.]+ ([\d.]+)", ribbon.get("d", ""))]
    top, height = (float(band.get(name, "")) for name in ("y", "height"))
    assert (min(heights), max(heights)) == pytest.approx((top, top + height), abs=0.02)
    assert start(drawn)[1] == pytest.approx(top + height / 2, abs=0.02)
    assert not of(plane.lines("t", UNIT, UNIT, [line], bands=False), "ribbon")


def test_fields_are_the_stronger_the_higher() -> None:
    x, y = Axis("k", 0, 1, marks=(0.1, 0.2)), Axis("s", 0, 1, marks=(1.0, 2.0))
    fields = [Field(n % 2, n // 2, float(n), str(n), "l", "t") for n in range(4)]
    boxes = of(plane.heat("t", x, y, fields, 0.0, 3.0), "field")
    shades = [float(box.get("fill-opacity", "")) for box in boxes]
    assert shades == sorted(shades)
    assert shades[1] - shades[0] == pytest.approx(shades[3] - shades[2], abs=0.002)
    assert float(boxes[2].get("y", "")) < float(boxes[0].get("y", ""))  # the second row is above


def test_rungs_are_as_long_as_their_values() -> None:
    chart = plane.ladder("t", [Rung("a" * 60, 4.0, 1.0, "4", 0, "x"), Rung("b", 1.0, 0.0, "1", 1, "y")], 1.0)
    long, short = (float(of(chart, style)[0].get("width", "")) for style in ("s0", "s1"))
    assert long == pytest.approx(4 * short, abs=0.02)
    assert start(of(chart, "level")[0])[0] == pytest.approx(short, abs=0.02)


def test_one_long_rung_does_not_flatten_the_others() -> None:
    """Over a decade and more equal ratios are equal lengths."""
    rungs = [Rung(str(value), value, 0.0, "", number, "x") for number, value in enumerate((1.0, 10.0, 100.0))]
    widths = [float(of(plane.ladder("t", rungs, 1.0), f"s{n}")[0].get("width", "")) for n in range(3)]
    assert widths[1] - widths[0] == pytest.approx(widths[2] - widths[1], abs=0.02)
    assert widths[0] > 0


def test_no_two_strategies_look_alike() -> None:
    assert len({plane.swatch(number) for number in range(36)}) == 36
