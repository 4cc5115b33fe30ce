"""Attacks on made-up losses: chance where there is nothing to find, certainty where there is, and by hand between."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig
from scipy.stats import binomtest, norm
from sklearn.metrics import roc_auc_score, roc_curve

from unlearn.attacks.base import Attack
from unlearn.attacks.earlier_logistic import EarlierLogistic
from unlearn.attacks.forgetting_rate_membership import ForgettingRateMembership
from unlearn.attacks.logistic import Logistic
from unlearn.attacks.members import forget_and_peers
from unlearn.attacks.nomus import Nomus, nomus
from unlearn.attacks.roc import auc, balanced_accuracy, clopper_pearson, measure_ranking, tpr_at
from unlearn.attacks.selection import SelectionAttack
from unlearn.core.plugins import find_options
from unlearn.core.types import Measurement, Predictions, Role, Subset
from unlearn.functional.gradient_inversion import ForgottenImage, Reconstructions
from unlearn.metrics.evidence import Evidence, Metric, ModelEvidence, Shadow
from unlearn.strategies.base import Strategy

ATTACKS = find_options("unlearn.attacks", Metric)
CONF = Path(__file__).parents[2] / "conf/attacks"
scores = st.lists(st.integers(0, 6), min_size=1, max_size=30)


def with_losses(losses: np.ndarray | list[float], label: int | np.ndarray = 0) -> Predictions:
    """Ten-class predictions whose cross-entropy is `losses`."""
    p = torch.tensor(np.exp(-np.asarray(losses, dtype=np.float64)))
    labels = torch.as_tensor(np.broadcast_to(label, p.shape).copy(), dtype=torch.int64)
    others = ((1 - p) / 9).clamp(min=1e-12)[:, None].expand(-1, 10)
    logits = others.scatter(1, labels[:, None], p[:, None]).log().float()
    return Predictions(logits, labels, torch.arange(len(p)))


def drawn(n: int, seed: int, centre: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).gamma(4, centre / 4, n)


def attacked(members: Predictions, others: Predictions, seed: int = 0, **settings: float) -> dict[str, Measurement]:
    return Logistic(**settings).measure(
        Evidence(ModelEvidence({Subset.FORGET: members, Subset.HOLDOUT: others}), seed=seed)
    )


@settings(deadline=None)
@given(scores, scores)
def test_auc_is_scikit_learns_ties_included(members: list[int], others: list[int]) -> None:
    truth = [True] * len(members) + [False] * len(others)
    assert auc(np.array(members), np.array(others)) == pytest.approx(roc_auc_score(truth, members + others))


@settings(deadline=None, max_examples=30)
@given(scores, scores, st.integers(0, 9))
def test_resamples_are_counted_as_if_drawn_and_sorted(members: list[int], others: list[int], seed: int) -> None:
    """To the bit, ties included."""
    inside, outside, generator = np.array(members), np.array(others), np.random.default_rng(seed)
    drawn = [auc(generator.choice(inside, len(inside)), generator.choice(outside, len(outside))) for _ in range(100)]
    assert measure_ranking(inside, outside, 100, seed)["auc"].interval == tuple(np.quantile(drawn, [0.025, 0.975]))


def test_bootstrap_interval_holds_the_auc_and_narrows_with_samples() -> None:
    widths = []
    for n in (50, 5000):
        generator = np.random.default_rng(0)
        members, others = generator.normal(size=n) + 1, generator.normal(size=n)
        low, high = measure_ranking(members, others, 200, seed=0)["auc"].interval or (1.0, 0.0)
        assert low < auc(members, others) < high
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(10, rel=0.4)


def test_tpr_by_hand() -> None:
    """Of 1,000 non-members 0 … 999 ten may be mistaken, so a member must score above 989."""
    members, others = np.array([5, 989, 989.5, 5000]), np.arange(1000.0)
    assert (tpr_at(members, others, 0.01, 100, 0).value, tpr_at(members, others, 0.01, 100, 0).n) == (0.5, 4)
    assert tpr_at(members, np.full(1000, 7.0), 0.01, 100, 0).value == 0.75  # tied non-members


@pytest.mark.parametrize("levels", [7, 300, 10**6])
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
def test_tpr_is_the_roc_curves(levels: int, rate: float) -> None:
    generator = np.random.default_rng(levels)
    truth = np.arange(1300) < 200
    found = (generator.normal(size=1300) + truth) * levels // 8
    rates, recalls, _ = roc_curve(truth, found, drop_intermediate=False)
    measured = tpr_at(found[truth], found[~truth], rate, 100, seed=0)
    assert measured.value == pytest.approx(recalls[rates <= rate + 1e-12].max())
    assert measured.interval is not None
    assert measured.interval[0] <= measured.value <= measured.interval[1]


@pytest.mark.parametrize(("n", "rate", "known"), [(999, 0.01, False), (1000, 0.01, True), (9999, 0.001, False)])
def test_tpr_needs_ten_mistakes_to_count(n: int, rate: float, known: bool) -> None:
    found = tpr_at(np.arange(5.0), np.arange(float(n)), rate, 100, seed=0)
    assert (found.value is not None) == known
    assert known or f"{n} non-members" in (found.reason or "")


def test_a_rate_of_none_is_no_certainty() -> None:
    """No member of 20 is found: the bootstrap alone would say 0 to 0."""
    found = tpr_at(np.zeros(20), np.arange(1000.0), 0.01, 100, seed=0)
    assert found.interval == pytest.approx((0, 1 - 0.025 ** (1 / 20)))


@pytest.mark.parametrize(("found", "n"), [(0, 7), (3, 10), (10, 10), (45, 300)])
def test_clopper_and_pearson_are_scipys(found: int, n: int) -> None:
    exact = binomtest(found, n).proportion_ci(0.95, "exact")
    assert clopper_pearson(found, n) == pytest.approx((exact.low, exact.high))


def test_the_interval_of_a_rate_covers_the_true_one() -> None:
    """Normal scores one apart: at 1 % the true rate is 1 - Phi(2.326 - 1)."""
    true, held = norm.sf(norm.isf(0.01) - 1), 0
    for seed in range(60):
        generator = np.random.default_rng(seed)
        members, others = generator.normal(1, 1, 200), generator.normal(0, 1, 1000)
        low, high = tpr_at(members, others, 0.01, 100, seed).interval or (1.0, 0.0)
        held += low <= true <= high
    assert held >= 54  # of 57 expected


def test_balanced_accuracy_and_its_interval() -> None:
    """Of one kind alone it would be Clopper and Pearson's; of two alike it is narrower by the square root of 2."""
    found, (low, high) = balanced_accuracy(0.7, 50, 0.7, 50), clopper_pearson(35, 50)
    assert (found.value, found.n) == (pytest.approx(0.7), 100)
    assert found.interval == pytest.approx((0.7 - (0.7 - low) / 2**0.5, 0.7 + (high - 0.7) / 2**0.5))
    certain = balanced_accuracy(1.0, 20, 1.0, 20).interval or (1.0, 1.0)
    assert certain[0] < 0.9
    assert certain[1] == 1


