"""The ensemble of SISA: one net per shard, as one classifier that metrics, attacks and the export can read."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.models.base import Classifier


class ShardedNet(nn.Module):
    """Nets of the same architecture, whose predictions are averaged.

    Args:
        nets: one net per shard, each from normalised images [n, c, h, w] to logits [n, C].
        aggregation: `mean` or `vote`.
    """

    def __init__(self, nets: Sequence[nn.Module], aggregation: str) -> None:
        super().__init__()
        self.shards = nn.ModuleList(nets)
        self.aggregation = aggregation

    def forward(self, images: Tensor) -> Tensor:
        """Compute log probabilities [n, C] of normalised images [n, c, h, w]."""
        return combine(torch.stack([net(images) for net in self.shards]), self.aggregation)


def combine(logits: Tensor, aggregation: str) -> Tensor:
    """Combine the logits of S nets to the log probabilities of their ensemble.

    Log probabilities are logits whose softmax is the ensemble's probability, so that losses, confidences and attacks
    read them as they read those of a single net [ours].

    Args:
        logits: float32 [S, n, C].
        aggregation: `mean`: the mean of the nets' probabilities. `vote`: the votes of the nets and once more that mean,
            each with weight 1 / (S + 1), so that the mean decides ties and no probability is 0 [ours].

    Returns:
        float32 [n, C], finite for finite logits.
    """
    members = len(logits)
    log_mean = logits.log_softmax(2).logsumexp(0) - math.log(members)
    if aggregation == "mean":
        return log_mean
    votes = F.one_hot(logits.argmax(2), logits.shape[2]).sum(0)
    return torch.logaddexp(log_mean, votes.to(log_mean.dtype).log()) - math.log(members + 1)


class ShardedClassifier(Classifier):
    """An ensemble behind the data set's normalisation.

    Args:
        nets: one net per shard.
        aggregation: `mean` or `vote`.
        mean: the mean of each channel.
        std: the standard deviation of each channel.
    """

    def __init__(
        self, nets: Sequence[nn.Module], aggregation: str, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__(ShardedNet(nets, aggregation), mean, std)

    @property
    def members(self) -> nn.ModuleList:
        """The nets, in the order of their shards."""
        assert isinstance(self.net, ShardedNet)
        return self.net.shards

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the penultimate features of all nets side by side [n, S d], and the log probabilities [n, C].

        Raises:
            UnlearnError: the nets have no penultimate features.
        """
        assert isinstance(self.net, ShardedNet)
        singles = [self._alone(net).features(images) for net in self.members]
        logits = combine(torch.stack([logits for _, logits in singles]), self.net.aggregation)
        return torch.cat([features for features, _ in singles], 1), logits

    def _alone(self, net: nn.Module) -> Classifier:
        """Return a classifier of one net, which shares its weights."""
        single = Classifier(net, self.mean.flatten().tolist(), self.std.flatten().tolist())
        single.mean, single.std = self.mean, self.std  # on the same device
        return single
