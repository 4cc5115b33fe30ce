"""Masks of exactly K random entries over many tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

LEVELS = 1 << 16  # values of a 16-bit draw: each 64 random bits give four draws
CHUNK = 1 << 17  # entries drawn at a time: they stay in the processor's cache
SLACK = 8.0  # standard deviations, in either direction, of the number of entries below a level


def random_k_mask(like: Mapping[str, Tensor], count: int, seed: int) -> dict[str, Tensor]:
    """Select exactly `count` random entries over all tensors.

    Every set of `count` entries is equally likely. The sets of one seed are nested: a smaller one is part of every
    larger one [ours].

    Method: each entry draws a 16-bit level, and the entries with the lowest levels are selected. The level that
    separates them is known in advance up to a small interval, so one pass decides almost all entries. Only the few
    entries in the interval are sorted; equal levels are ordered by a second draw from a stream of that level.

    Args:
        like: the tensors by name; only their shapes and devices matter.
        count: how many entries to select.
        seed: the seed of the draws.

    Returns:
        Masks by name, bool in each tensor's shape, on its device.

    Raises:
        ValueError: `count` exceeds the number of entries.
    """
    n = sum(tensor.numel() for tensor in like.values())
    if count > n:
        raise ValueError(f"expected a count of at most {n} entries, got {count}")
    flat_mask = torch.from_numpy(_select(n, count, seed, SLACK))
    parts = torch.split(flat_mask, [tensor.numel() for tensor in like.values()])
    return {
        name: part.view(tensor.shape).to(tensor.device)
        for part, (name, tensor) in zip(parts, like.items(), strict=True)
    }


def _select(n: int, count: int, seed: int, slack: float) -> npt.NDArray[np.bool_]:
    """Mask of `count` of n entries, bool [n]."""
    mask = np.empty(n, dtype=np.bool_)
    low, high = _level_interval(n, count, slack)
    undecided_indices, undecided_levels = [np.empty(0, np.int64)], [np.empty(0, np.uint16)]
    for start, levels in _draw_levels(n, seed):
        below = np.less(levels, low, out=mask[start : start + len(levels)])
        undecided = np.flatnonzero((levels <= high) > below)
        undecided_indices.append(start + undecided)
        undecided_levels.append(levels[undecided])
    index, missing = np.concatenate(undecided_indices), count - int(np.count_nonzero(mask))
    if not 0 <= missing <= len(index):  # one seed in 10^15
        return _select(n, count, seed, 2.0 * n)  # an interval that holds every entry
    mask[index[_lowest(np.concatenate(undecided_levels), missing, seed)]] = True
    return mask


def _level_interval(n: int, count: int, slack: float) -> tuple[int, int]:
    """Two levels that almost surely enclose the level of the last selected entry."""
    fraction = count / n if n else 0.0
    spread = slack * (fraction * (1 - fraction) / max(n, 1)) ** 0.5 + 1 / LEVELS if count else 0.0
    low, high = (LEVELS * max(0.0, fraction - spread), LEVELS * min(1.0, fraction + spread))
    return int(low), min(LEVELS - 1, int(high))


def _draw_levels(n: int, seed: int) -> Iterator[tuple[int, npt.NDArray[np.uint16]]]:
    """Yield the levels of n entries in chunks: the index of a chunk's first entry, and its levels."""
    bits = np.random.PCG64(seed)  # numpy guarantees that this stream never changes
    for start in range(0, n, CHUNK):
        yield start, bits.random_raw(CHUNK // 4).astype("<u8", copy=False).view("<u2")[: n - start]


def _lowest(levels: npt.NDArray[np.uint16], count: int, seed: int) -> npt.NDArray[np.int64]:
    """Indices of the `count` lowest levels; a stream of its own orders equal ones."""
    if count == 0:
        return np.empty(0, np.int64)
    threshold = np.partition(levels, count - 1)[count - 1]
    below, equal = np.flatnonzero(levels < threshold), np.flatnonzero(levels == threshold)
    # [seed, 0] would be the stream of the levels themselves
    order = np.random.PCG64([seed, 1 + int(threshold)]).random_raw(len(equal)).argsort(kind="stable")
    return np.concatenate([below, equal[order[: count - len(below)]]])
