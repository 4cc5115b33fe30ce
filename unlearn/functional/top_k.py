"""Masks of exactly the K largest entries over many tensors, without concatenating them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Flat = npt.NDArray[np.floating]

SAMPLE = 1 << 15  # entries in the sample that brackets the K-th largest
CHUNK = 1 << 17  # entries compared at a time: they stay in the processor's cache
SLACK = 4.0  # standard deviations of a sample's quantile, in either direction
NAN = "a score is NaN"


def top_k_mask(scores: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """Select exactly the `count` largest entries over all tensors; ties go to the lower flat index (our choice).

    Method: two entries of a sorted sample bracket the K-th largest entry. One pass counts the entries above the
    bracket and collects the few per cent inside it; only their order matters. Large groups of equal scores are never
    collected: they then lie at an end of the bracket.

    Args:
        scores: float tensors by name, finite or infinite.
        count: how many entries to select.

    Returns:
        Masks by name, bool in each tensor's shape, on its device.

    Raises:
        ValueError: a score is NaN, or `count` exceeds the number of entries.
    """
    n = sum(tensor.numel() for tensor in scores.values())
    if count > n:
        raise ValueError(f"expected a count of at most {n} entries, got {count}")
    if any(tensor.is_cuda for tensor in scores.values()):
        return _top_k_mask_on_device(scores, n, count)
    flats = [_flatten(tensor) for tensor in scores.values()]
    threshold = np.inf if count == 0 else _kth_largest(flats, n, count)
    masks = [np.greater(flat, threshold) for flat in flats]
    _add_ties(flats, masks, threshold, count - sum(map(np.count_nonzero, masks)))
    return {
        name: torch.from_numpy(mask).view(tensor.shape).to(tensor.device)
        for mask, (name, tensor) in zip(masks, scores.items(), strict=True)
    }


def _flatten(scores: Tensor) -> Flat:
    """The scores as a flat array on the CPU, a view where possible."""
    flat = scores.detach().reshape(-1).cpu()
    return (flat.float() if flat.dtype in {torch.bfloat16, torch.float16} else flat).numpy()


def _chunks(flat: Flat) -> Iterator[Flat]:
    return (flat[start : start + CHUNK] for start in range(0, len(flat), CHUNK))


def _kth_largest(flats: list[Flat], n: int, count: int) -> float:
    """The `count`-th largest entry."""
    if n <= SAMPLE:
        return _kth_largest_of_concatenation(flats, n, count)
    low, high = _bracket(flats, n, count / n)
    above, chunks_inside = 0, []
    for flat in flats:
        for chunk in _chunks(flat):
            if np.isnan(chunk.max()):
                raise ValueError(NAN)
            top = chunk >= high
            above += int(np.count_nonzero(top))
            chunks_inside.append(chunk[(chunk > low) > top])
    inside = np.concatenate(chunks_inside)
    rank = count - above  # among the entries inside the bracket
    if 0 < rank <= len(inside):
        return float(np.partition(inside, len(inside) - rank)[len(inside) - rank])
    if rank <= 0 and count > _count(flats, np.greater, high):
        return high
    if rank > len(inside) and rank - len(inside) <= _count(flats, np.equal, low):
        return low
    return _kth_largest_of_concatenation(flats, n, count)  # the bracket missed it: once in ten thousand times


def _kth_largest_of_concatenation(flats: list[Flat], n: int, count: int) -> float:
    """As `_kth_largest`, slower and with a copy of all entries."""
    entries = np.concatenate(flats)
    if np.isnan(entries.max()):
        raise ValueError(NAN)
    return float(np.partition(entries, n - count)[n - count])


def _bracket(flats: list[Flat], n: int, fraction: float) -> tuple[float, float]:
    """Two entries that almost surely enclose the entry at that fraction from the top."""
    index = np.sort(np.random.default_rng(0).integers(0, n, SAMPLE))
    ends = np.cumsum([len(flat) for flat in flats])
    cuts = np.searchsorted(index, ends)
    parts = zip(flats, ends, (0, *cuts), cuts, strict=False)
    sample = np.sort(np.concatenate([flat[index[a:b] - (end - len(flat))] for flat, end, a, b in parts]))[::-1]
    first, last = _bracket_ranks(fraction)
    high = sample[first] if first >= 0 else np.inf
    return float(sample[last] if last < SAMPLE else -np.inf), float(high)


def _bracket_ranks(fraction: float) -> tuple[int, int]:
    """Ranks of the two enclosing entries in the sorted sample; one outside of the sample stands for infinity."""
    slack = SLACK * (SAMPLE * fraction * (1 - fraction)) ** 0.5 + SLACK
    return int(SAMPLE * fraction - slack), int(SAMPLE * fraction + slack)


def _count(flats: list[Flat], compare: np.ufunc, threshold: float) -> int:
    return sum(int(np.count_nonzero(compare(chunk, threshold))) for flat in flats for chunk in _chunks(flat))


def _add_ties(flats: list[Flat], masks: list[npt.NDArray[np.bool_]], threshold: float, missing: int) -> None:
    """Add the first `missing` entries that equal the threshold to the masks."""
    for flat, mask in zip(flats, masks, strict=True):
        for start in range(0, len(flat), CHUNK):
            if missing == 0:
                return
            ties = start + np.flatnonzero(flat[start : start + CHUNK] == threshold)[:missing]
            mask[ties] = True
            missing -= len(ties)


def _top_k_mask_on_device(scores: Mapping[str, Tensor], n: int, count: int) -> dict[str, Tensor]:
    """As `top_k_mask`, on the scores' own GPU: copying them to the CPU would take most of the time."""
    flats = [tensor.detach().reshape(-1) for tensor in scores.values()]
    threshold = math.inf if count == 0 else _kth_largest_on_device(flats, n, count)
    masks = [flat > threshold for flat in flats]
    missing = count - _count_true(masks)
    for flat, mask in zip(flats, masks, strict=True):
        if missing == 0:
            break
        ties = (flat == threshold).nonzero()[:missing, 0]
        mask[ties] = True
        missing -= len(ties)
    return {name: mask.view(tensor.shape) for mask, (name, tensor) in zip(masks, scores.items(), strict=True)}


