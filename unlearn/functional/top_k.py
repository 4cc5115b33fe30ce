"""Exactly the K largest entries of many tensors, which are never put together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Flat = npt.NDArray[np.floating]

SAMPLE = 1 << 15  # entries by which the K-th largest is bracketed
CHUNK = 1 << 17  # entries looked at together: they stay in the processor's cache
SLACK = 4.0  # standard deviations of a sample's quantile, on either side
NAN = "a score is NaN"


def largest(scores: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """Masks, bool in each tensor's shape, of exactly the `count` largest entries over all tensors of finite or
    infinite floats; ties go to the lower flat index (our choice).

    The trick: two entries of a sorted sample have the K-th largest between them, so that one pass counts what is
    above and picks out the few per cent between, of which alone the order matters. Masses of equal scores are never
    picked out: the sample has them at its ends.

    Raises:
        ValueError: a score is NaN, or `count` exceeds the number of entries.
    """
    n = sum(each.numel() for each in scores.values())
    if count > n:
        raise ValueError(f"{count} of {n} entries")
    if any(each.is_cuda for each in scores.values()):
        return _on_device(scores, n, count)
    flats = [_flat(each) for each in scores.values()]
    limit = np.inf if count == 0 else _kth(flats, n, count)
    masks = [np.greater(flat, limit) for flat in flats]
    _fill(flats, masks, limit, count - sum(map(np.count_nonzero, masks)))
    return {
        name: torch.from_numpy(mask).view(each.shape).to(each.device)
        for mask, (name, each) in zip(masks, scores.items(), strict=True)
    }


def _flat(scores: Tensor) -> Flat:
    """A view on the CPU where that is possible."""
    flat = scores.detach().reshape(-1).cpu()
    return (flat.float() if flat.dtype in {torch.bfloat16, torch.float16} else flat).numpy()


def _chunks(flat: Flat) -> Iterator[Flat]:
    return (flat[start : start + CHUNK] for start in range(0, len(flat), CHUNK))


def _kth(flats: list[Flat], n: int, count: int) -> float:
    """The `count`-th largest entry."""
    if n <= SAMPLE:
        return _sorted_out(flats, n, count)
    low, high = _bracket(flats, n, count / n)
    reached, between = 0, []
    for flat in flats:
        for chunk in _chunks(flat):
            if np.isnan(chunk.max()):
                raise ValueError(NAN)
            top = chunk >= high
            reached += int(np.count_nonzero(top))
            between.append(chunk[(chunk > low) > top])
    inside = np.concatenate(between)
    place = count - reached  # among those inside
    if 0 < place <= len(inside):
        return float(np.partition(inside, len(inside) - place)[len(inside) - place])
    if place <= 0 and count > _count(flats, np.greater, high):
        return high
    if place > len(inside) and place - len(inside) <= _count(flats, np.equal, low):
        return low
    return _sorted_out(flats, n, count)  # the sample misled: one time in ten thousand


def _sorted_out(flats: list[Flat], n: int, count: int) -> float:
    """The same by the slow way, which holds all entries once more."""
    whole = np.concatenate(flats)
    if np.isnan(whole.max()):
        raise ValueError(NAN)
    return float(np.partition(whole, n - count)[n - count])


def _bracket(flats: list[Flat], n: int, share: float) -> tuple[float, float]:
    """Two entries which have the one at that share from the top between them, almost surely."""
    index = np.sort(np.random.default_rng(0).integers(0, n, SAMPLE))
    ends = np.cumsum([len(flat) for flat in flats])
    cuts = np.searchsorted(index, ends)
    parts = zip(flats, ends, (0, *cuts), cuts, strict=False)
    drawn = np.sort(np.concatenate([flat[index[a:b] - (end - len(flat))] for flat, end, a, b in parts]))[::-1]
    first, last = _places(share)
    high = drawn[first] if first >= 0 else np.inf
    return float(drawn[last] if last < SAMPLE else -np.inf), float(high)


def _places(share: float) -> tuple[int, int]:
    """Where in the sorted sample the two stand; outside of it: at an end."""
    slack = SLACK * (SAMPLE * share * (1 - share)) ** 0.5 + SLACK
    return int(SAMPLE * share - slack), int(SAMPLE * share + slack)


def _count(flats: list[Flat], compare: np.ufunc, limit: float) -> int:
    return sum(int(np.count_nonzero(compare(chunk, limit))) for flat in flats for chunk in _chunks(flat))


def _fill(flats: list[Flat], masks: list[npt.NDArray[np.bool_]], limit: float, missing: int) -> None:
    """Also those `missing` entries that equal the limit and come first."""
    for flat, mask in zip(flats, masks, strict=True):
        for start in range(0, len(flat), CHUNK):
            if missing == 0:
                return
            ties = start + np.flatnonzero(flat[start : start + CHUNK] == limit)[:missing]
            mask[ties] = True
            missing -= len(ties)


def _on_device(scores: Mapping[str, Tensor], n: int, count: int) -> dict[str, Tensor]:
    """The same where the scores are, a pass over a tensor at a time: for GPUs, to which copying is what takes time."""
    flats = [each.detach().reshape(-1) for each in scores.values()]
    limit = math.inf if count == 0 else _kth_on_device(flats, n, count)
    masks = [flat > limit for flat in flats]
    missing = count - _total(masks)
    for flat, mask in zip(flats, masks, strict=True):
        if missing == 0:
            break
        ties = (flat == limit).nonzero()[:missing, 0]
        mask[ties] = True
        missing -= len(ties)
    return {name: mask.view(each.shape) for mask, (name, each) in zip(masks, scores.items(), strict=True)}


def _kth_on_device(flats: list[Tensor], n: int, count: int) -> float:
    """The `count`-th largest entry."""
    if any(bool(flat.isnan().any()) for flat in flats):
        raise ValueError(NAN)
    if n > SAMPLE:
        low, high = _bracket_on_device(flats, n, count / n)
        inside = torch.cat([flat[(flat > low) & (flat < high)] for flat in flats])
        reached = _total([flat >= high for flat in flats])
        if 0 < count - reached <= len(inside):
            return float(inside.sort(descending=True).values[count - reached - 1])
        if 0 <= reached - count < _total([flat == high for flat in flats]):
            return high
        if 0 < count - reached - len(inside) <= _total([flat == low for flat in flats]):
            return low
    return float(torch.cat(flats).sort(descending=True).values[count - 1])


def _bracket_on_device(flats: list[Tensor], n: int, share: float) -> tuple[float, float]:
    """As `_bracket`."""
    index = torch.from_numpy(np.sort(np.random.default_rng(0).integers(0, n, SAMPLE)))
    ends = torch.tensor([flat.numel() for flat in flats]).cumsum(0)
    cuts = [0, *torch.searchsorted(index, ends).tolist()]
    starts = [0, *ends.tolist()]
    parts = [
        flat[(index[a:b] - start).to(flat.device)]
        for flat, start, a, b in zip(flats, starts, cuts, cuts[1:], strict=False)
    ]
    drawn = torch.cat(parts).sort(descending=True).values
    first, last = _places(share)
    low, high = (float(drawn[place]) if 0 <= place < SAMPLE else None for place in (last, first))
    return -math.inf if low is None else low, math.inf if high is None else high


def _total(masks: list[Tensor]) -> int:
    """How many are true."""
    return int(torch.stack([mask.count_nonzero() for mask in masks]).sum())
