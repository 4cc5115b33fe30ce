"""AUC, true-positive rates and balanced accuracy of membership scores, with 95 % intervals."""

from __future__ import annotations

from collections.abc import Callable
from math import hypot
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from unlearn.core.types import Measurement

RATES = {"tpr_at_1pct_fpr": 0.01, "tpr_at_01pct_fpr": 0.001}
RANKING = ("auc", *RATES)
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Interval = tuple[float, float]


class MembershipScores(NamedTuple):
    """Scores of members float64 [m] and of non-members float64 [n]; a high score indicates membership."""

    members: Floats
    others: Floats


def measure_ranking(members: Floats, others: Floats, resamples: int, seed: int) -> dict[str, Measurement]:
    """Measure `auc` and the `RATES` of scores.

    Args:
        members: scores [m]; a high score indicates membership.
        others: scores of non-members [n].
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        Measurements by the names of `RANKING`.
    """
    area = Measurement(
        auc(members, others),
        len(members) + len(others),
        interval=bootstrap_interval(_resampled_auc(members, others), len(members), len(others), resamples, seed),
    )
    return {"auc": area} | {name: tpr_at(members, others, rate, resamples, seed) for name, rate in RATES.items()}


def auc(members: Floats, others: Floats) -> float:
    """Return the probability that a member scores above a non-member; ties count half."""
    others = np.sort(others)
    below = np.searchsorted(others, members, "left") + np.searchsorted(others, members, "right")
    return float(below.mean() / (2 * len(others)))


def _resampled_auc(members: Floats, others: Floats) -> Callable[[Ints, Ints], float]:
    """Return a function that computes `auc` of drawn samples, bit for bit, but sorts the scores only once."""
    order = np.argsort(others)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(others))
    left, right = (np.searchsorted(others[order], members, side) for side in ("left", "right"))

    def area(inside: Ints, outside: Ints) -> float:
        below = np.append(0, np.cumsum(np.bincount(rank[outside], minlength=len(others))))
        wins = below[left[inside]] + below[right[inside]]
        return float(wins.mean() / (2 * len(others)))

    return area


def tpr_at(members: Floats, others: Floats, rate: float, resamples: int, seed: int) -> Measurement:
    """Return the largest true-positive rate while at most `rate` of the non-members are mistaken for members.

    It is null with fewer than 10 / rate non-members. The interval is the union of two [ours]: the bootstrap's, which
    includes that the threshold is estimated, but has no width if no member or every member is identified; and that of
    Clopper and Pearson, which takes the threshold as given, and always has a width.

    Args:
        members: scores [m]; a high score indicates membership.
        others: scores of non-members [n].
        rate: the largest false-positive rate, 0-1.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    if len(others) < 10 / rate:
        return Measurement(None, len(others), reason=f"{len(others)} non-members, fewer than {10 / rate:.0f}")
    value = _tpr(members, others, rate)
    exact = clopper_pearson(round(value * len(members)), len(members))
    low, high = bootstrap_interval(
        lambda inside, outside: _tpr(members[inside], others[outside], rate), len(members), len(others), resamples, seed
    )
    return Measurement(value, len(members), interval=(min(low, exact[0]), max(high, exact[1])))


def _tpr(members: Floats, others: Floats, rate: float) -> float:
    mistaken = int(rate * len(others))
    threshold = -np.partition(-others, mistaken)[mistaken]
    return float((members > threshold).mean())


def balanced_accuracy(recall: float, members: int, specificity: float, others: int) -> Measurement:
    """Return the mean of recall and specificity, with an interval.

    The interval combines those of Clopper and Pearson for both rates (Newcombe 1998), as if a single classifier had
    judged each sample once: rates that are means over refitted classifiers vary less, but with the same samples [ours].

    Args:
        recall: the fraction of members judged correctly, 0-1.
        members: the number of members.
        specificity: the fraction of non-members judged correctly, 0-1.
        others: the number of non-members.
    """
    value = (recall + specificity) / 2
    pairs = [(recall, *clopper_pearson(recall * members, members))]
    pairs += [(specificity, *clopper_pearson(specificity * others, others))]
    below = hypot(*(rate - low for rate, low, _ in pairs))
    above = hypot(*(high - rate for rate, _, high in pairs))
    return Measurement(value, members + others, interval=(value - below / 2, value + above / 2))


def bootstrap_interval(
    statistic: Callable[[Ints, Ints], float], members: int, others: int, resamples: int, seed: int
) -> Interval:
    """Return the 95 % percentile bootstrap interval of a statistic.

    Args:
        statistic: from the positions of the drawn members int64 [members] and non-members int64 [others].
        members: the number of members; they are resampled among themselves.
        others: the number of non-members; they are resampled among themselves.
        resamples: the number of draws.
        seed: of the draws.
    """
    generator = np.random.default_rng(seed)
    values = [
        statistic(generator.integers(0, members, members), generator.integers(0, others, others))
        for _ in range(resamples)
    ]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def clopper_pearson(successes: float, n: int) -> Interval:
    """Return the exact 95 % interval of `successes` / `n` (Clopper and Pearson 1934); successes may be fractional."""
    from scipy.special import betaincinv

    low = betaincinv(successes, n - successes + 1, 0.025) if successes > 0 else 0.0
    high = betaincinv(successes + 1, n - successes, 0.975) if successes < n else 1.0
    return float(low), float(high)
