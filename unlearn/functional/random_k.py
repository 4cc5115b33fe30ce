"""Exactly K entries of many tensors, by chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

LEVELS = 1 << 16  # of a draw: four come from each 64 random bits
CHUNK = 1 << 17  # entries drawn together: they stay in the processor's cache
SLACK = 8.0  # standard deviations of how many entries lie under a level, on either side


def drawn(like: Mapping[str, Tensor], count: int, seed: int) -> dict[str, Tensor]:
    """Masks, bool in each tensor's shape, of exactly `count` entries over all tensors; every set of so many is
    equally likely, and one seed's sets grow with `count`, each inside the next [ours].

    The trick: each entry draws a level, and the lowest are taken. Where the border must lie is known beforehand, so
    that one pass decides nearly all, and only the few entries around it are put into order, by a second draw of
    their level's own stream where levels are equal.

    Raises:
        ValueError: `count` exceeds the number of entries.
    """
    n = sum(each.numel() for each in like.values())
    if count > n:
        raise ValueError(f"{count} of {n} entries")
    mask = _taken(n, count, seed, SLACK)
    parts = torch.split(torch.from_numpy(mask), [each.numel() for each in like.values()])
    return {name: part.view(each.shape).to(each.device) for part, (name, each) in zip(parts, like.items(), strict=True)}


def _taken(n: int, count: int, seed: int, slack: float) -> npt.NDArray[np.bool_]:
    """Which of n entries are taken."""
    mask = np.empty(n, dtype=np.bool_)
    low, high = _border(n, count, slack)
    near, levels = [np.empty(0, np.int64)], [np.empty(0, np.uint16)]
    for start, drawn_here in _levels(n, seed):
        under = np.less(drawn_here, low, out=mask[start : start + len(drawn_here)])
        undecided = np.flatnonzero((drawn_here <= high) > under)
        near.append(start + undecided)
        levels.append(drawn_here[undecided])
    index, missing = np.concatenate(near), count - int(np.count_nonzero(mask))
    if not 0 <= missing <= len(index):  # one seed in 10^15
        return _taken(n, count, seed, 2.0 * n)  # every entry is near
    mask[index[_lowest(np.concatenate(levels), missing, seed)]] = True
    return mask


def _border(n: int, count: int, slack: float) -> tuple[int, int]:
    """Levels between which the last entry that is taken has its own, almost surely."""
    share = count / n if n else 0.0
    spread = slack * (share * (1 - share) / max(n, 1)) ** 0.5 + 1 / LEVELS if count else 0.0
    low, high = (LEVELS * max(0.0, share - spread), LEVELS * min(1.0, share + spread))
    return int(low), min(LEVELS - 1, int(high))


def _levels(n: int, seed: int) -> Iterator[tuple[int, npt.NDArray[np.uint16]]]:
    """Where a chunk starts, and its draws."""
    source = np.random.PCG64(seed)  # numpy keeps its streams the same for ever
    for start in range(0, n, CHUNK):
        yield start, source.random_raw(CHUNK // 4).astype("<u8", copy=False).view("<u2")[: n - start]


def _lowest(levels: npt.NDArray[np.uint16], count: int, seed: int) -> npt.NDArray[np.int64]:
    """Places of the `count` lowest; equal ones in the order of a stream of their own."""
    if count == 0:
        return np.empty(0, np.int64)
    border = np.partition(levels, count - 1)[count - 1]
    under, equal = np.flatnonzero(levels < border), np.flatnonzero(levels == border)
    # [seed, 0] would be the stream of the levels themselves
    order = np.random.PCG64([seed, 1 + int(border)]).random_raw(len(equal)).argsort(kind="stable")
    return np.concatenate([under, equal[order[: count - len(under)]]])
