"""Membership inference by logistic regression on the loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unlearn.attacks.members import forget_and_peers, judge, too_few
from unlearn.checks import at_least, share
from unlearn.evidence import Evidence, Metric
from unlearn.seeding import stream_seed
from unlearn.statistics import cross_entropy
from unlearn.types import Measurement, Predictions, Subset

RATES = {"tpr_at_1pct_fpr": 0.01, "tpr_at_01pct_fpr": 0.001}
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Logistic(Metric):
    """Can an attacker tell the forget set (members) from the holdout set (non-members) by the loss?

    `mia_logistic_auc` (0-1) ranks by the loss, a low one speaking for membership, whatever the model; its interval
    is a percentile bootstrap over samples. `mia_logistic_tpr_at_1pct_fpr` and `mia_logistic_tpr_at_01pct_fpr` use
    the same ranking, and are null with fewer than 10 / rate non-members. `mia_logistic_balanced_accuracy` (0-1) is
    that of a logistic regression fitted on one part of the losses and scored on the rest, the mean over `splits`
    stratified splits, not the best of them. (The protocol is our choice.)

    Under class-wise forgetting non-members are the holdout samples of the forgotten class. Under SPD-GAN they are
    moved by the same generator, which was fitted to the forget set and moves it further: the reference is the
    retrained model's value, never 0.5.
    """

    subsets = (Subset.FORGET, Subset.HOLDOUT)

    splits: int = at_least(1, 10)
    test_share: float = share(0.5, zero=False)  # of the samples, scored in each split
    bootstrap: int = at_least(100, 1000)  # resamples for the interval

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        members, others = forget_and_peers(evidence.subject)
        seed = stream_seed(evidence.seed, "logistic") % 2**32
        measured = by_loss(members, others, self.splits, self.test_share, self.bootstrap, seed)
        return {f"mia_logistic_{name}": value for name, value in measured.items()}


def by_loss(
    members: Predictions, others: Predictions, splits: int, test_share: float, bootstrap: int, seed: int
) -> dict[str, Measurement]:
    """`auc`, `balanced_accuracy` and the `RATES`, as `Logistic` describes them; null with a reason if too few."""
    inside, outside = cross_entropy(members), cross_entropy(others)
    reason = too_few(inside, outside, min(test_share, 1 - test_share))
    n = len(inside) + len(outside)
    if reason:
        return {name: Measurement(None, n, reason=reason) for name in ("auc", "balanced_accuracy", *RATES)}
    losses = np.concatenate([inside.numpy(), outside.numpy()])
    truth = np.arange(n) < len(inside)
    area = auc(-losses[truth], -losses[~truth])
    return {
        "auc": Measurement(area, n, interval=bootstrap_auc(truth, -losses, bootstrap, seed)),
        "balanced_accuracy": Measurement(_balanced_accuracy(losses, truth, splits, test_share, seed), n),
        **{name: tpr_at(truth, -losses, rate) for name, rate in RATES.items()},
    }


def _balanced_accuracy(losses: Floats, truth: Bools, splits: int, test_share: float, seed: int) -> float:
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import StratifiedShuffleSplit

    parts = StratifiedShuffleSplit(splits, test_size=test_share, random_state=seed).split(losses, truth)
    return float(
        np.mean(
            [
                balanced_accuracy_score(
                    truth[scored], judge().fit(losses[fitted, None], truth[fitted]).predict(losses[scored, None])
                )
                for fitted, scored in parts
            ]
        )
    )


def tpr_at(truth: Bools, scores: Floats, rate: float) -> Measurement:
    """Largest share of members found while at most `rate` of the non-members are mistaken for members."""
    others = np.sort(scores[~truth])[::-1]
    if len(others) < 10 / rate:
        return Measurement(None, len(others), reason=f"{len(others)} non-members, fewer than {10 / rate:.0f}")
    threshold = others[int(rate * len(others))]
    return Measurement(float((scores[truth] > threshold).mean()), len(truth))


def bootstrap_auc(truth: Bools, scores: Floats, resamples: int, seed: int) -> tuple[float, float]:
    """95 % percentile interval of the AUC; members and non-members are resampled each among themselves."""
    generator = np.random.default_rng(seed)
    members, others = scores[truth], scores[~truth]
    values = [
        auc(generator.choice(members, len(members)), generator.choice(others, len(others))) for _ in range(resamples)
    ]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def auc(members: Floats, others: Floats) -> float:
    """Probability that a member scores above a non-member, ties counted half."""
    others = np.sort(others)
    below = np.searchsorted(others, members, "left") + np.searchsorted(others, members, "right")
    return float(below.mean() / (2 * len(others)))