@pytest.mark.parametrize("closeness", [1.0, 0.5])
def test_the_interval_of_balanced_accuracy_covers_the_accuracies_of_classifiers(closeness: float) -> None:
    """Losses exp(1) and exp(1) times `closeness`: the best border between them is known."""
    border = np.log(1 / closeness) / (1 / closeness - 1) if closeness < 1 else 1.0
    best, held = (1 - np.exp(-border / closeness) + np.exp(-border)) / 2, 0
    for seed in range(12):
        generator = np.random.default_rng(seed)
        inside, outside = generator.exponential(closeness, 110), generator.exponential(1, 210)
        found = attacked(with_losses(inside), with_losses(outside), seed=seed, bootstrap=100, splits=5)
        low, high = found["mia_logistic_balanced_accuracy"].interval or (1.0, 0.0)
        held += low <= best <= high
    assert held >= 10


def test_few_non_members_leave_the_rates_undefined_and_the_auc_not() -> None:
    found = attacked(with_losses(drawn(60, 0)), with_losses(drawn(80, 1)))
    assert found["mia_logistic_tpr_at_1pct_fpr"].value is None
    assert found["mia_logistic_tpr_at_01pct_fpr"].value is None
    assert found["mia_logistic_auc"].value is not None
    assert found["mia_logistic_auc"].n == 140


