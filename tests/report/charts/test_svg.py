"""Charts: what is drawn is proportional to what was measured, read back from the SVG."""

from __future__ import annotations

from math import sqrt
from xml.etree.ElementTree import Element, fromstring

import pytest

from unlearn.report.charts import svg
from unlearn.report.charts.svg import Bar, Gap, Histogram


def of(chart: str, style: str) -> list[Element]:
    return [element for element in fromstring(chart).iter() if element.get("class") == style]


def numbers(element: Element, *names: str) -> list[float]:
    return [float(element.get(name, "nan")) for name in names]


def texts(chart: str, style: str) -> list[str | None]:
    return [element.text for element in of(chart, style)]


def test_bars_are_as_long_as_their_values() -> None:
    chart = svg.bars(
        "t", [Bar("a", 1.0, "1.000", "one"), Bar("b", 0.25, "0.250", "two"), Bar("c", None, "–", "three")], 1
    )
    ((x, whole),) = [numbers(bar, "x", "width") for bar in of(chart, "one")]
    ((start, quarter),) = [numbers(bar, "x", "width") for bar in of(chart, "two")]
    assert start == x
    assert quarter == pytest.approx(whole / 4, abs=0.01)
    assert not of(chart, "three")
    assert texts(chart, "label") == ["a", "b", "c"]
    assert texts(chart, "number") == ["1.000", "0.250", "–"]


def test_charts_side_by_side_have_one_scale() -> None:
    short, long = "1.000", "0.426 ± 0.121"
    widths = [
        of(svg.bars("t", [Bar("a", 1.0, text, "one")], 1, len(long)), "one")[0].get("width") for text in (short, long)
    ]
    assert widths[0] == widths[1]


def test_a_whisker_spans_the_spread_and_stays_inside() -> None:
    chart = svg.bars("t", [Bar("a", 0.5, "0.5", "one", 0.1), Bar("b", 0.99, "1.0", "two", 0.1)], 1)
    x, width = numbers(of(chart, "one")[0], "x", "width")
    inner, outer = (path.get("d", "") for path in of(chart, "whisker"))
    assert float(inner[1:].split()[0]) == pytest.approx(x + width * 0.8, abs=0.02)
    assert float(inner.split("H")[1].split("m")[0]) == pytest.approx(x + width * 1.2, abs=0.02)
    assert float(outer.split("H")[1].split("m")[0]) == pytest.approx(x + 2 * width, abs=0.02)


def test_nothing_took_any_time() -> None:
    assert numbers(of(svg.bars("t", [Bar("a", 0.0, "0.0 s", "one")], 0.0), "one")[0], "width") == [0]


def test_gaps_are_signed_around_the_band() -> None:
    chart = svg.gaps("t", [Gap("a", 0.2, 0.1, "0.2"), Gap("b", -0.4, None, "-0.4"), Gap("c", None, None, "–")])
    ((zero,),) = [numbers(line, "x1") for line in of(chart, "axis")]
    (left, width), (left_of_zero, twice) = (numbers(bar, "x", "width") for bar in of(chart, "unlearned"))
    assert left == zero
    assert left_of_zero + twice == pytest.approx(zero, abs=0.02)
    assert twice == pytest.approx(2 * width, abs=0.02)
    ((band, both),) = [numbers(bar, "x", "width") for bar in of(chart, "band")]
    assert band + both / 2 == pytest.approx(zero, abs=0.02)
    assert both == pytest.approx(width, abs=0.02)  # 0.1 to either side
    assert texts(chart, "tick") == ["-0.4", "0", "+0.4"]


def test_a_gap_beyond_the_axis_ends_in_an_arrow() -> None:
    chart = svg.gaps("t", [Gap("a", 7.0, 0.1, "7"), Gap("b", 0.5, 9.0, "0.5")])
    assert texts(chart, "tick") == ["-1", "0", "+1"]
    assert [element.tag for element in of(chart, "unlearned")] == ["rect", "path", "rect"]
    assert all(
        sum(numbers(bar, "x", "width")) < svg.WIDTH for bar in [*of(chart, "unlearned")[::2], *of(chart, "band")]
    )


@pytest.mark.parametrize("value", [0.0, None])
def test_gaps_of_nothing_have_an_axis(value: float | None) -> None:
    assert texts(svg.gaps("t", [Gap("a", value, value, "x")]), "tick") == ["-1", "0", "+1"]


def test_histograms_grow_with_the_root_of_the_share() -> None:
    chart = svg.histograms("t", [Histogram("a", [0, 4, 0, 96], "one", [50, 0, 0, 50])])
    few, many = (numbers(bar, "height")[0] for bar in of(chart, "one"))
    assert many / few == pytest.approx(sqrt(96 / 4), rel=0.01)
    (outline,) = of(chart, "reference")
    assert outline.get("d", "").count("h") == 4
    full = svg.histograms("t", [Histogram("a", [0, 7], "one")])
    (line, *_) = [element for element in of(full, "grid") if element.get("y1") == of(full, "one")[0].get("y")]
    assert line is not None  # all in one bin reach the line of 100 %


def test_an_empty_histogram_is_drawn() -> None:
    assert not of(svg.histograms("t", [Histogram("a", [0, 0], "one")]), "one")


HOSTILE = '<script>alert("x")</script>&'


@pytest.mark.parametrize(
    "chart",
    [
        svg.bars(HOSTILE, [Bar(HOSTILE, 1.0, HOSTILE, "one")], 1),
        svg.gaps(HOSTILE, [Gap(HOSTILE, 1.0, 1.0, HOSTILE)]),
        svg.histograms(HOSTILE, [Histogram(HOSTILE, [1], "one")]),
    ],
)
def test_text_is_escaped(chart: str) -> None:
    assert "<script" not in chart
    assert fromstring(chart).get("aria-label") == HOSTILE


def test_a_long_label_is_cut_and_whole_in_the_tooltip() -> None:
    name = "retrained_12345678901234567890"
    (label,) = of(svg.bars("t", [Bar(name, 1.0, "1", "one")], 1), "label")
    assert label.text is not None
    assert label.text.endswith("…")
    assert name.startswith(label.text[:-1])
    assert [title.text for title in label] == [name]


def test_a_label_that_fits_is_whole() -> None:
    for length in range(1, 19):
        assert texts(svg.gaps("t", [Gap("m" * length, 0.1, None, "0.1")]), "label") == ["m" * length]
