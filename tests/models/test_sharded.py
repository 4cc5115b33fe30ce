"""An ensemble is a classifier whose softmax is what its nets predict together."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unlearn.models.base import Classifier
from unlearn.models.mlp import Mlp
from unlearn.models.sharded import ShardedClassifier, combine

MEAN, STD = (0.2, 0.3, 0.4), (0.5, 0.6, 0.7)


@pytest.fixture
def ensemble() -> ShardedClassifier:
    torch.manual_seed(0)
    return ShardedClassifier([Mlp().net((3, 4, 4), 5) for _ in range(3)], "mean", MEAN, STD).eval()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def test_mean_averages_probabilities(ensemble: ShardedClassifier, images: Tensor) -> None:
    expected = torch.stack([Classifier(net, MEAN, STD)(images).softmax(1) for net in ensemble.members]).mean(0)
    torch.testing.assert_close(ensemble(images).softmax(1), expected)
    torch.testing.assert_close(ensemble(images).exp(), expected)


def test_vote_follows_the_majority_and_breaks_ties_by_the_mean() -> None:
    sure, unsure, other = [9.0, 0.0, 0.0], [0.0, 1.0, 0.9], [0.0, 1.0, 0.8]
    majority = torch.tensor([[sure], [unsure], [other]])
    assert combine(majority, "mean").argmax() == 0  # one net is sure
    assert combine(majority, "vote").argmax() == 1  # two of three
    tie = torch.tensor([[sure], [unsure]])
    assert combine(tie, "vote").argmax() == 0
    for logits in (majority, tie, 1e4 * majority):
        assert combine(logits, "vote").isfinite().all()
        torch.testing.assert_close(combine(logits, "vote").exp().sum(1), torch.ones(1))


def test_features_of_all_nets_are_side_by_side(ensemble: ShardedClassifier, images: Tensor) -> None:
    features, logits = ensemble.features(images)
    singles = [Classifier(net, MEAN, STD).features(images)[0] for net in ensemble.members]
    assert torch.equal(features, torch.cat(singles, 1))
    assert torch.equal(logits, ensemble(images))