def test_many_non_members_give_the_rate() -> None:
    found = attacked(with_losses(drawn(300, 0, 0.01)), with_losses(drawn(2400, 1)), splits=2)
    assert found["mia_logistic_tpr_at_1pct_fpr"].value == 1.0
    assert found["mia_logistic_tpr_at_01pct_fpr"].value is None


@pytest.mark.parametrize("seed", range(6))
def test_where_there_is_nothing_to_find_the_auc_is_one_half(seed: int) -> None:
    found = attacked(with_losses(drawn(150, 10 + seed)), with_losses(drawn(250, 20 + seed)), seed=seed)
    value, interval = found["mia_logistic_auc"].value, found["mia_logistic_auc"].interval
    assert value is not None
    assert interval is not None
    assert interval[0] <= value <= interval[1]
    assert value == pytest.approx(0.5, abs=0.1)
    assert found["mia_logistic_balanced_accuracy"].value == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("swapped", [False, True])
def test_separated_losses_give_an_auc_of_one_in_the_stated_direction(swapped: bool) -> None:
    """A low loss indicates membership in every model: swapped losses give an AUC of 0, not of 1."""
    low, high = with_losses(drawn(80, 0, 0.05)), with_losses(drawn(120, 1, 3.0))
    found = attacked(*((high, low) if swapped else (low, high)))
    assert found["mia_logistic_auc"].value == pytest.approx(0 if swapped else 1, abs=0.01)
    assert found["mia_logistic_auc"].interval == pytest.approx((0, 0) if swapped else (1, 1), abs=0.02)
    assert (found["mia_logistic_balanced_accuracy"].value or 0) > 0.95


def test_the_auc_is_that_of_the_losses() -> None:
    members, others = drawn(400, 0, 0.7), drawn(400, 1)
    truth = np.arange(800) < 400
    expected = roc_auc_score(truth, -np.concatenate([members, others]))
    found = attacked(with_losses(members), with_losses(others))["mia_logistic_auc"].value
    assert found == pytest.approx(expected, abs=1e-6)


def test_non_members_are_of_the_forgotten_class() -> None:
    """A net retrained without a class is bad at all of it; against other classes that would look like membership."""
    own = with_losses(drawn(150, 0), label=3)
    labels = np.array([3] * 150 + [5] * 400)
    others = with_losses(np.concatenate([drawn(150, 1), drawn(400, 2, 0.01)]), labels)
    _, peers = forget_and_peers({Subset.FORGET: own, Subset.HOLDOUT: others})
    assert peers.labels.tolist() == [3] * 150
    assert peers.index.tolist() == list(range(150))
    assert torch.equal(peers.logits, others.logits[:150])
    found = attacked(own, others)["mia_logistic_auc"]
    assert found.n == 300
    assert found.value == pytest.approx(0.5, abs=0.1)


def test_the_seed_decides_every_number() -> None:
    members, others = with_losses(drawn(60, 0, 0.8)), with_losses(drawn(90, 1))
    first, again, other = (attacked(members, others, seed=seed) for seed in (4, 4, 5))
    assert first == again
    assert first["mia_logistic_auc"] != other["mia_logistic_auc"]


