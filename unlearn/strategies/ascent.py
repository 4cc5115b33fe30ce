"""The bounded loss of strategies that raise the loss of the forget set."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.core.types import Subset
from unlearn.strategies.base import Batches, compute_logits


def bounded_loss(model: nn.Module, batches: Batches, loss_cap: float | None, label_smoothing: float) -> Tensor:
    """Return the mean cross-entropy on the forget batch, in nats, in which losses above the cap count as 0.

    Without a bound ascent has no end; a sample whose loss exceeds the cap adds nothing (Unlearning with Control 2024).
    Forget batches pass batch normalisation by its running statistics, which a forget set alone would drag away [ours].

    Args:
        model: the model being trained.
        batches: the batches of this step, of which the forget batch is used.
        loss_cap: in nats; None: ln C, the loss of a uniform guess among C classes.
        label_smoothing: 0 to 1.
    """
    forget = batches[Subset.FORGET]
    logits = compute_logits(model, forget.images, running_statistics=True)
    losses = F.cross_entropy(logits, forget.labels, reduction="none", label_smoothing=label_smoothing)
    cap = math.log(logits.shape[1]) if loss_cap is None else loss_cap
    return forget.mean(losses * (losses <= cap))
