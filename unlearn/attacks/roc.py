"""What a measure_ranking of members before non-members, or a judgement of each, is worth; with 95 % intervals."""

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
    """Scores of members float64 [m] and of non-members float64 [n], a high one speaking for membership."""

    members: Floats
    others: Floats


def measure_ranking(members: Floats, others: Floats, resamples: int, seed: int) -> dict[str, Measurement]:
    """`auc` and the `RATES` of scores [m] and [n], a high one speaking for membership."""
    area = Measurement(
        auc(members, others),
        len(members) + len(others),
        interval=bootstrap(_auc_of_drawn(members, others), len(members), len(others), resamples, seed),
    )
    return {"auc": area} | {name: tpr_at(members, others, rate, resamples, seed) for name, rate in RATES.items()}


def auc(members: Floats, others: Floats) -> float:
    """Probability that a member scores above a non-member, ties counted half."""
    others = np.sort(others)
    below = np.searchsorted(others, members, "left") + np.searchsorted(others, members, "right")
    return float(below.mean() / (2 * len(others)))


def _auc_of_drawn(members: Floats, others: Floats) -> Callable[[Ints, Ints], float]:
    """`auc` of samples drawn from these, bit for bit: their order is sorted out once, and each draw only counted."""
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
    """Largest share of members found while at most `rate` of the non-members are mistaken for members.

    Null with fewer than 10 / rate non-members. The interval spans two [ours]: the bootstrap's, which knows that the
    threshold is estimated but is a point where no member or every member is found, and Clopper and Pearson's, which
    takes the threshold as given and is never one.
    """
    if len(others) < 10 / rate:
        return Measurement(None, len(others), reason=f"{len(others)} non-members, fewer than {10 / rate:.0f}")
    value = _tpr(members, others, rate)
    given = clopper_pearson(round(value * len(members)), len(members))
    low, high = bootstrap(
        lambda inside, outside: _tpr(members[inside], others[outside], rate), len(members), len(others), resamples, seed
    )
    return Measurement(value, len(members), interval=(min(low, given[0]), max(high, given[1])))


def _tpr(members: Floats, others: Floats, rate: float) -> float:
    mistaken = int(rate * len(others))
    threshold = -np.partition(-others, mistaken)[mistaken]
    return float((members > threshold).mean())


def balanced_accuracy(recall: float, members: int, specificity: float, others: int) -> Measurement:
    """Mean of the shares of `members` and of `others` that are judged right, 0-1.

    Its interval combines Clopper and Pearson's of both shares (Newcombe 1998), as if a single judge had judged each
    sample once: shares that are means over refitted judges vary less, but by the same samples [ours].
    """
    value = (recall + specificity) / 2
    pairs = [(recall, *clopper_pearson(recall * members, members))]
    pairs += [(specificity, *clopper_pearson(specificity * others, others))]
    below, above = (
        hypot(*(share - low for share, low, _ in pairs)),
        hypot(*(high - share for share, _, high in pairs)),
    )
    return Measurement(value, members + others, interval=(value - below / 2, value + above / 2))


def bootstrap(
    statistic: Callable[[Ints, Ints], float], members: int, others: int, resamples: int, seed: int
) -> Interval:
    """95 % percentile interval of a statistic of drawn samples, given which were drawn: int64 [members] and [others].

    Members and non-members are resampled each among themselves.
    """
    generator = np.random.default_rng(seed)
    values = [
        statistic(generator.integers(0, members, members), generator.integers(0, others, others))
        for _ in range(resamples)
    ]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def clopper_pearson(found: float, n: int) -> Interval:
    """Exact 95 % interval of a share `found` / `n` (Clopper and Pearson 1934); also between whole numbers."""
    from scipy.special import betaincinv

    low = betaincinv(found, n - found + 1, 0.025) if found > 0 else 0.0
    high = betaincinv(found + 1, n - found, 0.975) if found < n else 1.0
    return float(low), float(high)
