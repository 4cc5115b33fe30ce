"""A small attacker that tells members from non-members by a model's outputs, and can be differentiated."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.core.batch import Batch, iter_batches
from unlearn.core.types import ImageSource

BATCH_SIZE = 256


class AttackHead(nn.Module):
    """One hidden layer over a standardised view of outputs; gives the logit of membership."""

    mean: Tensor
    std: Tensor

    def __init__(self, views: Tensor, hidden: int, generator: torch.Generator) -> None:
        """For views [n, d] like these; weights are drawn from `generator` (He et al. 2015), biases are 0."""
        super().__init__()
        std = views.std(0, correction=0)
        self.register_buffer("mean", views.mean(0))
        self.register_buffer("std", torch.where(std > 0, std, 1.0))
        self.first = nn.Linear(views.shape[1], hidden, device="meta").to_empty(device=views.device)  # draws nothing
        self.last = nn.Linear(hidden, 1, device="meta").to_empty(device=views.device)
        for layer in (self.first, self.last):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(layer.bias)

    def forward(self, views: Tensor) -> Tensor:
        """Logits [n] of views [n, d]."""
        hidden = self.first((views - self.mean) / self.std).relu()
        logits: Tensor = self.last(hidden)[:, 0]
        return logits


def view(logits: Tensor, labels: Tensor) -> Tensor:
    """What the attacker sees, float32 [n, C + 1]: log-probabilities in falling order, then the loss in nats."""
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
    """Fit by binary cross-entropy: Adam, every sample in each step. The head is frozen and on the data's device.

    It is fitted on the CPU, so that one stream gives the same head on every device.
    """
    seen = [_views(model, data) for data in (members, others)]
    views = torch.cat(seen).cpu()
    truth = (torch.arange(len(views)) < len(members)).float()
    head = AttackHead(views, hidden, generator)
    optimizer = torch.optim.Adam(head.parameters(), lr)
    for _ in range(epochs):
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(head(views), truth).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    optimizer.zero_grad()
    return head.to(members.labels.device).eval().requires_grad_(False)


def losses(model: nn.Module, data: ImageSource) -> Tensor:
    """Cross-entropy of each sample [n] in nats, for a model in eval mode."""
    return _views(model, data)[:, -1]


@torch.no_grad()
def _views(model: nn.Module, data: ImageSource) -> Tensor:
    def of(batch: Batch) -> Tensor:
        return view(model(batch.images), batch.labels)

    return torch.cat([of(batch) for batch in iter_batches(data, BATCH_SIZE)])
