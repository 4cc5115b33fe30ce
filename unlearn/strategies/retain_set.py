"""`retain=`: what stands in for the retain set while a strategy unlearns, and how images become fewer."""

from __future__ import annotations

import warnings
from abc import ABC
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from unlearn.core.validation import at_least, positive

Features = Callable[[Tensor], Tensor]  # of images float32 [n, c, h, w] in [0, 1]: [n, d], each image's own


@dataclass(frozen=True)
class Retain(ABC):
    """What a strategy reads as retain set; scores, retraining and all measurements stay on the whole of it."""

    features: ClassVar[bool] = False  # needs a model's penultimate features


@dataclass(frozen=True)
class Full(Retain):
    """All of it."""


@dataclass(frozen=True)
class Condensed(Retain):
    """Clusters without a forget sample become one image each; of the others the real retain images stay.

    Within each class, retain and forget together, k-means on the original's penultimate features f makes clusters. The
    image of a cluster is sum_i w_i x_i, w = softmax(a), a minimising ||f(sum_i w_i x_i) - mean_i f(x_i)||^2; after
    Dataset Condensation Driven Machine Unlearning (2024), whose exact equations we do not have. Where n images of D
    make m clusters, a random request for a share s leaves about (1 - s)^(n / m) of them to be condensed. [ours]: Adam
    from equal weights, the best step counts; of a large cluster only the images nearest to its mean are mixed; a
    cluster of one stays as it is.
    """

    features = True

    clusters: int = at_least(1, 450)  # in all; of each class by its size, at least one, at most one per image
    mixed: int = at_least(1, 256)  # images of one cluster, at most
    steps: int = at_least(0, 20)  # of Adam; 0: the plain mean
    lr: float = positive(0.1)  # of Adam, on a

    def assign(self, features: Tensor, labels: Tensor, seed: Callable[[int], int]) -> Tensor:
        """The cluster of each sample, int64 [n] from 0, by features [n, d] and labels int64 [n].

        `seed(label)` starts the k-means of a class. One thread, so that sums repeat bit for bit.
        """
        assigned, known = torch.empty_like(labels), 0
        classes, sizes = torch.unique(labels, return_counts=True)
        for label, most in zip(classes.tolist(), quotas(sizes, self.clusters), strict=True):
            members = (labels == label).nonzero()[:, 0]
            found = k_means(features[members], most, seed(label))
            assigned[members] = found + known
            known += int(found.max()) + 1
        return assigned

    def weigh(self, images: Tensor, member: Tensor, means: Tensor, features: Features) -> Tensor:
        """Weights float32 [g, n] of each of g mixtures of images [n, c, h, w]; each row sums to 1.

        `member` bool [g, n] says what may enter a mixture, `means` [g, d] what its features are to match.
        """
        logits = torch.zeros(member.shape, device=images.device, requires_grad=True)
        adam = torch.optim.Adam([logits], self.lr)
        best, lowest = torch.zeros_like(logits), torch.full_like(logits[:, 0], torch.inf)
        for step in range(self.steps + 1):
            weights = logits.masked_fill(~member, -torch.inf).softmax(1)
            distances = (features(mix(weights, images)) - means).square().sum(1)
            better = distances.detach() < lowest
            best = torch.where(better[:, None], weights.detach(), best)
            lowest = torch.where(better, distances.detach(), lowest)
            if step < self.steps:
                adam.zero_grad()
                distances.sum().backward()  # type: ignore[no-untyped-call]
                adam.step()
        return best


def quotas(sizes: Tensor, clusters: int) -> list[int]:
    """Clusters of each class, in proportion to its size int64 [C], by largest remainders; from 1 to its size."""
    exact = sizes.double() * clusters / sizes.sum()
    whole = exact.floor().long()
    left = clusters - int(whole.sum())
    whole[(exact - whole).argsort(descending=True, stable=True)[:left]] += 1
    return [min(max(each, 1), size) for each, size in zip(whole.tolist(), sizes.tolist(), strict=True)]


def k_means(features: Tensor, most: int, seed: int) -> Tensor:
    """The cluster of each sample, int64 [n] from 0, of [n, d]: `most` clusters, or fewer where samples are alike."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    means = KMeans(most, n_init=1, random_state=seed % 2**32)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of samples that are alike
        found = torch.from_numpy(means.fit_predict(features.double().numpy())).long()
    numbers: Tensor = torch.unique(found, return_inverse=True)[1]
    return numbers


def divide(features: Tensor, clusters: Tensor, retained: int) -> tuple[Tensor, list[Tensor]]:
    """Positions int64 that stay, in order, and the members of each cluster to condense, nearest to its mean first.

    The first `retained` samples are the retain set; those behind them are to be forgotten, and no position of theirs
    is ever given.
    """
    kept, condensed = [], []
    members = torch.split(clusters.argsort(stable=True), clusters.bincount().tolist())
    for each in members:
        if len(each) == 1 or bool((each >= retained).any()):
            kept.append(each[each < retained])
        else:
            away = (features[each] - features[each].mean(0)).square().sum(1)
            condensed.append(each[away.argsort(stable=True)])
    nobody = torch.empty(0, dtype=torch.int64)
    return torch.cat([nobody, *kept]).sort().values, condensed


def packed(clusters: Sequence[Tensor], most: int) -> Iterator[list[Tensor]]:
    """Clusters to be mixed together: as many as have no more than `most` images, or a single one that has more."""
    pack: list[Tensor] = []
    for each in clusters:
        if pack and sum(map(len, pack)) + len(each) > most:
            yield pack
            pack = []
        pack.append(each)
    if pack:
        yield pack


def mix(weights: Tensor, images: Tensor) -> Tensor:
    """Mixtures float32 [g, c, h, w] of images [n, c, h, w] by weights [g, n]."""
    return (weights @ images.flatten(1)).view(-1, *images.shape[1:])
