"""Option group `retain`: which images a strategy reads as retain set, all of them or a condensed set."""

from __future__ import annotations

import warnings
from abc import ABC
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from unlearn.core.validation import at_least, positive

Features = Callable[[Tensor], Tensor]  # from images float32 [n, c, h, w] in [0, 1] to features [n, d]


@dataclass(frozen=True)
class Retain(ABC):
    """The retain set that a strategy reads. Scores, retraining and all measurements always use the whole set."""

    features: ClassVar[bool] = False  # whether it needs a model's penultimate features


@dataclass(frozen=True)
class Full(Retain):
    """The whole retain set."""


@dataclass(frozen=True)
class Condensed(Retain):
    """Replace clusters without a forget sample by one image each; keep the real retain images of all other clusters.

    Within each class, retain and forget samples together, k-means on the original's penultimate features f makes the
    clusters. The image of a cluster is sum_i w_i x_i with w = softmax(a), where a minimises
    ||f(sum_i w_i x_i) - mean_i f(x_i)||^2. After Dataset Condensation Driven Machine Unlearning (2024), whose exact
    equations are not known to us. If n images of D make m clusters, a random request for a fraction s leaves about
    (1 - s)^(n / m) of the clusters to condense. Ours: Adam starts from equal weights and the best step counts; only the
    images nearest to the mean of a large cluster are mixed; a cluster of one image stays as it is.
    """

    features = True

    clusters: int = at_least(1, 450)  # in total; each class gets a number in proportion to its size, from 1 to its size
    mixed: int = at_least(1, 256)  # largest number of images of a cluster that are mixed
    steps: int = at_least(0, 20)  # Adam steps; 0: the plain mean
    lr: float = positive(0.1)  # Adam's learning rate

    def assign_clusters(self, features: Tensor, labels: Tensor, seed: Callable[[int], int]) -> Tensor:
        """Assign each sample to a cluster.

        Args:
            features: [n, d].
            labels: int64 [n].
            seed: the seed of the k-means of a class, by its label.

        Returns:
            Cluster numbers int64 [n], from 0. k-means uses one thread, so that they repeat bit for bit.
        """
        assigned, count = torch.empty_like(labels), 0
        classes, sizes = torch.unique(labels, return_counts=True)
        for label, most in zip(classes.tolist(), cluster_counts(sizes, self.clusters), strict=True):
            members = (labels == label).nonzero()[:, 0]
            clusters = k_means(features[members], most, seed(label))
            assigned[members] = clusters + count
            count += int(clusters.max()) + 1
        return assigned

    def fit_weights(self, images: Tensor, member: Tensor, means: Tensor, features: Features) -> Tensor:
        """Fit the weights of g mixtures of images, so that features of a mixture match a given mean.

        Args:
            images: [n, c, h, w].
            member: bool [g, n], the images that may enter each mixture.
            means: [g, d], the features that each mixture should have.
            features: from images to features [., d].

        Returns:
            Weights float32 [g, n]; each row sums to 1.
        """
        logits = torch.zeros(member.shape, device=images.device, requires_grad=True)
        adam = torch.optim.Adam([logits], self.lr)
        best, lowest = torch.zeros_like(logits), torch.full_like(logits[:, 0], torch.inf)
        for step in range(self.steps + 1):
            weights = logits.masked_fill(~member, -torch.inf).softmax(1)
            distances = (features(mix_images(weights, images)) - means).square().sum(1)
            better = distances.detach() < lowest
            best = torch.where(better[:, None], weights.detach(), best)
            lowest = torch.where(better, distances.detach(), lowest)
            if step < self.steps:
                adam.zero_grad()
                distances.sum().backward()  # type: ignore[no-untyped-call]
                adam.step()
        return best


def cluster_counts(sizes: Tensor, clusters: int) -> list[int]:
    """Return the number of clusters of each class: in proportion to its size, by largest remainders, 1 to its size.

    Args:
        sizes: samples of each class, int64 [C].
        clusters: the number of clusters to divide.
    """
    exact = sizes.double() * clusters / sizes.sum()
    whole = exact.floor().long()
    left = clusters - int(whole.sum())
    whole[(exact - whole).argsort(descending=True, stable=True)[:left]] += 1
    return [min(max(count, 1), size) for count, size in zip(whole.tolist(), sizes.tolist(), strict=True)]


def k_means(features: Tensor, most: int, seed: int) -> Tensor:
    """Cluster samples by k-means.

    Args:
        features: [n, d].
        most: the number of clusters; there are fewer if samples coincide.
        seed: of the initial centres.

    Returns:
        Cluster numbers int64 [n], from 0.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    means = KMeans(most, n_init=1, random_state=seed % 2**32)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of samples that coincide
        clusters = torch.from_numpy(means.fit_predict(features.double().numpy())).long()
    numbers: Tensor = torch.unique(clusters, return_inverse=True)[1]
    return numbers


def split_clusters(features: Tensor, clusters: Tensor, retained: int) -> tuple[Tensor, list[Tensor]]:
    """Split the retain set into images that stay and clusters that are condensed.

    Args:
        features: [n, d], of the retain samples first, then of the forget samples.
        clusters: the cluster of each sample, int64 [n].
        retained: the number of retain samples.

    Returns:
        Positions int64 of the retain samples that stay, sorted; and for each cluster to condense the positions of its
        members, the nearest to its mean first. No position is that of a forget sample.
    """
    kept, condensed = [], []
    members = torch.split(clusters.argsort(stable=True), clusters.bincount().tolist())
    for cluster in members:
        if len(cluster) == 1 or bool((cluster >= retained).any()):
            kept.append(cluster[cluster < retained])
        else:
            distances = (features[cluster] - features[cluster].mean(0)).square().sum(1)
            condensed.append(cluster[distances.argsort(stable=True)])
    nothing = torch.empty(0, dtype=torch.int64)
    return torch.cat([nothing, *kept]).sort().values, condensed


def pack_clusters(clusters: Sequence[Tensor], most: int) -> Iterator[list[Tensor]]:
    """Group consecutive clusters into packs of at most `most` images; a larger cluster is a pack of its own."""
    pack: list[Tensor] = []
    for cluster in clusters:
        if pack and sum(map(len, pack)) + len(cluster) > most:
            yield pack
            pack = []
        pack.append(cluster)
    if pack:
        yield pack


def mix_images(weights: Tensor, images: Tensor) -> Tensor:
    """Return the mixtures float32 [g, c, h, w] of images [n, c, h, w] with weights [g, n]."""
    return (weights @ images.flatten(1)).view(-1, *images.shape[1:])
