"""DELETE: distil from the original without the true class."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from unlearn.core.recipe import Recipe
from unlearn.core.types import Subset
from unlearn.functional.divergence import kl
from unlearn.strategies.base import Batches, Budget, Context, Loss, compute_logits
from unlearn.strategies.retain_free import RetainFree

MASKED = -1e10  # the logit of the true class, whose probability then is 0 [C]


@dataclass(frozen=True)
class Delete(RetainFree):
    """DELETE (Zhou et al. 2025): distil on D_f from the original without the true class, and read no retain set.

    Minimises the mean over D_f of KL(softmax z' || softmax z). z' are the logits of the original with that of the true
    class at -1e10, so the target keeps what the original knows of all other classes. The authors train for 20 epochs
    by SGD with momentum 0.9 at 1e-4 (CIFAR-10), batch 128 [C]; the default length is ours, and so is the rate, a
    fiftieth of the training's, chosen on digits (seed 100).

    Trap: it is made for whole classes. It teaches that every sample of D_f is wrong, although retraining gets most
    samples of a random request right: on digits a random tenth cost half of the retain accuracy. So training ends after
    the first epoch that has cost more than 15 points of validation accuracy, which one class of ten does not [ours]. It
    can also harm classes that resemble the forgotten one.
    """

    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=10, lr=0.001, weight_decay=0.0))
    budget: Budget = field(default_factory=lambda: Budget(validation_drop=0.15))

    def loss(self, context: Context) -> Loss:
        def loss(model: nn.Module, batches: Batches, _: int) -> Tensor:
            batch = batches[Subset.FORGET]
            with torch.no_grad():
                targets = context.original(batch.images).float().scatter(1, batch.labels[:, None], MASKED)
            logits = compute_logits(model, batch.images, running_statistics=True)
            return batch.mean(kl(targets, logits))

        return loss
