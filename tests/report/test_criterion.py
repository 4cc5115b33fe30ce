"""Gaps, their intervals and their probabilities, by hand and by SciPy; each rule at its boundary."""

from __future__ import annotations

from math import inf, nextafter, sqrt
from typing import Any

import pytest
from scipy import stats
from verdicts import add, report

from unlearn.report.criterion import Criterion, Difference, RetrainedGap, criteria, distance
from unlearn.report.judgement import Forgetting, Utility, judge

SIX = [0.50, 0.504, 0.508, 0.512, 0.516, 0.52]
WIDE = (-0.5, 0.5)


@pytest.mark.parametrize(
    ("interval", "expected"),
    [((0.01, 0.2), True), ((-0.2, -0.01), True), ((0.0, 0.2), False), ((-0.2, 0.0), False), (None, False)],
)
def test_an_interval_that_touches_zero_includes_it(interval: tuple[float, float] | None, expected: bool) -> None:
    assert Difference(0.1, interval).is_nonzero is expected


@pytest.mark.parametrize(("value", "error", "expected"), [(0, 0.0, True), (0, 0.1, False), (0.1, 0.0, False)])
def test_models_agree_on_every_image_if_neither_gap_nor_error_is_left(
    value: float, error: float, expected: bool
) -> None:
    assert Difference(value, WIDE, error).is_exactly_zero is expected
    assert not Difference(0, WIDE).is_exactly_zero  # its error is unknown


def test_the_error_is_that_of_the_interval() -> None:
    assert Difference(0.1, (-0.096, 0.296)).error == pytest.approx(0.1, rel=1e-4)
    assert Difference(0.1, None).error == inf


def test_the_interval_adds_images_and_models_in_squares() -> None:
    gap = RetrainedGap(Difference(0.1, (0.07, 0.12)), 4, 0.02)
    for models, asked in ((4, None), (9, 9)):
        half = stats.t.ppf(0.975, models - 1) * 0.02 / sqrt(models)
        assert gap.interval(asked) == pytest.approx((0.1 - sqrt(0.03**2 + half**2), 0.1 + sqrt(0.02**2 + half**2)))
    assert RetrainedGap(Difference(-0.99, (-1.0, -0.9)), 2, 0.1).interval() == (
        -1.0,
        pytest.approx(-0.99 + 0.9029, 1e-2),
    )


@pytest.mark.parametrize(
    "gap",
    [
        RetrainedGap(Difference(0.1, (0.07, 0.12)), 1, None),
        RetrainedGap(Difference(0.1, None), 4, 0.02),
        RetrainedGap(Difference(0.1, (0.07, 0.12)), 1, 0.02),
    ],
)
def test_what_is_unknown_has_no_interval(gap: RetrainedGap) -> None:
    assert gap.interval() is None


def test_two_models_have_an_interval() -> None:
    assert RetrainedGap(Difference(0.1, (0.07, 0.12)), 2, 0.02).interval() is not None


@pytest.mark.parametrize(
    ("value", "interval", "error"),
    [(0.1, (0.04, 0.11), 0.06), (-0.1, (-0.11, -0.04), 0.06), (0.1, (0.09, 0.4), 0.01)],
)
def test_a_gap_is_as_probable_as_the_images_say_at_the_end_nearer_to_zero(
    value: float, interval: tuple[float, float], error: float
) -> None:
    found = RetrainedGap(Difference(value, interval), 4, 1e-9).p_value
    by_images = 2 * stats.norm.sf(0.1 / (error / stats.norm.ppf(0.975)))
    by_models = 2 * stats.t.sf(0.1 / (1e-9 * sqrt(1.25)), 3)
    assert found == pytest.approx(max(by_images, by_models), rel=1e-6)


def test_a_gap_is_as_probable_as_the_models_say_if_the_images_say_less() -> None:
    gap = RetrainedGap(Difference(0.1, (0.0999, 0.1001)), 4, 0.03)
    assert gap.p_value == gap.p_among(4) == pytest.approx(2 * stats.t.sf(0.1 / (0.03 * sqrt(1.25)), 3))
    assert gap.one_more == pytest.approx(stats.t.ppf(0.975, 3) * 0.03 * sqrt(1.25))