@pytest.mark.parametrize("members", [1, 3])
def test_too_few_samples_are_a_reason_not_an_error(members: int) -> None:
    few, many = with_losses(drawn(members, 0)), with_losses(drawn(50, 1))
    subject = ModelEvidence({Subset.FORGET: few, Subset.HOLDOUT: many})
    for attack in (Logistic(), ForgettingRateMembership()):
        found = attack.measure(Evidence(subject, original=subject))
        assert all(m.value is None and f"{members} members" in (m.reason or "") for m in found.values())


@pytest.mark.parametrize(
    ("members", "others", "test_share"),
    [
        *[(4, 4, 0.5), (4, 300, 0.5), (4, 4, 0.1), (4, 4, 0.9), (4, 300, 0.95), (4, 200, 0.1)],
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_share_that_the_config_accepts_gives_a_number_or_a_reason(
    members: int, others: int, test_share: float
) -> None:
    found = attacked(with_losses(drawn(members, 0)), with_losses(drawn(others, 1)), test_share=test_share)
    assert all(m.reason if m.value is None else math.isfinite(m.value) for m in found.values())


def membership(before: Predictions, after: Predictions, holdout: Predictions) -> Measurement:
    original = {Subset.FORGET: before, Subset.HOLDOUT: holdout}
    found = ForgettingRateMembership().measure(
        Evidence(ModelEvidence(original | {Subset.FORGET: after}), ModelEvidence(original))
    )
    return found["forgetting_rate_membership"]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ([0.1] * 10, 0.0),  # untouched
        ([0.1] * 7 + [3.0] * 3, 0.3),
        ([3.0] * 10, 1.0),
    ],
)
def test_forgetting_rate_by_hand(after: list[float], expected: float) -> None:
    """Members lose 0.1 and non-members 3, so the classifier's border lies between."""
    found = membership(with_losses([0.1] * 10), with_losses(after), with_losses([3.0] * 20))
    assert (found.value, found.n) == (pytest.approx(expected), 10)


def test_forgetting_rate_subtracts_samples_unknown_before() -> None:
    """Seen as members before: 8 of 10 (BF = 2); after: 5 (AF = 5). (5 - 2) / 8; negative where it recognises more."""
    before, holdout = with_losses([0.1] * 8 + [3.0] * 2), with_losses([3.0] * 20)
    assert membership(before, with_losses([0.1] * 5 + [3.0] * 5), holdout).value == pytest.approx(3 / 8)
    assert membership(before, with_losses([0.1] * 10), holdout).value == pytest.approx(-2 / 8)


def test_forgetting_rate_without_a_recognised_member_is_undefined() -> None:
    alike = with_losses([1.0] * 10)
    found = membership(alike, alike, with_losses([1.0] * 20))
    assert found.value is None
    assert "judged a member" in (found.reason or "")


def subject_of(attack: Metric, members: Predictions, others: Predictions, retain: Predictions) -> ModelEvidence:
    every = {Subset.FORGET: members, Subset.EARLIER_FORGET: members, Subset.RETAIN: retain}
    image = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0))
    nothing = (
        Reconstructions(torch.empty(0, 1, 8, 8), torch.empty(0), torch.empty(0)),
        ForgottenImage(image, 0, 1, image, image),
    )
    found = {subset: every.get(subset, others) for subset in attack.subsets}
    return ModelEvidence(found, recovered=nothing if attack.recovery else None)


def shuffled(found: Predictions) -> Predictions:
    order = torch.randperm(len(found.labels), generator=torch.Generator().manual_seed(1))
    return Predictions(found.logits[order], found.labels[order], found.index[order])


