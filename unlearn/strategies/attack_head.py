"""A small differentiable attacker that separates members from non-members by a model's outputs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.core.batch import iter_batches
from unlearn.core.types import ImageSource

BATCH_SIZE = 256


class AttackHead(nn.Module):
    """A network with one hidden layer that reads standardised features and returns the logit of membership."""

    mean: Tensor
    std: Tensor

    def __init__(self, features: Tensor, hidden: int, generator: torch.Generator) -> None:
        """Initialise the weights (He et al. 2015; biases are 0) and the standardisation.

        Args:
            features: float32 [n, d], samples of what the head will read; their mean and deviation standardise it.
            hidden: the number of hidden units.
            generator: the stream that weights are drawn from.
        """
        super().__init__()
        std = features.std(0, correction=0)
        self.register_buffer("mean", features.mean(0))
        self.register_buffer("std", torch.where(std > 0, std, 1.0))
        self.first = nn.Linear(features.shape[1], hidden, device="meta").to_empty(device=features.device)  # no draws
        self.last = nn.Linear(hidden, 1, device="meta").to_empty(device=features.device)
        for layer in (self.first, self.last):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Return membership logits [n] of features [n, d]."""
        hidden = self.first((features - self.mean) / self.std).relu()
        logits: Tensor = self.last(hidden)[:, 0]
        return logits


def attack_features(logits: Tensor, labels: Tensor) -> Tensor:
    """Return what the attacker reads: the sorted log-probabilities, highest first, then the loss in nats.

    Args:
        logits: [n, C].
        labels: int64 [n].

    Returns:
        float32 [n, C + 1].
    """
    log_p = F.log_softmax(logits.float(), dim=1)
    loss = -log_p.gather(1, labels[:, None])
    return torch.cat([log_p.sort(dim=1, descending=True).values, loss], dim=1)


def train_head(
    model: nn.Module,
    members: ImageSource,
    others: ImageSource,
    hidden: int,
    epochs: int,
    lr: float,
    generator: torch.Generator,
) -> AttackHead:
    """Fit an attack head by binary cross-entropy: Adam, with all samples in every step.

    It is fitted on the CPU, so that one stream gives the same head on every device.

    Args:
        model: the attacked model, in eval mode.
        members: samples that the model was trained on.
        others: samples that it was not trained on.
        hidden: the number of hidden units.
        epochs: Adam steps.
        lr: Adam's learning rate.
        generator: the stream that weights are drawn from.

    Returns:
        The head, frozen, in eval mode, on the device of the data.
    """
    features = torch.cat([_features(model, data) for data in (members, others)]).cpu()
    is_member = (torch.arange(len(features)) < len(members)).float()
    head = AttackHead(features, hidden, generator)
    optimizer = torch.optim.Adam(head.parameters(), lr)
    for _ in range(epochs):
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(head(features), is_member).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    optimizer.zero_grad()
    return head.to(members.labels.device).eval().requires_grad_(False)


def sample_losses(model: nn.Module, data: ImageSource) -> Tensor:
    """Return the cross-entropy of each sample [n] in nats, for a model in eval mode."""
    return _features(model, data)[:, -1]


@torch.no_grad()
def _features(model: nn.Module, data: ImageSource) -> Tensor:
    batches = iter_batches(data, BATCH_SIZE)
    return torch.cat([attack_features(model(batch.images), batch.labels) for batch in batches])
