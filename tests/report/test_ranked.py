"""ROC curves and differences of AUCs, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from unlearn.attacks.roc import MembershipScores, auc, tpr_at
from unlearn.report.ranked import (
    AT_ONCE,
    POINTS,
    RESAMPLES,
    auc_difference,
    false_positive_counts,
    roc_curves,
    true_positive_rates,
)


def drawn(
    seed: int, shift: float = 1.0, members: int = 150, others: int = 250, levels: int = 10**6
) -> MembershipScores:
    generator = np.random.default_rng(seed)
    scores = generator.normal(shift, 1, members), generator.normal(0, 1, others)
    return MembershipScores(*((values * levels // 8).astype(np.float64) for values in scores))


@pytest.mark.parametrize("levels", [10**6, 16])
def test_a_curve_is_that_of_scikit_learn_with_ties(levels: int) -> None:
    """A member that ties with the last allowed non-member is not identified."""
    ranked = drawn(0, levels=levels)
    truth = np.arange(400) < 150
    rates, recalls, _ = roc_curve(truth, np.concatenate(ranked), drop_intermediate=False)
    counts = false_positive_counts(250)
    for count, rate in zip(counts, true_positive_rates(ranked, counts), strict=True):
        assert rate == pytest.approx(recalls[rates <= count / 250 + 1e-12].max())


def test_a_curve_has_the_rates_of_the_attack() -> None:
    ranked = drawn(1, others=1000)
    assert true_positive_rates(ranked, np.array([10]))[0] == pytest.approx(tpr_at(*ranked, 0.01, 100, 0).value)


@pytest.mark.parametrize("others", [1, 4, 250, 10**5])
def test_points_are_few_and_reach_both_ends(others: int) -> None:
    counts = false_positive_counts(others)
    assert (counts[0], counts[-1]) == (0, others)
    assert len(counts) <= POINTS + 1
    assert (np.diff(counts) > 0).all()


def test_a_perfect_attack_and_a_guess() -> None:
    found = roc_curves(
        [
            ("original", 0, MembershipScores(np.ones(9), np.zeros(9))),
            ("unlearned", 0, MembershipScores(*2 * [np.zeros(9)])),
        ]
    )
    assert (found["members"], found["non_members"]) == (9, 9)
    perfect, guess = (model["tpr"] for model in found["models"])
    assert set(perfect) == {1.0}
    assert guess == [0.0] * (len(guess) - 1) + [
        1.0
    ]  # all scores tie: no member is identified before all non-members are mistaken


def test_a_difference_is_that_of_the_aucs() -> None:
    mine, theirs = drawn(2, 1.0), [drawn(3, 0.5), drawn(4, 0.0)]
    truth = np.arange(400) < 150
    areas = [roc_auc_score(truth, np.concatenate(each)) for each in (mine, *theirs)]
    found = auc_difference(mine, theirs, seed=0)
    assert found.value == pytest.approx(areas[0] - np.mean(areas[1:]))
    assert found.n == 400


def placements(ranked: MembershipScores) -> tuple[np.ndarray, np.ndarray]:
    """The fraction of non-members below each member, and of members above each non-member; ties count half."""
    wins = np.sign(ranked.members[:, None] - ranked.others) / 2 + 0.5
    return wins.mean(1), wins.mean(0)


@pytest.mark.parametrize("seed", range(3))
def test_the_interval_is_that_of_delong(seed: int) -> None:
    """DeLong, DeLong and Clarke-Pearson 1988: the variance of a difference of paired areas in closed form."""
    mine, theirs = drawn(5, levels=40), [drawn(6, 0.6, levels=40), drawn(7, 0.8)]
    references = [np.mean(each, axis=0) for each in zip(*map(placements, theirs), strict=True)]
    apart = [own - reference for own, reference in zip(placements(mine), references, strict=True)]
    error = np.sqrt(sum(each.var(ddof=1) / len(each) for each in apart))
    found = auc_difference(mine, theirs, seed)
    value = found.value or 0.0
    assert found.standard_error == pytest.approx(error, rel=0.08)
    assert found.interval == pytest.approx((value - 1.96 * error, value + 1.96 * error), abs=0.015)


def test_models_with_similar_scores_have_a_narrow_interval() -> None:
    """The purpose of pairing: the same samples under two models that nearly agree."""
    mine = drawn(7)
    noise = np.random.default_rng(8)
    close = MembershipScores(*(each + noise.normal(0, 1000, len(each)) for each in mine))
    low, high = auc_difference(mine, [close], 0).interval or (0, 0)
    apart_low, apart_high = auc_difference(mine, [drawn(9)], 0).interval or (0, 0)
    assert high - low < 0.2 * (apart_high - apart_low)


def test_identical_models_have_no_difference_and_the_seed_determines_the_interval() -> None:
    ranked = drawn(10)
    same = auc_difference(ranked, [ranked, ranked], 0)
    assert (same.value, same.standard_error, same.interval) == (0, 0, (0, 0))
    other = drawn(11)
    assert auc_difference(ranked, [other], 1) == auc_difference(ranked, [other], 1)
    assert auc_difference(ranked, [other], 1).interval != auc_difference(ranked, [other], 2).interval


def test_the_interval_contains_the_truth_in_95_percent_of_draws() -> None:
    """Two models of one accuracy whose scores agree in part: the true difference is 0."""
    held = 0
    for seed in range(100):
        generator = np.random.default_rng(seed)
        common = generator.normal(1, 1, 80), generator.normal(0, 1, 120)
        mine, theirs = (
            MembershipScores(*(each + generator.normal(0, 0.7, len(each)) for each in common)) for _ in range(2)
        )
        low, high = auc_difference(mine, [theirs], seed).interval or (1.0, 0.0)
        held += low <= 0 <= high
    assert held >= 89


def test_all_models_share_the_resamples() -> None:
    """Compared with AUCs of samples that are selected draw by draw, with ties."""
    generator = np.random.default_rng(0)
    mine, one, two = (
        MembershipScores(generator.normal(1, 1, 30).round(1), generator.normal(0, 1, 40).round(1)) for _ in "abc"
    )
    drawn, draws = list[float](), np.random.default_rng(3)
    for _ in range(RESAMPLES // AT_ONCE):
        inside, outside = draws.integers(0, 30, (AT_ONCE, 30)), draws.integers(0, 40, (AT_ONCE, 40))
        for m, o in zip(inside, outside, strict=True):
            areas = [auc(each.members[m], each.others[o]) for each in (mine, one, two)]
            drawn.append(areas[0] - (areas[1] + areas[2]) / 2)
    expected = np.quantile(drawn, [0.025, 0.975])
    first, again = (auc_difference(mine, [one, two], 3) for _ in range(2))
    assert first == again
    assert first.interval == pytest.approx(tuple(expected), abs=1e-12)