def shadows_of(attack: Metric, subject: ModelEvidence) -> tuple[Shadow, ...]:
    """Models half as sure as the subject, each of which learnt the samples of even or of odd index."""
    said = {subset: replace(each, logits=each.logits / 2) for subset, each in subject.items()}
    masks = {subset: each.index % 2 == 0 for subset, each in subject.items()}
    pair = [Shadow(said, *2 * (learnt,)) for learnt in (masks, {subset: ~mask for subset, mask in masks.items()})]
    return tuple(pair * (attack.shadows.count // 2)) if attack.shadows else ()


@pytest.mark.parametrize("name", ATTACKS)
def test_the_identity_and_the_order_of_samples(name: str) -> None:
    attack = ATTACKS[name]()
    assert isinstance(attack, Metric)
    sets = with_losses(drawn(60, 0, 0.6)), with_losses(drawn(90, 1)), with_losses(drawn(150, 2, 0.6))
    subject = subject_of(attack, *sets)
    reference = subject if Role.ORIGINAL in attack.references else ModelEvidence()
    found = attack.measure(Evidence(subject, reference, shadows=shadows_of(attack, subject)))
    assert all(m.reason if m.value is None else math.isfinite(m.value) for m in found.values())
    moved = subject_of(attack, *map(shuffled, sets))
    again = attack.measure(Evidence(moved, reference, shadows=shadows_of(attack, moved)))
    assert {key: m.value for key, m in again.items()} == pytest.approx({key: m.value for key, m in found.items()})
    if name == "forgetting_rate_membership":
        assert found[name].value == 0.0


@pytest.mark.parametrize("name", ATTACKS)
def test_every_area_has_the_scores_that_it_is_of(name: str) -> None:
    """By name, and a high score indicates membership: scikit-learn finds the same area in them."""
    attack = ATTACKS[name]()
    assert isinstance(attack, Attack)
    sets = with_losses(drawn(60, 0, 0.6)), with_losses(drawn(90, 1)), with_losses(drawn(150, 2, 0.6))
    subject = subject_of(attack, *sets)
    reference = subject if Role.ORIGINAL in attack.references else ModelEvidence()
    evidence = Evidence(subject, reference, shadows=shadows_of(attack, subject))
    areas = {key.removesuffix("_auc"): m for key, m in attack.measure(evidence).items() if key.endswith("_auc")}
    rankings = attack.rankings(evidence)
    assert set(rankings) == set(areas)
    for key, (members, others) in rankings.items():
        assert (len(members), len(others)) == (60, 90)
        truth = np.arange(150) < 60
        assert areas[key].value == pytest.approx(roc_auc_score(truth, np.concatenate([members, others])))


@pytest.mark.parametrize("name", ATTACKS)
def test_only_the_tables_attack_reads_test_and_every_attack_has_a_module_and_a_yaml(name: str) -> None:
    """`selection` is for searches, which holdout does not enter; `svc_confidence` is what tables have, by test, and
    `nomus` has test accuracy in it. Inversion asks about images that the attacker makes.
    """
    elsewhere = {"selection", "svc_confidence", "label_inference", "feature_recovery"}
    assert (Subset.HOLDOUT in ATTACKS[name].subsets) == (name not in elsewhere)
    assert (Subset.TEST in ATTACKS[name].subsets) == (name in {"svc_confidence", "nomus"})
    assert ATTACKS[name].__module__ == f"unlearn.attacks.{name}"
    assert f"/schema/attacks/{name}@{name}" in (CONF / f"{name}.yaml").read_text()


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_says_how_to_read_it(name: str) -> None:
    attack = ATTACKS[name]
    assert issubclass(attack, Attack)
    assert attack.members
    assert attack.non_members
    assert re.search("the (higher|fewer)", attack.direction)
    assert set(attack.invalid_for) <= set(find_options("unlearn.strategies", Strategy))


def test_full_holds_all_but_search_attacks_and_the_costliest(
    composed: Callable[..., DictConfig],
) -> None:
    named_only = "selection", "u_lira", "feature_recovery", "earlier_logistic"
    assert set(composed("attacks=full").attacks) == set(ATTACKS) - {*named_only}


def test_earlier_logistic_is_the_attack_on_the_records_of_earlier_requests() -> None:
    members, others = with_losses(drawn(40, 0, 0.5)), with_losses(drawn(60, 1))
    evidence = Evidence(ModelEvidence({Subset.EARLIER_FORGET: members, Subset.HOLDOUT: others}))
    auc_on_earlier = EarlierLogistic(bootstrap=100).measure(evidence)["mia_earlier_auc"].value
    assert auc_on_earlier == attacked(members, others, bootstrap=100)["mia_logistic_auc"].value


def test_selection_is_the_attack_with_validation_in_place_of_holdout() -> None:
    members, others = with_losses(drawn(40, 0, 0.5)), with_losses(drawn(60, 1))
    found = SelectionAttack(bootstrap=100).measure(
        Evidence(ModelEvidence({Subset.FORGET: members, Subset.VALIDATION: others, Subset.RETAIN: members}), seed=3)
    )
    alike = attacked(members, others, seed=3, bootstrap=100)
    assert found["selection_auc"].value == alike["mia_logistic_auc"].value
    assert found["selection_balanced_accuracy"].value == pytest.approx(
        alike["mia_logistic_balanced_accuracy"].value, abs=0.1
    )
    assert found["validation_accuracy"].value == (others.logits.argmax(1) == 0).double().mean().item()
    assert "retained_validation_accuracy" not in found
    assert Subset.HOLDOUT not in SelectionAttack.subsets
    assert Subset.TEST not in SelectionAttack.subsets


def test_selection_reads_validation_accuracy_without_a_class_that_vanishes() -> None:
    """Of class 1 nothing is retained; of the validation samples 0, 0, 1, 0 three stay, two of them right."""
    y = torch.tensor([0, 0, 1, 0] * 3)
    shown = torch.tensor([0, 1, 0, 0] * 3)
    validation = Predictions(torch.eye(2)[shown], y, torch.arange(12))
    forget, retain = (Predictions(torch.eye(2)[[c] * 8], torch.full((8,), c), torch.arange(8)) for c in (1, 0))
    seen = ModelEvidence({Subset.FORGET: forget, Subset.RETAIN: retain, Subset.VALIDATION: validation})
    found = SelectionAttack(bootstrap=100).measure(Evidence(seen))
    assert found["validation_accuracy"].value == pytest.approx(6 / 12)
    assert found["retained_validation_accuracy"].value == pytest.approx(6 / 9)


@pytest.mark.parametrize(
    ("accuracy", "off", "expected"),
    [
        (0.5951, 0.2136, 0.5839),
        (0.4880, 0.0445, 0.6995),
        (0.4048, 0.0485, 0.6539),
        (0.5984, 0.1415, 0.6577),
    ],
)
def test_nomus_is_as_its_authors_publish_it(accuracy: float, off: float, expected: float) -> None:
    """MUFAC: original, retrained, gradient ascent and SCRUB; `off` is the attack's distance from one half."""
    assert nomus(accuracy, 0.5 + off) == pytest.approx(expected, abs=1e-4)
    assert nomus(accuracy, 0.5 - off) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("centre", "attack"), [(0.02, 1.0), (1.0, 0.5)])
def test_nomus_takes_the_balanced_accuracy_of_the_report(centre: float, attack: float) -> None:
    members, others, test = (with_losses(drawn(400, k, c)) for k, c in enumerate((centre, 1.0, 0.3)))
    seen = ModelEvidence({Subset.FORGET: members, Subset.HOLDOUT: others, Subset.TEST: test})
    found = Nomus().measure(Evidence(seen, seed=5))["nomus"]
    shown = attacked(members, others, seed=5)["mia_logistic_balanced_accuracy"].value
    accuracy = (test.logits.argmax(1) == test.labels).double().mean().item()
    assert shown == pytest.approx(attack, abs=0.05)
    assert (found.value, found.n) == (pytest.approx(nomus(accuracy, shown)), 1200)


def test_nomus_of_too_few_is_undefined() -> None:
    few, many = with_losses(drawn(3, 0)), with_losses(drawn(50, 1))
    found = Nomus().measure(Evidence(ModelEvidence({Subset.FORGET: few, Subset.HOLDOUT: many, Subset.TEST: many})))[
        "nomus"
    ]
    assert found.value is None
    assert "3 members" in (found.reason or "")