def test_nothing_is_improbable_of_what_is_unknown() -> None:
    assert RetrainedGap(Difference(0.1, WIDE), 1, None).p_value == 1
    assert RetrainedGap(Difference(0.1, None), 4, 0.01).p_value == 1
    assert RetrainedGap(Difference(0.1, WIDE), 1, None).one_more is None


def criterion(gap: float, untouched: float, **changes: Any) -> Criterion:
    """Six retrained models at 0.5, with a deviation of 0.01 and errors of 0.01 by images."""
    parts = {name: Difference(value, (value - 0.02, value + 0.02)) for name, value in (("g", gap), ("u", untouched))}
    settings = {"deviation": 0.01, "change": Difference(gap - untouched, (-0.02, 0.02))} | changes
    gaps = (RetrainedGap(parts[name], 6, settings["deviation"]) for name in "gu")
    return Criterion("forget_accuracy", 0.5 + untouched, 0.5, 0.5 + gap, *gaps, settings["change"], 1000)


@pytest.mark.parametrize(
    ("gap", "untouched", "expected"),
    [
        (0.1, 0.4, True),
        (-0.1, 0.4, False),
        (-0.1, -0.4, True),
        (0.1, -0.4, False),
        (0.1, -0.001, True),
        (0.0, 0.4, False),
    ],
)
def test_a_gap_points_to_the_original_or_upwards_where_that_looks_retrained(
    gap: float, untouched: float, expected: bool
) -> None:
    assert criterion(gap, untouched).is_on_the_original_side is expected


def test_progress_is_the_part_of_the_way_from_the_original() -> None:
    assert criterion(0.1, 0.4).progress == pytest.approx(0.75)
    assert criterion(0.4, 0.4).progress == 0
    assert criterion(0.1, 0.0).progress == 1


def test_progress_has_an_interval_if_all_its_parts_have_one() -> None:
    low, high = criterion(0.1, 0.4).progress_interval or (0, 0)
    assert low < 0.75 < high
    assert criterion(0.1, 0.4, deviation=None).progress_interval is None
    assert criterion(0.1, 0.4, change=None).progress_interval is None
    assert criterion(0.1, 0.4, change=Difference(-0.3, None)).progress_interval is None
    assert criterion(0.1, 0.001).progress_interval is None  # the way may be none


def test_equivalence_includes_both_ends_of_the_tolerance() -> None:
    for unlearned in (0.505, 0.515):  # nearer to the lower end, and to the upper one
        found = report(0.9, SIX, unlearned)
        low, high = criteria(found, ["forget_accuracy"])[0].gap.interval() or (0, 0)
        end = max(-low, high)
        words = [
            judge(found | {"config": {"report": {"tolerance": tolerance}}}).forgetting
            for tolerance in (end, nextafter(end, 0))
        ]
        assert words == [Forgetting.FORGOTTEN, Forgetting.INCONCLUSIVE]


def test_kept_includes_the_end_of_the_tolerance() -> None:
    found = add(report(0.9, SIX, 0.51), 0.95, [0.945, 0.95, 0.955], 0.93, "test_accuracy", 0.03)
    low, _ = judge(found).retentions[0].gap.interval() or (0, 0)
    words = [
        judge(found | {"config": {"report": {"tolerance": tolerance}}}).utility
        for tolerance in (-low, nextafter(-low, 0))
    ]
    assert words == [Utility.KEPT, Utility.INCONCLUSIVE]


def test_the_distance_to_retrained_models_is_the_mean_over_them() -> None:
    found = report(0.9, [0.4, 0.6], 0.5)
    assert distance(found, "unlearned", "forget_accuracy") == pytest.approx(0.1)
    assert distance(found, "original", "forget_accuracy") == pytest.approx(0.4)


def test_a_criterion_is_what_all_three_models_have() -> None:
    found = report(0.9, SIX, 0.6)
    (known,) = criteria(found, ["forget_accuracy", "mia_logistic_auc"])
    assert (known.metric, known.original, known.unlearned, known.n) == ("forget_accuracy", 0.9, 0.6, 1000)
    assert known.retrained == pytest.approx(0.51)
    assert known.gap.models == 6
    assert known.gap.deviation == pytest.approx(stats.tstd(SIX))
    assert criteria(report(0.9, [0.5, 0.5], 0.6), ["forget_accuracy"])[0].gap.deviation == 1 / 1000
    assert criteria(report(0.9, [0.5], 0.6), ["forget_accuracy"])[0].gap.deviation is None
