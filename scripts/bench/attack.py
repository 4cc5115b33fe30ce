"""Compares AUC, TPR at low FPR and the logistic attack on 4,000 scores with fitting and applying one RBF SVM."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.svm import SVC
from table import Row, compare, run

from unlearn.attacks.logistic import judge_members
from unlearn.attacks.members import loss_classifier
from unlearn.attacks.roc import RATES, _tpr, auc, measure_ranking

N = 2000  # members, and as many non-members


def rows() -> Iterator[Row]:
    """Time the numbers alone, and with the intervals and splits that a run computes."""
    draws = np.random.default_rng(0)
    members, others = draws.normal(1, 1, N), draws.normal(0, 1, N)
    scores, truth = np.concatenate([members, others]), np.arange(2 * N) < N
    check(scores, truth)

    def ours() -> None:
        auc(members, others)
        for rate in RATES.values():
            _tpr(members, others, rate)
        loss_classifier().fit(scores[:, None], truth).predict(scores[:, None])

    def whole() -> None:
        measure_ranking(members, others, 1000, 0)
        judge_members(scores, truth, 10, 0.5, 0)

    def rival() -> None:
        SVC(C=3, gamma="auto").fit(scores[:, None], truth).predict(scores[:, None])

    pair = compare(ours, rival, clock=time.process_time)
    yield Row(
        "AUC, TPR, logistic attack",
        "an RBF machine",
        1e3 * pair.ours,
        1e3 * pair.rival,
        "ms",
        pair.ratio,
        20.0,
        clock="cpu",
    )
    pair, note = compare(whole, rival, clock=time.process_time), "no goal: for orientation"
    name = "the same, 1000 resamples, 10 splits"
    yield Row(name, "an RBF machine", 1e3 * pair.ours, 1e3 * pair.rival, "ms", pair.ratio, clock="cpu", note=note)


def check(scores: np.ndarray, truth: np.ndarray) -> None:
    """Check that AUC and TPR equal those of scikit-learn.

    Raises:
        AssertionError: They differ.
    """
    members, others = scores[truth], scores[~truth]
    np.testing.assert_allclose(auc(members, others), roc_auc_score(truth, scores), atol=1e-12)
    wrong, right, _ = roc_curve(truth, scores, drop_intermediate=False)
    for rate in RATES.values():
        np.testing.assert_allclose(_tpr(members, others, rate), right[wrong <= rate].max(), atol=1e-12)


if __name__ == "__main__":
    run(__file__, rows())
