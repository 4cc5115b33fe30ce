"""The verdict's claims are true as often as they say, by simulation: retrained models drawn from one distribution."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from verdicts import Report, add, report

from unlearn.functional.estimates import LEVEL, adjust_by_holm, t_quantile, two_sided_p_value
from unlearn.report.criterion import Difference, RetrainedGap, criteria
from unlearn.report.deciding import propose
from unlearn.report.judgement import TOLERANCE, Forgetting, Utility, find_reduced, judge

Floats = npt.NDArray[np.float64]
METRICS = ("forget_accuracy", "mia_logistic_auc", "mia_lira_auc", "mia_rmia_auc", "mia_u_lira_auc", "mia_entropy_auc")
FALSE = {Forgetting.NOT_FORGOTTEN, Forgetting.OVER_FORGOTTEN, Forgetting.CONTRADICTORY}  # of a perfect retraining
MEAN, ORIGINAL = 0.5, 0.9
RUNS = 300
ERROR = 2.6 * (LEVEL * (1 - LEVEL) / RUNS) ** 0.5  # of a simulated rate of 5 %


def draws(generator: np.random.Generator, models: int, criteria: int, correlation: float, deviation: float) -> Floats:
    """Values [models, criteria] of models that are retrained with other seeds."""
    shared, own = generator.normal(size=(models, 1)), generator.normal(size=(models, criteria))
    return MEAN + deviation * (np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own)


def word(unlearned: Floats, retrained: Floats, half: float = 1e-3) -> Forgetting:
    """The verdict on one value per criterion, given `retrained` [models, criteria]."""
    return judge(made(unlearned, retrained, half)).forgetting


def made(unlearned: Floats, retrained: Floats, half: float = 1e-3) -> Report:
    found = report(None, retrained[:, 0].tolist(), None)
    for metric, value, values in zip(METRICS, unlearned, retrained.T, strict=False):
        add(found, ORIGINAL, values.tolist(), float(value), metric, half)
    return found


@pytest.mark.parametrize(("count", "correlation", "models"), list(product((1, 3, 6), (0.0, 0.8), (2, 3, 10))))
def test_a_perfect_retraining_is_rarely_called_different(count: int, correlation: float, models: int) -> None:
    """At most 5 %, however many criteria there are. The images say nothing here, which is the worst case."""
    generator = np.random.default_rng(count + models)
    drawn = [draws(generator, models + 1, count, correlation, 0.02) for _ in range(RUNS)]
    words = Counter(word(values[0], values[1:]) for values in drawn)
    assert sum(words[false] for false in FALSE) / RUNS <= LEVEL + ERROR


@pytest.mark.parametrize(("models", "deviation"), list(product((2, 3, 5, 10), (0.01, 0.02))))
def test_a_model_two_deviations_off_is_rarely_called_forgotten(models: int, deviation: float) -> None:
    """Two deviations are the tolerance, or twice as much."""
    generator = np.random.default_rng(models)
    off = np.full(2, MEAN + 2 * deviation)
    words = Counter(word(off, draws(generator, models, 2, 0.0, deviation)) for _ in range(RUNS))
    assert words[Forgetting.FORGOTTEN] / RUNS <= LEVEL + ERROR


def test_a_perfect_retraining_is_called_forgotten_if_ten_models_allow_it() -> None:
    generator = np.random.default_rng(0)
    drawn = [draws(generator, 11, 2, 0.0, TOLERANCE / 3) for _ in range(RUNS)]
    words = Counter(word(values[0], values[1:], half=2e-3) for values in drawn)
    assert words[Forgetting.FORGOTTEN] / RUNS >= 0.8


def test_as_many_models_as_proposed_decide() -> None:
    """Three models leave most perfect retrainings open; retraining as many as proposed decides most of them."""
    generator = np.random.default_rng(1)
    decided, followed = 0, 0
    for _ in range(RUNS):
        values = draws(generator, 31, 2, 0.0, TOLERANCE / 3)
        if word(values[0], values[1:4]) is not Forgetting.INCONCLUSIVE:
            continue
        models = propose(criteria(made(values[0], values[1:4]), METRICS), TOLERANCE).models
        if models is not None:
            followed += 1
            decided += word(values[0], values[1 : models + 1]) is not Forgetting.INCONCLUSIVE
    assert followed > RUNS / 3
    assert decided / followed >= 0.8


@pytest.mark.parametrize("half", [1e-4, 0.02])
@pytest.mark.parametrize("models", [2, 3, 10])
def test_the_interval_of_a_gap_covers_it(models: int, half: float) -> None:
    """Both sources of error at once: the images shift the gap, the models differ."""
    generator, hits = np.random.default_rng(models), 0
    for _ in range(2 * RUNS):
        value = 0.1 + generator.normal(0, half / 1.96) + generator.normal(0, 0.01, models).mean()
        deviation = generator.normal(0, 0.01, models).std(ddof=1)
        low, high = RetrainedGap(
            Difference(value, (value - half, value + half)), models, float(deviation)
        ).interval() or (0, 0)
        hits += low <= 0.1 <= high
    assert hits / (2 * RUNS) >= 0.93


@pytest.mark.parametrize("models", [3, 10])
def test_the_interval_of_progress_covers_it(models: int) -> None:
    """60 % of the way: original 0.9, retrained 0.5, unlearned 0.66, all three measured with an error by images."""
    generator, hits, error = np.random.default_rng(models), 0, 0.01
    half = 1.96 * error * 2**0.5  # of a difference
    for _ in range(2 * RUNS):
        shared = generator.normal(0, error)  # the retrained models' error is one, on the same images
        retrained = generator.normal(0.5, 0.02, models) + shared
        original, unlearned = generator.normal((0.9, 0.66), error)
        found = add(report(None, retrained.tolist(), None), original, retrained.tolist(), unlearned, METRICS[0], half)
        low, high = criteria(found, METRICS[:1])[0].progress_interval or (0, 0)
        hits += low <= 0.6 <= high
    assert hits / (2 * RUNS) >= 0.93


def test_distributions_and_corrections_are_those_of_scipy_and_statsmodels() -> None:
    values = [0.01, 0.04, 0.03, 0.005, 0.9]
    assert adjust_by_holm(values) == pytest.approx(multipletests(values, method="holm")[1])
    assert t_quantile(4) == pytest.approx(stats.t.ppf(0.975, 4))
    assert two_sided_p_value(-2.5, 7) == pytest.approx(2 * stats.t.sf(2.5, 7))
    assert two_sided_p_value(1.96, float("inf")) == pytest.approx(2 * stats.norm.sf(1.96))
    assert RetrainedGap(Difference(0.1, (0.0, 0.2)), 5, 0.03).with_cautious_deviation(0.8).deviation == pytest.approx(
        0.03 * (4 / stats.chi2.ppf(0.2, 4)) ** 0.5
    )


SIX = [0.50, 0.504, 0.508, 0.512, 0.516, 0.52]  # 0.51 in the mean, one more within ±0.021


@pytest.mark.parametrize(
    ("unlearned", "expected"),
    [
        (0.51, Forgetting.FORGOTTEN),
        (0.514, Forgetting.FORGOTTEN),
        (0.52, Forgetting.INCONCLUSIVE),  # the interval leaves the tolerance; retrained models come as far
        (0.54, Forgetting.NOT_FORGOTTEN),
        (0.48, Forgetting.OVER_FORGOTTEN),
        (0.9, Forgetting.NOT_FORGOTTEN),
    ],
)
def test_one_criterion(unlearned: float, expected: Forgetting) -> None:
    assert judge(report(0.9, SIX, unlearned)).forgetting is expected


def test_criteria_that_differ_in_both_directions_contradict_each_other() -> None:
    found = add(report(0.9, SIX, 0.6), 0.9, SIX, 0.4, "mia_logistic_auc")
    assert judge(found).forgetting is Forgetting.CONTRADICTORY


def test_an_original_that_looks_retrained_makes_nothing_measurable() -> None:
    assert judge(report(0.515, SIX, 0.51)).forgetting is Forgetting.NOT_MEASURABLE
    assert judge(report(0.515, SIX, 0.7)).forgetting is Forgetting.NOT_FORGOTTEN  # it differs all the same
    assert judge(report(0.515, SIX, 0.3)).forgetting is Forgetting.OVER_FORGOTTEN


def test_one_retrained_model_decides_nothing() -> None:
    assert judge(report(0.9, [0.5], 0.9)).forgetting is Forgetting.INCONCLUSIVE
    assert judge(report(0.9, [0.5], 0.5)).forgetting is Forgetting.INCONCLUSIVE


def test_the_original_side_is_where_the_original_is() -> None:
    """An original below retrained models: less is more of it."""
    assert judge(report(0.2, SIX, 0.3)).forgetting is Forgetting.NOT_FORGOTTEN
    assert judge(report(0.2, SIX, 0.7)).forgetting is Forgetting.OVER_FORGOTTEN


@pytest.mark.parametrize(
    ("test", "half", "expected"),
    [
        (0.95, 0.01, Utility.KEPT),
        (0.99, 0.01, Utility.KEPT),  # better is not worse
        (0.935, 0.02, Utility.INCONCLUSIVE),
        (0.90, 0.01, Utility.REDUCED),
        (0.90, 0.10, Utility.INCONCLUSIVE),
        (0.50, 0.01, Utility.DESTROYED),
        (0.10, 0.01, Utility.DESTROYED),
    ],
)
def test_utility_is_that_of_retrained_models(test: float, half: float, expected: Utility) -> None:
    retrained = [0.945, 0.948, 0.95, 0.952, 0.955]
    found = add(report(0.9, SIX, 0.51), 0.95, retrained, test, "test_accuracy", half)
    judgement = judge(found)
    assert judgement.utility is expected
    destroyed = expected is Utility.DESTROYED
    assert judgement.forgetting is (Forgetting.NOT_JUDGED if destroyed else Forgetting.FORGOTTEN)


def test_a_wreck_is_destroyed_without_any_retrained_model() -> None:
    found = add(report(0.9, [], 0.1), 0.95, [], 0.1, "test_accuracy")
    assert judge(found).utility is Utility.DESTROYED
    assert judge(found).forgetting is Forgetting.NO_BASELINE


def test_a_constant_answer_is_chance_however_frequent_the_class_is() -> None:
    """Six of ten test images are of one class: a net that names it always is destroyed."""
    found = add(report(0.9, SIX, 0.51), 0.95, [0.95, 0.96, 0.94], 0.6, "test_accuracy")
    assert judge(found | {"chance": 0.6}).utility is Utility.DESTROYED


@pytest.mark.parametrize(("reference", "unlearned"), [(0.089, 0.083), (0.11, 0.05), (0.4, 0.15)])
def test_who_has_nothing_to_lose_is_not_destroyed(reference: float, unlearned: float) -> None:
    """A reference at chance (0.1), and a loss that twelve images more or less would explain."""
    found = add(report(0.9, SIX, 0.51), reference, [reference] * 3, unlearned, "test_accuracy", half=0.3)
    assert judge(found).utility is Utility.INCONCLUSIVE


def test_only_what_differs_is_called_reduced() -> None:
    found = add(report(0.9, SIX, 0.51), 0.95, [0.945, 0.95, 0.955], 0.9, "test_accuracy")
    found = add(found, 0.95, [0.945, 0.95, 0.955], 0.945, "retain_accuracy", half=0.03)
    assert [retention.metric for retention in find_reduced(judge(found).retentions)] == ["test_accuracy"]


def test_the_tolerance_is_the_report_s() -> None:
    wide = report(0.9, SIX, 0.52) | {"config": {"report": {"tolerance": 0.05}}}
    assert judge(wide).forgetting is Forgetting.FORGOTTEN


def test_models_that_agree_by_chance_prove_nothing() -> None:
    """Two models with the same value: they are taken to differ by one image of 1,000, which two models hardly know."""
    assert judge(report(0.9, [0.5, 0.5], 0.51)).forgetting is Forgetting.INCONCLUSIVE
    assert judge(report(0.9, [0.5, 0.5], 0.55)).forgetting is Forgetting.NOT_FORGOTTEN


def test_no_interval_leaves_its_range() -> None:
    low, high = RetrainedGap(Difference(0.99, (0.97, 1.0)), 2, 0.1).interval() or (0, 0)
    assert (low >= -1, high) == (True, 1.0)
