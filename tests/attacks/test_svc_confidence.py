"""The tables' MIA: against the machine itself, and the directions that tables read."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.svm import SVC

from unlearn.attacks.svc_confidence import SvcConfidence
from unlearn.core.types import Measurement, Predictions, Subset
from unlearn.metrics.evidence import Evidence, ModelEvidence
from unlearn.pipeline.metric_checks import UNSEEN


def sure(p: np.ndarray) -> Predictions:
    """Two-class predictions that give the true class, 0, the probability `p`."""
    logits = torch.from_numpy(np.stack([np.log(p), np.log1p(-p)], axis=1)).float()
    return Predictions(logits, torch.zeros(len(p), dtype=torch.int64), torch.arange(len(p)))


def drawn(n: int, a: float, b: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).beta(a, b, n).clip(1e-6, 1 - 1e-6)


def attacked(forget: Predictions, retain: Predictions, test: Predictions, most: int = 10_000) -> Measurement:
    subject = ModelEvidence({Subset.FORGET: forget, Subset.RETAIN: retain, Subset.TEST: test})
    return SvcConfidence(most).measure(Evidence(subject))["mia_svc_confidence"]


def test_it_is_the_fraction_that_the_machine_judges_non_members() -> None:
    """As many of retain as of test, so that all are taken and nothing is drawn."""
    forget, retain, test = drawn(90, 4, 2, 0), drawn(200, 9, 1, 1), drawn(200, 4, 2, 2)
    judge = SVC(C=3, kernel="rbf", gamma=1).fit(np.concatenate([retain, test])[:, None], [1] * 200 + [0] * 200)
    found = attacked(sure(forget), sure(retain), sure(test))
    share = (judge.predict(forget[:, None]) == 0).mean()
    assert found.value == pytest.approx(share, abs=1 / 90)  # logits are float32
    assert found.n == 90
    assert found.standard_error == pytest.approx((share * (1 - share) / 89) ** 0.5, abs=0.005)


def test_test_samples_of_a_class_that_vanishes_are_left_out() -> None:
    """A model without the class gives its test samples a confidence near 0, as it does the forget samples."""
    forget, retain, test = drawn(90, 1, 9, 0), drawn(200, 9, 1, 1), drawn(200, 4, 2, 2)
    gone = sure(drawn(150, 1, 9, 3))
    judge = SVC(C=3, kernel="rbf", gamma=1)

    def share(others: np.ndarray) -> float:
        size = min(len(retain), len(others))
        fitted = np.concatenate([retain[:size], others[:size]])[:, None]
        return float((judge.fit(fitted, [1] * size + [0] * size).predict(forget[:, None]) == 0).mean())

    relabelled = [Predictions(p.logits.flip(1), 1 - p.labels, p.index) for p in (sure(forget), gone)]
    kept = sure(test)
    mixed = Predictions(
        torch.cat([kept.logits, relabelled[1].logits]),
        torch.cat([kept.labels, relabelled[1].labels]),
        torch.arange(350),
    )
    found = attacked(relabelled[0], sure(retain), mixed)
    assert found.value == pytest.approx(share(test), abs=1 / 90)
    assert found == attacked(relabelled[0], sure(retain), kept)


@pytest.mark.parametrize(("a", "b", "seen"), [(60, 1, True), (2, 2, False)])
def test_forget_samples_that_look_unseen_give_a_high_value(a: float, b: float, seen: bool) -> None:
    found = attacked(sure(drawn(100, a, b, 0)), sure(drawn(900, 60, 1, 1)), sure(drawn(300, 2, 2, 2)))
    assert found.value is not None
    assert (found.value < 0.2) == seen
    assert (found.value > 0.8) == (not seen)


def test_the_samples_to_fit_by_are_capped() -> None:
    forget, retain, test = sure(drawn(50, 4, 2, 0)), sure(drawn(4000, 9, 1, 1)), sure(drawn(3000, 4, 2, 2))
    whole, part = attacked(forget, retain, test), attacked(forget, retain, test, most=500)
    assert part.value == pytest.approx(whole.value, abs=0.15)
    assert part == attacked(forget, retain, test, most=500)


@pytest.mark.parametrize(("retain", "test"), [(3, 50), (50, 3)])
def test_too_few_are_a_reason(retain: int, test: int) -> None:
    found = attacked(sure(drawn(9, 4, 2, 0)), sure(drawn(retain, 9, 1, 1)), sure(drawn(test, 4, 2, 2)))
    assert found.value is None
    assert "needed" in (found.reason or "")


def test_a_net_that_is_equally_sure_of_all_is_no_error() -> None:
    alike = sure(np.full(50, 0.5))
    assert attacked(alike, alike, alike).value in {0.0, 1.0}


def test_no_search_may_choose_by_it() -> None:
    assert UNSEEN.search("gap/mia_svc_confidence")
