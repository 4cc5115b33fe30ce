"""ROC curves of membership scores, and the difference of two models' AUCs with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from unlearn.attacks.roc import Floats, MembershipScores, auc
from unlearn.core.types import Measurement

RESAMPLES = 1000  # of the bootstrap
AT_ONCE = 50  # resamples in memory at once
POINTS = 60  # at most, of a curve
READABLE = 10  # a false-positive rate is reliable from this many false positives on

Ints = npt.NDArray[np.int64]


def true_positive_rates(scores: MembershipScores, false_positives: Ints) -> Floats:
    """Return the largest true-positive rate at each number of false positives.

    Args:
        scores: scores of members and of non-members.
        false_positives: the largest number of non-members mistaken for members, int64 [k].

    Returns:
        Rates float64 [k], 0-1.
    """
    falling = np.append(-np.sort(-scores.others), -np.inf)
    members = np.sort(scores.members)
    rates: Floats = 1 - np.searchsorted(members, falling[false_positives], "right") / len(members)
    return rates


def false_positive_counts(non_members: int) -> Ints:
    """Return counts from 0 to all non-members, evenly spaced on a logarithmic axis, int64 [k]."""
    return np.unique(np.append(0, np.geomspace(1, non_members, POINTS).round().astype(np.int64)))


def roc_curves(scores_by_model: Sequence[tuple[str, int, MembershipScores]]) -> dict[str, Any]:
    """Return the ROC curves of several models as plain JSON.

    Args:
        scores_by_model: role, seed and scores of each model, all for the same samples.
    """
    members, non_members = (len(scores) for scores in scores_by_model[0][2])
    counts = false_positive_counts(non_members)
    return {
        "members": members,
        "non_members": non_members,
        "fpr": [round(float(count) / non_members, 6) for count in counts],
        "models": [
            {"role": role, "seed": seed, "tpr": [round(float(rate), 6) for rate in true_positive_rates(scores, counts)]}
            for role, seed, scores in scores_by_model
        ],
    }


def auc_difference(subject: MembershipScores, references: Sequence[MembershipScores], seed: int) -> Measurement:
    """Measure the AUC of one model minus the mean AUC of other models.

    The interval is a percentile bootstrap: each resample draws members and non-members once for all models (paired).
    The standard error is the standard deviation of the resamples.

    Args:
        subject: scores of the model.
        references: scores of the others, for the same samples in the same order.
        seed: of the bootstrap.
    """
    value = auc(*subject) - float(np.mean([auc(*reference) for reference in references]))
    differences = _resampled_auc(subject, seed) - np.mean([_resampled_auc(other, seed) for other in references], axis=0)
    low, high = (float(end) for end in np.quantile(differences, [0.025, 0.975]))
    n = len(subject.members) + len(subject.others)
    return Measurement(value, n, float(differences.std(ddof=1)), (low, high))


def _resampled_auc(scores: MembershipScores, seed: int) -> Floats:
    """Return the AUC of each resample, float64 [RESAMPLES]."""
    return _cached_auc(*(np.asarray(values, np.float64).tobytes() for values in scores), seed)


@lru_cache(maxsize=16)
def _cached_auc(members: bytes, others: bytes, seed: int) -> Floats:
    """The same for scores as bytes, cached: a report compares each model twice, and runs of a grid share originals."""
    scores = MembershipScores(np.frombuffer(members), np.frombuffer(others))
    generator, parts = np.random.default_rng(seed), list[Floats]()
    for start in range(0, RESAMPLES, AT_ONCE):
        size = min(AT_ONCE, RESAMPLES - start)
        parts.append(_weighted_auc(scores, *(_draw_counts(generator, len(values), size) for values in scores)))
    return np.concatenate(parts)


def _draw_counts(generator: np.random.Generator, n: int, size: int) -> Floats:
    """Draw `size` resamples of `n` samples; returns how often each sample was drawn, float64 [size, n]."""
    drawn = generator.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
    return np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)


def _weighted_auc(scores: MembershipScores, member_counts: Floats, other_counts: Floats) -> Floats:
    """Return the AUC of each resample [k] from the counts of members [k, m] and non-members [k, n]; ties count half."""
    order = np.argsort(scores.others)
    below = np.cumsum(np.pad(other_counts[:, order], ((0, 0), (1, 0))), axis=1)
    ends = [np.searchsorted(scores.others[order], scores.members, side) for side in ("left", "right")]
    wins = sum(below[:, end] for end in ends) / 2
    areas: Floats = (wins * member_counts).sum(1) / (member_counts.sum(1) * other_counts.sum(1))
    return areas
