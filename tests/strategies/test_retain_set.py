"""Clusters, who stays and who is mixed, and the weights of mixtures, against hand-made cases."""

from __future__ import annotations

import pytest
import torch
from builders import uniform
from torch import Tensor, nn

from unlearn.strategies.retain_set import Condensed, cluster_counts, k_means, mix_images, pack_clusters, split_clusters


def ints(*values: int) -> Tensor:
    return torch.tensor(values)


@pytest.mark.parametrize(
    ("sizes", "clusters", "expected"),
    [
        ((50, 30, 20), 10, [5, 3, 2]),
        ((50, 26, 24), 10, [5, 3, 2]),  # 2.6 and 2.4: the larger remainder
        ((10, 10, 10), 4, [2, 1, 1]),  # equal remainders: the first
        ((998, 1, 1), 10, [10, 1, 1]),  # no class without a cluster
        ((2, 6), 100, [2, 6]),  # nor one with more clusters than images
    ],
)
def test_clusters_are_spread_over_classes_by_size(sizes: tuple[int, ...], clusters: int, expected: list[int]) -> None:
    assert cluster_counts(ints(*sizes), clusters) == expected


def test_k_means_finds_clumps_and_repeats() -> None:
    clumps = torch.tensor([[0.0, 0], [9, 9], [0, 9]])
    points = clumps[torch.arange(30) % 3] + 0.1 * uniform(30, 2)
    found = k_means(points, 3, seed=2**62 + 1)
    assert found.sort().values.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert all(len(found[start::3].unique()) == 1 for start in range(3))
    assert torch.equal(found, k_means(points, 3, seed=2**62 + 1))


def test_equal_samples_share_a_cluster() -> None:
    points = torch.tensor([[1.0], [1], [1], [5]])
    found = k_means(points, 4, seed=0)
    assert found[:3].unique().tolist() == found[:1].tolist()
    assert found.max() == 1  # numbered without gaps


def test_clusters_never_cross_classes_and_the_global_generator_is_left_alone() -> None:
    features, labels = uniform(40, 3), torch.arange(40) % 4
    before = torch.get_rng_state()
    found = Condensed(clusters=12).assign_clusters(features, labels, lambda label: label)
    assert torch.equal(torch.get_rng_state(), before)
    assert found.unique().tolist() == list(range(12))
    assert all(len(labels[found == each].unique()) == 1 for each in range(12))
    same = Condensed(clusters=12).assign_clusters(features, labels, lambda label: label)
    other = Condensed(clusters=12).assign_clusters(features, labels, lambda label: label + 1)
    assert torch.equal(found, same)
    assert not torch.equal(found, other)


def test_clusters_with_a_forget_sample_keep_exactly_their_retain_images() -> None:
    features = torch.tensor([[0.0], [4], [1], [7], [8], [0], [9], [2]])
    clusters = ints(0, 0, 0, 1, 1, 2, 1, 3)  # the last two are to be forgotten: one in cluster 1, one alone in 3
    kept, condensed = split_clusters(features, clusters, retained=6)
    assert kept.tolist() == [3, 4, 5]  # of cluster 1 what is retained, and 2, which has one image
    assert [members.tolist() for members in condensed] == [[2, 0, 1]]  # from its mean 5/3: 0.67, 1.67, 2.33


def test_no_forget_position_is_returned_and_no_class_is_lost() -> None:
    for seed in range(20):
        features, labels = uniform(60, 2, seed=seed), (uniform(60, seed=seed + 100) * 5).long()
        clusters = Condensed(clusters=18).assign_clusters(features, labels, lambda label: label)
        kept, condensed = split_clusters(features, clusters, retained=50)
        given = torch.cat([kept, *condensed])
        assert given.sort().values.tolist() == list(range(50))  # each retained image once, and nobody else
        left = labels[torch.cat([kept, *(members[:1] for members in condensed)])]
        assert left.unique().tolist() == labels[:50].unique().tolist()


def test_where_all_clusters_hold_a_forget_sample_all_stays() -> None:
    kept, condensed = split_clusters(uniform(4, 1), ints(0, 1, 0, 1), retained=2)
    assert (kept.tolist(), condensed) == ([0, 1], [])
    kept, condensed = split_clusters(uniform(4, 1), ints(0, 0, 1, 1), retained=4)
    assert (kept.tolist(), len(condensed)) == ([], 2)


def test_weights_are_those_that_hit_the_mean() -> None:
    """With features x -> x^2 of one pixel, 0 and 1 mix to (1 - w, w) with w^2 = 1/4; the third is not a member."""
    images = torch.tensor([0.0, 1, 0.3]).view(3, 1, 1, 1)
    member = torch.tensor([[True, True, False]])
    found = Condensed(steps=300).fit_weights(images, member, torch.tensor([[0.25]]), lambda x: x.flatten(1).square())
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.5, 0]]))  # where it starts
    found = Condensed(steps=300).fit_weights(images, member, torch.tensor([[0.64]]), lambda x: x.flatten(1).square())
    torch.testing.assert_close(found, torch.tensor([[0.2, 0.8, 0]]), atol=1e-4, rtol=0)


def feature_net() -> nn.Module:
    """As an original is handed over: frozen, in eval mode."""
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 9, 16), nn.ReLU()
    )
    return layers.eval().requires_grad_(False)


def test_mixtures_are_closer_to_the_mean_feature_than_the_plain_mean() -> None:
    features, images = feature_net(), uniform(30, 1, 8, 8)
    member = torch.arange(30) // 10 == torch.arange(3)[:, None]
    means = torch.stack([features(images[each]).mean(0) for each in member])

    def distances(steps: int, lr: float) -> Tensor:
        weights = Condensed(steps=steps, lr=lr).fit_weights(images, member, means, features)
        torch.testing.assert_close(weights.sum(1), torch.ones(3))
        assert not weights[~member].any()
        assert (weights >= 0).all()
        return (features(mix_images(weights, images)) - means).square().sum(1)

    plain = (features(torch.stack([images[each].mean(0) for each in member])) - means).square().sum(1)
    torch.testing.assert_close(distances(0, 0.1), plain)
    assert (distances(20, 0.1) < 0.8 * plain).all()
    assert (distances(20, 1e4) <= plain * (1 + 1e-5)).all()  # steps that lead away do not count


def test_weights_do_not_depend_on_other_mixtures() -> None:
    features, images = feature_net(), uniform(7, 1, 8, 8)
    member = torch.tensor([[1, 1, 1, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1, 1]]).bool()
    means = torch.stack([features(images[each]).mean(0) for each in member])
    together = Condensed(steps=5).fit_weights(images, member, means, features)
    for row, own in enumerate(member):
        alone = Condensed(steps=5).fit_weights(images[own], own[own][None], means[row : row + 1], features)
        torch.testing.assert_close(together[row, own], alone[0], atol=1e-4, rtol=0)


def test_packs_hold_so_many_images_at_most() -> None:
    clusters = [torch.arange(size) for size in (3, 2, 4, 9, 1)]
    assert [[len(each) for each in pack] for pack in pack_clusters(clusters, 6)] == [[3, 2], [4], [9], [1]]
    assert list(pack_clusters([], 6)) == []
