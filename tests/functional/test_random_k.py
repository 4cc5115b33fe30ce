"""Masks of K random entries: exact counts, and every set of K entries equally likely."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest
from torch import Tensor

from unlearn.functional import random_k as module
from unlearn.functional.random_k import CHUNK, LEVELS, random_k_mask

N = 2 * CHUNK + 5


def mask(n: int, count: int, seed: int) -> Tensor:
    return random_k_mask({"a": torch.empty(n)}, count, seed)["a"]


def test_masks_have_the_shapes_of_the_tensors_and_exactly_k_entries() -> None:
    like = {"a": torch.empty(3, 5), "b": torch.empty(0), "c": torch.empty(2, 2, 2, dtype=torch.float64)}
    for count in range(24):
        masks = random_k_mask(like, count, 1)
        assert {name: (tensor.shape, tensor.dtype) for name, tensor in masks.items()} == {
            name: (tensor.shape, torch.bool) for name, tensor in like.items()
        }
        assert sum(int(tensor.sum()) for tensor in masks.values()) == count
    with pytest.raises(ValueError, match="at most 23 entries, got 24"):
        random_k_mask(like, 24, 1)


@pytest.mark.parametrize("slack", [-8.0, 0.0, 8.0])
@pytest.mark.parametrize("fraction", [0.0, 1e-5, 0.01, 0.5, 0.99999, 1.0])
def test_an_interval_that_misses_the_threshold_costs_only_time(
    fraction: float, slack: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = round(fraction * N)
    expected = module._select(N, count, 3, 2.0 * N)  # sorts all entries
    monkeypatch.setattr(module, "SLACK", slack)
    assert np.array_equal(mask(N, count, 3).numpy(), expected)
    assert expected.sum() == count


def test_sets_of_one_seed_are_nested_even_where_levels_are_equal() -> None:
    counts = range(N // 2, N // 2 + 3 * N // LEVELS)  # more than one level has entries
    masks = [mask(N, count, 0) for count in counts]
    assert all((smaller <= larger).all() for smaller, larger in pairwise(masks))


def test_every_pair_of_six_is_equally_likely() -> None:
    pairs: Counter[tuple[int, ...]] = Counter(tuple(mask(6, 2, seed).nonzero()[:, 0].tolist()) for seed in range(3000))
    assert chisquare([pairs[pair] for pair in combinations(range(6), 2)]).pvalue > 1e-3


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5])
def test_positions_and_gaps_are_distributed_as_independent_draws(fraction: float) -> None:
    masks = [mask(N, round(fraction * N), seed) for seed in range(5)]
    block_counts = torch.stack(masks).float().view(5, -1)[:, : 64 * (N // 64)].view(5, 64, -1).sum((0, 2))
    assert chisquare(block_counts.numpy()).pvalue > 1e-3
    gaps = masks[0].nonzero()[:, 0].diff().double().numpy()
    jittered = gaps - np.random.default_rng(0).random(len(gaps))  # geometric gaps made continuous
    survival = (1 - fraction) ** np.floor(jittered) * (1 - fraction * (jittered % 1))
    assert kstest(survival, "uniform").pvalue > 1e-3


def test_seeds_are_independent() -> None:
    one, other = mask(N, N // 2, 0), mask(N, N // 2, 1)
    assert abs(int((one & other).sum()) - N / 4) < 5 * (N / 16) ** 0.5


def test_the_selection_of_a_seed_never_changes() -> None:
    assert mask(20, 5, 0).nonzero()[:, 0].tolist() == [11, 13, 14, 15, 17]
