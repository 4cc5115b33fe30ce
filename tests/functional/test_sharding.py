"""Shards and slices: fixed places of records, and the expected cost of a request against all requests."""

from __future__ import annotations

from itertools import combinations
from statistics import fmean

import pytest
import torch

from unlearn.functional.sharding import assign_slices, expected_images

SIZES = [[2, 1], [1, 2], [2, 0]]  # records of each slice of three shards


def images_of(requested: tuple[int, ...], removed: bool) -> int:
    """Images per epoch that a request trains again, by going through all slices."""
    first, images = 0, 0
    for shard in SIZES:
        own = range(first, first + sum(shard))
        for r in range(len(shard)):
            records = set(own[: sum(shard[: r + 1])])
            images += len(records - set(requested) if removed else records) if records & set(requested) else 0
        first += sum(shard)
    return images


@pytest.mark.parametrize("removed", [True, False])
@pytest.mark.parametrize("requested", [1, 2, 3, 7, 8])
def test_the_expected_images_are_the_mean_over_all_requests(requested: int, removed: bool) -> None:
    mean = fmean(images_of(request, removed) for request in combinations(range(8), requested))
    assert expected_images(SIZES, requested, removed) == pytest.approx(mean)


@pytest.mark.parametrize("slices", [1, 3, 10])
def test_one_record_costs_two_thirds_and_a_third_of_a_slice(slices: int) -> None:
    """Bourtoule et al. 2021, section V: 2/3 + 1/(3R) of the training, here for so many records that one is nothing."""
    size = 10**6
    whole = sum(size * (r + 1) for r in range(slices))
    assert expected_images([[size] * slices], 1) / whole == pytest.approx(2 / 3 + 1 / (3 * slices), abs=1e-4)


def test_slices_differ_by_at_most_one_record() -> None:
    place = assign_slices(torch.arange(50), 4, 3, seed=0)
    sizes = place.unique(dim=0, return_counts=True)[1]
    assert len(sizes) == 12
    assert sizes.max() - sizes.min() <= 1
    assert not torch.equal(place, assign_slices(torch.arange(50), 4, 3, seed=1))
