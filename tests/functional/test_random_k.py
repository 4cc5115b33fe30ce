"""Exactly K by chance, as every set of so many is."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest
from torch import Tensor

from unlearn.functional import random_k as chance
from unlearn.functional.random_k import CHUNK, LEVELS, random_k_mask

N = 2 * CHUNK + 5


def mask(n: int, count: int, seed: int) -> Tensor:
    return random_k_mask({"a": torch.empty(n)}, count, seed)["a"]


def test_masks_have_the_shapes_of_the_tensors_and_exactly_so_many_entries() -> None:
    like = {"a": torch.empty(3, 5), "b": torch.empty(0), "c": torch.empty(2, 2, 2, dtype=torch.float64)}
    for count in range(24):
        found = random_k_mask(like, count, 1)
        assert {name: (each.shape, each.dtype) for name, each in found.items()} == {
            name: (each.shape, torch.bool) for name, each in like.items()
        }
        assert sum(int(each.sum()) for each in found.values()) == count
    with pytest.raises(ValueError, match="24 of 23"):
        random_k_mask(like, 24, 1)


@pytest.mark.parametrize("slack", [-8.0, 0.0, 8.0])
@pytest.mark.parametrize("share", [0.0, 1e-5, 0.01, 0.5, 0.99999, 1.0])
def test_a_border_that_misses_costs_time_alone(share: float, slack: float, monkeypatch: pytest.MonkeyPatch) -> None:
    count = round(share * N)
    slow = chance._taken(N, count, 3, 2.0 * N)  # all entries are put into order
    monkeypatch.setattr(chance, "SLACK", slack)
    assert np.array_equal(mask(N, count, 3).numpy(), slow)
    assert slow.sum() == count


def test_sets_of_one_seed_are_nested_where_levels_are_equal_too() -> None:
    few = range(N // 2, N // 2 + 3 * N // LEVELS)  # more than one level has entries
    found = [mask(N, count, 0) for count in few]
    assert all((smaller <= larger).all() for smaller, larger in pairwise(found))


def test_every_pair_of_six_is_equally_likely() -> None:
    pairs: Counter[tuple[int, ...]] = Counter(tuple(mask(6, 2, seed).nonzero()[:, 0].tolist()) for seed in range(3000))
    assert chisquare([pairs[pair] for pair in combinations(range(6), 2)]).pvalue > 1e-3


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_places_and_gaps_are_those_of_independent_draws(share: float) -> None:
    found = [mask(N, round(share * N), seed) for seed in range(5)]
    places = torch.stack(found).float().view(5, -1)[:, : 64 * (N // 64)].view(5, 64, -1).sum((0, 2))
    assert chisquare(places.numpy()).pvalue > 1e-3
    gaps = found[0].nonzero()[:, 0].diff().double().numpy()
    jittered = gaps - np.random.default_rng(0).random(len(gaps))  # geometric gaps made continuous
    survival = (1 - share) ** np.floor(jittered) * (1 - share * (jittered % 1))
    assert kstest(survival, "uniform").pvalue > 1e-3


def test_seeds_are_independent() -> None:
    one, other = mask(N, N // 2, 0), mask(N, N // 2, 1)
    assert abs(int((one & other).sum()) - N / 4) < 5 * (N / 16) ** 0.5


def test_the_draw_is_the_same_for_ever() -> None:
    assert mask(20, 5, 0).nonzero()[:, 0].tolist() == [11, 13, 14, 15, 17]
