"""Thresholds by hand, against scikit-learn and SciPy, and where there is nothing to find."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import entropy as shannon
from sklearn.metrics import roc_auc_score, roc_curve

from unlearn.attacks.threshold import KEYS, Scored, Threshold, best_threshold, by_class, entropy, modified_entropy
from unlearn.core.types import Measurement, Predictions, Subset
from unlearn.metrics.evidence import Evidence, ModelEvidence

NAMES = ("confidence", "entropy", "modified_entropy")


def predictions(n: int, seed: int, push: float, classes: int = 3) -> Predictions:
    """Logits [n, classes] at random, the true class's raised by `push`."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    logits = torch.randn(n, classes, generator=generator)
    logits[torch.arange(n), labels] += push
    return Predictions(logits, labels, torch.arange(n))


def of(p: list[list[float]], labels: list[int]) -> Predictions:
    return Predictions(torch.tensor(p, dtype=torch.float64).log(), torch.tensor(labels), torch.arange(len(p)))


def attacked(
    forget: Predictions, retain: Predictions, holdout: Predictions, seed: int = 0, **settings: int
) -> dict[str, Measurement]:
    subject = ModelEvidence({Subset.FORGET: forget, Subset.RETAIN: retain, Subset.HOLDOUT: holdout})
    return Threshold(bootstrap=100, **settings).measure(Evidence(subject, seed=seed))


def value(found: dict[str, Measurement], key: str) -> float:
    assert found[key].value is not None, found[key].reason
    return found[key].value or 0.0


def test_entropies_by_hand() -> None:
    found = of([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]], [0, 2])
    assert entropy(found).tolist() == pytest.approx([shannon([0.5, 0.3, 0.2])] * 2)
    right = -0.5 * np.log(0.5) - 0.3 * np.log(0.7) - 0.2 * np.log(0.8)
    wrong = -0.8 * np.log(0.2) - 0.5 * np.log(0.5) - 0.3 * np.log(0.7)
    assert modified_entropy(found).tolist() == pytest.approx([right, wrong])


def test_entropies_are_scipys_and_the_plain_formulas() -> None:
    found = predictions(200, 0, 1.0, classes=7)
    p = found.logits.double().softmax(1).numpy()
    y = found.labels.numpy()
    assert entropy(found).numpy() == pytest.approx(shannon(p, axis=1))
    swapped, logs = p.copy(), np.log1p(-p)
    rows = np.arange(200)
    swapped[rows, y], logs[rows, y] = 1 - p[rows, y], np.log(p[rows, y])
    assert modified_entropy(found).numpy() == pytest.approx(-(swapped * logs).sum(1))


def test_certain_predictions_keep_their_order() -> None:
    """1 - p rounds to 0 from logits of 40 on: modified entropies stay apart, right ones near 0 and wrong ones large."""
    logits = torch.tensor([[50.0, 0, 0], [60, 0, 0], [50, 0, 0], [60, 0, 0]])
    found = modified_entropy(Predictions(logits, torch.tensor([0, 0, 1, 1]), torch.arange(4)))
    assert found.isfinite().all()
    assert found[2:].tolist() == pytest.approx([100 - 0.693, 120 - 0.693], abs=0.01)  # -ln p_y - ln(1 - p_0)
    assert 0 <= found[1] < found[0] < 1e-15
    assert entropy(Predictions(logits, torch.zeros(4).long(), torch.arange(4))).isfinite().all()


def test_the_best_threshold_by_hand() -> None:
    """From 3 on: all of the members 3, 4, 9 and one of the non-members 1, 2, 2, 5."""
    assert best_threshold(np.array([3.0, 4, 9]), np.array([1.0, 2, 2, 5])) == 3
    assert best_threshold(np.array([1.0]), np.array([1.0])) == 1  # nothing to tell apart: everybody is a member


@pytest.mark.parametrize("seed", range(5))
def test_the_best_threshold_is_the_roc_curves(seed: int) -> None:
    generator = np.random.default_rng(seed)
    members, others = generator.normal(0.5, 1, 80).round(1), generator.normal(0, 1, 120).round(1)
    rates, recalls, _ = roc_curve([1] * 80 + [0] * 120, np.concatenate([members, others]), drop_intermediate=False)
    threshold = best_threshold(members, others)
    assert (members >= threshold).mean() - (others >= threshold).mean() == pytest.approx((recalls - rates).max())


def test_a_class_of_few_is_judged_by_all_that_both_have() -> None:
    """Class 0 has its own threshold, class 1 three of a kind, class 2 no member and no say at all."""
    members = Scored(np.array([5.0, 6, 7, 8, 1, 1, 1]), np.array([0, 0, 0, 0, 1, 1, 1]))
    others = Scored(np.array([1.0, 2, 3, 4, 0, 0, 0, 9, 9, 9, 9]), np.array([0] * 4 + [1] * 3 + [2] * 4))
    pooled = best_threshold(members.scores, others.scores[:7])
    assert pooled == 5  # all above it are members, three members are below: better than 1, which takes in four others
    assert by_class(members, others)(np.array([0, 1, 2])).tolist() == [5, pooled, pooled]


