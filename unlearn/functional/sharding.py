"""Shards and slices: which records are in which, and how much of the training a request repeats."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from unlearn.core.random_streams import stream


def assign_slices(records: Tensor, shards: int, slices: int, seed: int) -> Tensor:
    """Assign every record to a slice of a shard at random; slices differ by at most one record.

    Args:
        records: indices int64 [n] of all records, trained on or not. A record keeps its slice whatever is held out or
            forgotten, because the draw is over all of them [ours].
        shards: the number of shards.
        slices: the number of slices of each shard.
        seed: names the random stream.

    Returns:
        Shard and slice of each record, int64 [n, 2].

    Example:
        >>> assign_slices(torch.arange(6), 3, 2, 0).unique(dim=0).tolist()
        [[0, 0], [0, 1], [1, 0], [1, 1], [2, 0], [2, 1]]
    """
    position = torch.empty(len(records), dtype=torch.int64)
    position[torch.randperm(len(records), generator=stream(seed, "shards"))] = torch.arange(len(records))
    return torch.stack([position % shards, position // shards % slices], 1)


def expected_images(sizes: Sequence[Sequence[int]], requested: int, removed: bool = True) -> float:
    """Return how many images a random request trains again, expected over all requests of its size.

    A slice is trained again if a requested record is in it or in an earlier slice of its shard. It then trains on what
    remains of these slices. For N images up to a slice, n in all and K requested this is
    N (1 - C(n - N, K) / C(n, K)) - K N / n, summed over all slices [ours]. For one record, one shard and R slices of
    equal size it is 2/3 + 1/(3R) of the training (Bourtoule et al. 2021, section V [P]), less the record itself.

    Args:
        sizes: the number of records of each slice of each shard, before the request.
        requested: the number K of requested records, at most n.
        removed: whether they are removed; if only their labels change, slices train on all of their N images.

    Returns:
        Images per epoch, summed over all slices.
    """
    total = sum(map(sum, sizes))
    prefixes = [sum(shard[: r + 1]) for shard in sizes for r in range(len(shard))]
    lost = requested / total if removed else 0.0
    return sum(n * (1 - _probability_of_none(n, total, requested) - lost) for n in prefixes)


def _probability_of_none(marked: int, total: int, drawn: int) -> float:
    """Return the probability that none of `drawn` records out of `total` is among the `marked` ones."""
    rest = total - marked
    if drawn > rest:
        return 0.0
    return math.exp(_log_choose(rest, drawn) - _log_choose(total, drawn))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