def _kth_largest_on_device(flats: list[Tensor], n: int, count: int) -> float:
    """The `count`-th largest entry."""
    if any(bool(flat.isnan().any()) for flat in flats):
        raise ValueError(NAN)
    if n > SAMPLE:
        low, high = _bracket_on_device(flats, n, count / n)
        inside = torch.cat([flat[(flat > low) & (flat < high)] for flat in flats])
        above = _count_true([flat >= high for flat in flats])
        if 0 < count - above <= len(inside):
            return float(inside.sort(descending=True).values[count - above - 1])
        if 0 <= above - count < _count_true([flat == high for flat in flats]):
            return high
        if 0 < count - above - len(inside) <= _count_true([flat == low for flat in flats]):
            return low
    return float(torch.cat(flats).sort(descending=True).values[count - 1])


def _bracket_on_device(flats: list[Tensor], n: int, fraction: float) -> tuple[float, float]:
    """As `_bracket`, on a GPU."""
    index = torch.from_numpy(np.sort(np.random.default_rng(0).integers(0, n, SAMPLE)))
    ends = torch.tensor([flat.numel() for flat in flats]).cumsum(0)
    cuts = [0, *torch.searchsorted(index, ends).tolist()]
    starts = [0, *ends.tolist()]
    parts = [
        flat[(index[a:b] - start).to(flat.device)]
        for flat, start, a, b in zip(flats, starts, cuts, cuts[1:], strict=False)
    ]
    sample = torch.cat(parts).sort(descending=True).values
    first, last = _bracket_ranks(fraction)
    low, high = (float(sample[rank]) if 0 <= rank < SAMPLE else None for rank in (last, first))
    return -math.inf if low is None else low, math.inf if high is None else high


def _count_true(masks: list[Tensor]) -> int:
    return int(torch.stack([mask.count_nonzero() for mask in masks]).sum())