@pytest.mark.parametrize("name", NAMES)
def test_the_auc_is_scikit_learns(name: str) -> None:
    forget, holdout = predictions(90, 0, 2.5), predictions(150, 1, 1.0)
    found = attacked(forget, predictions(300, 2, 2.5), holdout)
    p = torch.cat([forget.logits, holdout.logits]).double().softmax(1)
    y = torch.cat([forget.labels, holdout.labels])
    whole = Predictions(torch.cat([forget.logits, holdout.logits]), y, torch.arange(240))
    score = {
        "confidence": p.gather(1, y[:, None])[:, 0],
        "entropy": -entropy(whole),
        "modified_entropy": -modified_entropy(whole),
    }[name]
    assert value(found, f"mia_{name}_auc") == pytest.approx(roc_auc_score(np.arange(240) < 90, score))
    low, high = found[f"mia_{name}_auc"].interval or (1.0, 0.0)
    assert low <= value(found, f"mia_{name}_auc") <= high


def test_correctness_and_loss_by_hand() -> None:
    """Right are 3 of 4 forget and 1 of 4 holdout; a loss of at most retain's ln(1 / 0.55) have 2 of 4 and 1 of 4."""
    forget = of([[0.9, 0.1], [0.9, 0.1], [0.52, 0.48], [0.2, 0.8]], [0] * 4)
    retain = of([[0.55, 0.45]] * 8, [0] * 8)
    holdout = of([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.2, 0.8]] * 2, [0] * 8)
    found = attacked(forget, retain, holdout)
    assert value(found, "mia_correctness_balanced_accuracy") == pytest.approx((3 / 4 + 3 / 4) / 2)
    assert value(found, "mia_loss_balanced_accuracy") == pytest.approx((2 / 4 + 3 / 4) / 2)


@pytest.mark.parametrize("seed", range(4))
def test_where_neither_set_was_seen_nothing_is_found(seed: int) -> None:
    """Retain was learnt, forget was not: 0.5 lies in each interval, or next to one of the many."""
    forget, holdout = predictions(300, 10 + seed, 1.0), predictions(450, 20 + seed, 1.0)
    found = attacked(forget, predictions(900, 30 + seed, 4.0), holdout, seed)
    for key in KEYS:
        if "tpr" not in key:
            assert value(found, key) == pytest.approx(0.5, abs=0.08), key
            low, high = found[key].interval or (1.0, 0.0)
            assert low - 0.02 <= 0.5 <= high + 0.02, key


def test_the_direction_is_stated() -> None:
    """What looks memorised is above 0.5 in everything; what was pushed out is below, but in entropy: it is sure too."""
    retain, holdout = predictions(300, 1, 5.0), predictions(240, 2, 1.5)
    seen, pushed = (attacked(predictions(120, 0, push), retain, holdout) for push in (5.0, -1.0))
    for key in KEYS:
        if "tpr" not in key:
            assert value(seen, key) > 0.6, key
            assert value(pushed, key) < 0.5 or key.startswith("mia_entropy"), key
    assert value(pushed, "mia_confidence_auc") < 0.2


def test_holdout_samples_are_not_judged_by_thresholds_fitted_to_them() -> None:
    """Scores without any meaning: judged by their own best threshold they would seem to tell something."""
    own, crossed = [], []
    for seed in range(20):
        forget, retain, holdout = (predictions(60, 3 * seed + part, 0.0) for part in range(3))
        crossed.append(value(attacked(forget, retain, holdout, seed), "mia_confidence_balanced_accuracy"))
        scores = [
            found.logits.double().softmax(1).gather(1, found.labels[:, None])[:, 0] for found in (retain, holdout)
        ]
        threshold = best_threshold(*(each.numpy() for each in scores))
        own.append((scores[0] >= threshold).double().mean() / 2 + (scores[1] < threshold).double().mean() / 2)
    assert np.mean(own) > 0.54
    assert np.mean(crossed) == pytest.approx(0.5, abs=0.02)


def test_a_class_forgotten_whole_is_judged_by_the_others_threshold() -> None:
    """Retain has no sample of class 2; non-members are holdout's of class 2 alone."""
    forget, retain, holdout = predictions(180, 0, 4.0), predictions(300, 1, 4.0), predictions(240, 2, 1.0)
    forget, retain = (
        Predictions(found.logits[which], found.labels[which], found.index[which])
        for found, which in ((forget, forget.labels == 2), (retain, retain.labels != 2))
    )
    found = attacked(forget, retain, holdout)
    assert found["mia_confidence_auc"].n == 60 + 80
    assert value(found, "mia_confidence_balanced_accuracy") > 0.6


@pytest.mark.parametrize(("forget", "retain", "holdout"), [(3, 90, 90), (90, 3, 90), (90, 90, 7)])
def test_too_few_are_a_reason(forget: int, retain: int, holdout: int) -> None:
    found = attacked(predictions(forget, 0, 1.0), predictions(retain, 1, 1.0), predictions(holdout, 2, 1.0))
    assert set(found) == set(KEYS)
    assert all(each.value is None and "needed" in (each.reason or "") for each in found.values())


@pytest.mark.parametrize("folds", [2, 5, 500])
def test_every_number_of_folds_gives_every_number(folds: int) -> None:
    found = attacked(predictions(60, 0, 2.0), predictions(60, 1, 2.0), predictions(60, 2, 1.0), folds=folds)
    assert set(found) == set(KEYS)
    assert all(each.value is not None for key, each in found.items() if "tpr" not in key)


def test_one_number_of_each_kind_is_a_ranking_of_its_own() -> None:
    """The loss ranks as confidence does, and correctness has two levels: their AUCs would say nothing new."""
    assert len(KEYS) == 3 * 4 + 2
