"""Attacks by shadow models on made-up logits: by hand, against SciPy, and chance where the subject saw nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, norm
from torch import Tensor

from unlearn.attacks.likelihood_ratio import log_ratio
from unlearn.attacks.lira import Lira
from unlearn.attacks.rmia import Rmia, fraction_outscored
from unlearn.attacks.roc import auc
from unlearn.attacks.shadow_models import ShadowStatistics, measure_scores
from unlearn.attacks.u_lira import ULira
from unlearn.core.types import Measurement, Predictions, Subset
from unlearn.core.validation import problems
from unlearn.functional.estimates import cross_entropy
from unlearn.functional.logit_margin import logit_margin
from unlearn.metrics.evidence import Evidence, Metric, ModelEvidence, Shadow

ATTACKS = (Lira(bootstrap=100), ULira(bootstrap=100), Rmia(bootstrap=100))
FORGET, HOLDOUT = Subset.FORGET, Subset.HOLDOUT


def saying(margins: Tensor, classes: int = 3, label: int = 0) -> Predictions:
    """Logits whose margin is as given: all other classes say 0."""
    logits = torch.zeros(len(margins), classes)
    logits[:, label] = (margins + math.log(classes - 1)).float()
    return Predictions(logits, torch.full((len(margins),), label), torch.arange(len(margins)))


@pytest.mark.parametrize(("models", "fits"), [(2, False), (3, False), (4, True), (5, False), (6, True)])
def test_shadow_models_come_in_pairs(models: int, fits: bool) -> None:
    assert (list(problems(Lira(models=models))) == []) is fits


def both(values: Tensor, forget: int) -> dict[Subset, Tensor]:
    return {FORGET: values[:forget], HOLDOUT: values[forget:]}


def world(seed: int, knows: float, models: int = 16, n: int = 400, forget: int = 150) -> Evidence:
    """Models are surer by `knows` of what they learnt, and half as much of what they forgot; the subject learnt all of
    `forget`. Every sample is as hard as it is, for all models alike."""
    draws = torch.Generator().manual_seed(seed)
    hard = 3 * torch.randn(n, generator=draws)
    turn = torch.rand(models, n, generator=draws).argsort(0).argsort(0)
    learnt, forgot = turn < models // 2, turn < models // 4

    def says(known: Tensor) -> dict[Subset, Predictions]:
        margins = hard + known + torch.randn(n, generator=draws)
        return {subset: saying(each) for subset, each in both(margins, forget).items()}

    shadows = (
        Shadow(says(knows * (inside.double() - 0.5 * gone.double())), both(inside, forget), both(gone, forget))
        for inside, gone in zip(learnt, forgot, strict=True)
    )
    subject = says(knows * (torch.arange(n) < forget).double())
    return Evidence(ModelEvidence(subject), seed=seed, shadows=tuple(shadows))


def area(attack: Metric, evidence: Evidence) -> Measurement:
    (found,) = (value for name, value in attack.measure(evidence).items() if name.endswith("_auc"))
    return found


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
def test_the_curve_is_drawn_of_the_scores_that_were_measured(attack: Metric) -> None:
    """U-LiRA's of the models that forgot, all others' of those that learnt."""
    evidence = world(0, knows=1)
    ((members, others),) = attack.rankings(evidence).values()
    assert auc(members, others) == area(attack, evidence).value


def test_the_margin_is_the_log_odds_of_the_true_class_and_does_not_saturate() -> None:
    logits = torch.tensor([[2.0, 1.0, -1.0], [0.0, 90.0, -3.0]])
    found = logit_margin(Predictions(logits, torch.tensor([0, 1]), torch.arange(2)))
    assert found[0].item() == pytest.approx(2 - math.log(math.e + math.exp(-1)))
    assert found[1].item() == pytest.approx(90 - math.log(1 + math.exp(-3)))
    assert found.dtype == torch.float64
    mild = Predictions(torch.randn(50, 4), torch.arange(50) % 4, torch.arange(50))
    p = (-cross_entropy(mild)).exp()
    torch.testing.assert_close(logit_margin(mild), (p / (1 - p)).log())


def by_hand() -> ShadowStatistics:
    """Two samples, four models; of the second sample the margins lie twice as far apart."""
    shadows = torch.tensor([[3.0, 6.0], [5.0, 10.0], [0.0, 0.0], [2.0, 4.0]], dtype=torch.float64)
    learnt = torch.tensor([[True, True], [True, True], [False, False], [False, False]])
    return ShadowStatistics(
        torch.tensor([4.0, 2.0], dtype=torch.float64), shadows, learnt, learnt, torch.tensor([True, False])
    )


def test_the_ratio_by_hand() -> None:
    """Means in 4 and 8, out 1 and 2; variances 2 and 8 each, 5 where they are pooled."""
    own = log_ratio(by_hand(), forgotten=False, own_variance=True)
    assert own.tolist() == pytest.approx([(9 - 0) / 4, (0 - 36) / 16])
    pooled = log_ratio(by_hand(), forgotten=False, own_variance=False)
    assert pooled.tolist() == pytest.approx([9 / 10, -36 / 10])


def test_the_ratio_is_scipys() -> None:
    draws = np.random.default_rng(0)
    shadows, learnt, subject = draws.normal(size=(12, 5)), np.zeros((12, 5), bool), draws.normal(size=5)
    for column in learnt.T:
        column[draws.choice(12, 6, replace=False)] = True
    parts = [torch.from_numpy(each) for each in (subject, shadows, learnt, learnt)]
    found = log_ratio(ShadowStatistics(*parts, torch.arange(5) < 2), forgotten=False, own_variance=True)
    for i in range(5):
        inside, outside = (shadows[mask, i] for mask in (learnt[:, i], ~learnt[:, i]))
        expected = [norm(group.mean(), group.std(ddof=1)).logpdf(subject[i]) for group in (inside, outside)]
        assert found[i].item() == pytest.approx(expected[0] - expected[1])


def test_learnt_and_kept_samples_count_as_neither_in_nor_out_for_unlearned_shadows() -> None:
    found = by_hand()
    forgot = torch.tensor([[True, True], [True, True], [False, False], [False, False], [False, False]])
    more = ShadowStatistics(
        found.subject,
        torch.cat([found.shadows, torch.full((1, 2), 1e6, dtype=torch.float64)]),
        torch.cat([found.learnt, torch.ones(1, 2, dtype=torch.bool)]),
        forgot,
        found.members,
    )
    torch.testing.assert_close(log_ratio(more, True, True), log_ratio(found, False, True))


def test_models_that_agree_to_the_bit_give_a_finite_ratio() -> None:
    found = by_hand()
    alike = ShadowStatistics(found.subject, torch.ones(4, 2).double(), found.learnt, found.forgot, found.members)
    assert log_ratio(alike, False, False).isfinite().all()


def test_dominance_by_hand() -> None:
    """Gains 2 (a member); 1, 3 and 0 (the others): against itself a sample counts half."""
    gain = torch.tensor([2.0, 1.0, 3.0, 0.0], dtype=torch.float64)
    masks = torch.ones(4, 4, dtype=torch.bool)
    found = ShadowStatistics(gain, torch.zeros(4, 4).double(), masks, masks, torch.arange(4) < 1)
    assert fraction_outscored(found, 1.0).tolist() == pytest.approx([2 / 3, 1.5 / 3, 2.5 / 3, 0.5 / 3])
    assert fraction_outscored(found, math.e**1.5).tolist() == pytest.approx([1 / 3, 0.0, 2 / 3, 0.0])
    assert fraction_outscored(found, math.e**-1.5).tolist() == pytest.approx([1.0, 1.5 / 3, 2.5 / 3, 1.5 / 3])


def test_dominance_is_the_double_loop_over_probabilities() -> None:
    evidence = world(3, knows=1.0, n=30, forget=10)
    p = torch.cat([(-cross_entropy(evidence.subject[subset])).exp() for subset in (FORGET, HOLDOUT)])
    each = [torch.cat([(-cross_entropy(s.predictions[u])).exp() for u in (FORGET, HOLDOUT)]) for s in evidence.shadows]
    ratio = p / torch.stack(each).mean(0)
    expected = [float(np.mean([bool(ratio[x] / ratio[z] >= 1.1) for z in range(10, 30)])) for x in range(30)]
    logs = torch.stack(each).log()
    masks = torch.ones(16, 30, dtype=torch.bool)
    found = fraction_outscored(ShadowStatistics(p.log(), logs, masks, masks, torch.arange(30) < 10), 1.1)
    assert found.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("gamma", [1.5, 2.0, 50.0])
def test_outscoring_only_an_outlier_separates_no_members(gamma: float) -> None:
    gain = torch.cat([torch.zeros(99), torch.tensor([-9.0])]).double()
    masks = torch.ones(4, 100, dtype=torch.bool)
    found = ShadowStatistics(gain, torch.zeros(4, 100).double(), masks, masks, torch.arange(100) < 40)
    told = measure_scores(fraction_outscored(found, gamma), found, 0.5, 100, seed=0)
    assert told["auc"].value == pytest.approx(0.5 + 1 / 120)  # the outlier itself is one of 60 others


def test_without_gamma_the_ranking_is_that_of_the_gain() -> None:
    gain = torch.randn(100, generator=torch.Generator().manual_seed(0)).double()
    masks = torch.ones(4, 100, dtype=torch.bool)
    found = ShadowStatistics(gain, torch.zeros(4, 100).double(), masks, masks, torch.arange(100) < 40)
    areas = [
        measure_scores(each, found, 0.5, 100, seed=0)["auc"].value for each in (gain, fraction_outscored(found, 1.0))
    ]
    assert areas[0] == areas[1]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
def test_a_subject_that_saw_nothing_gives_nothing_away(attack: Metric) -> None:
    """Whatever shadow models give away: the subject saw neither set."""
    for seed in range(4):
        evidence = world(seed, knows=2.0)
        blind = Evidence(world(seed, knows=0.0).subject, seed=seed, shadows=evidence.shadows)
        found = area(attack, blind)
        assert found.interval is not None
        assert found.value == pytest.approx(0.5, abs=0.1)
        assert found.interval[0] - 0.02 <= 0.5 <= found.interval[1] + 0.02


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
def test_a_subject_that_remembers_is_found_where_the_loss_alone_sees_little(attack: Metric) -> None:
    evidence = world(0, knows=2.0)
    found = area(attack, evidence)
    plain = [cross_entropy(evidence.subject[subset]) for subset in (FORGET, HOLDOUT)]
    by_loss = float((plain[0][:, None] < plain[1]).double().mean())
    assert found.interval is not None
    assert found.interval[0] > max(0.6, by_loss)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
def test_names_say_the_attack_and_few_samples_are_a_reason(attack: Metric) -> None:
    name = {"Lira": "mia_lira", "ULira": "mia_u_lira", "Rmia": "mia_rmia"}[type(attack).__name__]
    few = attack.measure(world(0, 1.0, n=60, forget=3))
    assert set(few) == {f"{name}_{key}" for key in ("auc", "balanced_accuracy", "tpr_at_1pct_fpr", "tpr_at_01pct_fpr")}
    assert all("3 members" in (each.reason or "") for each in few.values())
    assert attack.measure(world(5, 1.0)) == attack.measure(world(5, 1.0))


def test_with_many_models_each_sample_has_its_own_variance() -> None:
    evidence = world(0, 1.0)
    own, pooled = (area(Lira(own_variance_from=at), evidence).value for at in (16, 17))
    assert own != pooled
    assert area(Lira(), evidence).value == pooled


def test_non_members_are_of_the_forgotten_class() -> None:
    evidence = world(1, 2.0)
    strange = saying(torch.full((90,), 9.0), label=1)

    def beside(found: Predictions) -> Predictions:
        parts = ((getattr(found, name), getattr(strange, name)) for name in ("logits", "labels", "index"))
        return Predictions(*map(torch.cat, parts))

    def wider(shadow: Shadow) -> Shadow:
        masks = (
            {**each, HOLDOUT: torch.cat([each[HOLDOUT], torch.ones(90).bool()])}
            for each in (shadow.learnt, shadow.forgot)
        )
        return Shadow({**shadow.predictions, HOLDOUT: beside(shadow.predictions[HOLDOUT])}, *masks)

    subject = ModelEvidence({FORGET: evidence.subject[FORGET], HOLDOUT: beside(evidence.subject[HOLDOUT])})
    more = Evidence(subject, seed=1, shadows=tuple(wider(each) for each in evidence.shadows))
    for attack in ATTACKS:
        assert attack.measure(more) == attack.measure(evidence)


def test_measurements_of_scores_match_values_by_hand() -> None:
    """Members 1, 2, -1, 4 and others -2, -3, 0.5, -1: three of four are right on either side, one pair ties."""
    scores = torch.tensor([1.0, 2, -1, 4, -2, -3, 0.5, -1], dtype=torch.float64)
    found = ShadowStatistics(scores, scores[None], scores[None] > 0, scores[None] > 0, torch.arange(8) < 4)
    told = measure_scores(scores, found, 0.0, 100, seed=0)
    assert told["auc"].value == pytest.approx((4 + 4 + 2.5 + 4) / 16)
    assert told["balanced_accuracy"].value == 0.75
    low, high = binomtest(3, 4).proportion_ci(0.95, "exact")
    half = math.hypot(0.75 - low, 0.75 - low) / 2, math.hypot(high - 0.75, high - 0.75) / 2
    assert told["balanced_accuracy"].interval == pytest.approx((0.75 - half[0], 0.75 + half[1]))
    assert told["tpr_at_1pct_fpr"].value is None


def test_a_rate_has_an_interval_where_there_are_enough_non_members() -> None:
    draws = torch.Generator().manual_seed(0)
    scores = torch.cat([torch.randn(300, generator=draws) + 1, torch.randn(1200, generator=draws)]).double()
    mask = torch.ones(1, 1500, dtype=torch.bool)
    told = measure_scores(
        scores, ShadowStatistics(scores, scores[None], mask, mask, torch.arange(1500) < 300), 0.0, 200, seed=0
    )
    value, interval = told["tpr_at_1pct_fpr"].value, told["tpr_at_1pct_fpr"].interval
    assert value is not None
    assert interval is not None
    assert interval[0] < value < interval[1]
    assert interval[0] < norm.sf(norm.isf(0.01) - 1) < interval[1]
    assert told["tpr_at_01pct_fpr"].value is None
