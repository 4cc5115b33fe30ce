"""What scores of an attack say beyond its AUC: its ROC curve, and how far apart two models' AUCs are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from unlearn.attacks.roc import Floats, MembershipScores, auc
from unlearn.core.types import Measurement

RESAMPLES = 1000  # of the bootstrap
AT_ONCE = 50  # resamples, so that they fit the memory
POINTS = 60  # of a curve, at most
READABLE = 10  # non-members that must be mistaken before a rate of them is read

Ints = npt.NDArray[np.int64]


def curve(ranked: MembershipScores, mistaken: Ints) -> Floats:
    """Largest share of members found while at most `mistaken` int64 [k] non-members are taken for some, [k]; 0-1."""
    falling = np.append(-np.sort(-ranked.others), -np.inf)
    members = np.sort(ranked.members)
    found: Floats = 1 - np.searchsorted(members, falling[mistaken], "right") / len(members)
    return found


def mistakes(others: int) -> Ints:
    """Counts from 0 to all non-members, evenly spread over a logarithmic axis."""
    return np.unique(np.append(0, np.geomspace(1, others, POINTS).round().astype(np.int64)))


def as_curves(rankings: Sequence[tuple[str, int, MembershipScores]]) -> dict[str, Any]:
    """Curves of models, given as role, seed and scores of the same samples, as plain JSON."""
    members, others = (len(each) for each in rankings[0][2])
    counts = mistakes(others)
    return {
        "members": members,
        "non_members": others,
        "fpr": [round(float(count) / others, 6) for count in counts],
        "models": [
            {"role": role, "seed": seed, "tpr": [round(float(share), 6) for share in curve(ranked, counts)]}
            for role, seed, ranked in rankings
        ],
    }


def area_difference(mine: MembershipScores, theirs: Sequence[MembershipScores], seed: int) -> Measurement:
    """AUC of one model minus the mean of others', of the same members and non-members in the same order.

    Percentile bootstrap: each resample draws samples once, for all models (paired; members and non-members each among
    themselves). The standard error is the resamples' deviation.
    """
    members, others = len(mine.members), len(mine.others)
    value = auc(*mine) - float(np.mean([auc(*each) for each in theirs]))
    drawn = _resampled(mine, seed) - np.mean([_resampled(each, seed) for each in theirs], axis=0)
    low, high = (float(each) for each in np.quantile(drawn, [0.025, 0.975]))
    return Measurement(value, members + others, float(drawn.std(ddof=1)), (low, high))


def _resampled(ranked: MembershipScores, seed: int) -> Floats:
    """AUC of each resample, [RESAMPLES]."""
    return _held(*(np.asarray(scores, np.float64).tobytes() for scores in ranked), seed)


@lru_cache(maxsize=16)
def _held(members: bytes, others: bytes, seed: int) -> Floats:
    """Of scores by their bytes: a report compares each model with two others, a grid has originals in common."""
    ranked = MembershipScores(np.frombuffer(members), np.frombuffer(others))
    generator, found = np.random.default_rng(seed), list[Floats]()
    for start in range(0, RESAMPLES, AT_ONCE):
        size = min(AT_ONCE, RESAMPLES - start)
        found.append(_areas(ranked, *(_counts(generator, len(scores), size) for scores in ranked)))
    return np.concatenate(found)


def _counts(generator: np.random.Generator, n: int, size: int) -> Floats:
    """How often each of `n` samples is drawn, in `size` resamples [size, n]."""
    drawn = generator.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
    return np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)


def _areas(ranked: MembershipScores, members: Floats, others: Floats) -> Floats:
    """AUC of each resample, by the counts of members [k, m] and of non-members [k, n]; ties count half."""
    order = np.argsort(ranked.others)
    below = np.cumsum(np.pad(others[:, order], ((0, 0), (1, 0))), axis=1)
    ends = [np.searchsorted(ranked.others[order], ranked.members, side) for side in ("left", "right")]
    wins = sum(below[:, end] for end in ends) / 2
    found: Floats = (wins * members).sum(1) / (members.sum(1) * others.sum(1))
    return found
