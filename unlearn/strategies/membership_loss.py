"""Descend an attacker's belief that the forgotten were members."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.core.batch import Batch
from unlearn.core.recipe import Recipe
from unlearn.core.types import ImageSource, Subset
from unlearn.core.validation import at_least, one_of, positive
from unlearn.strategies.attack_head import AttackHead, losses, train_head, view
from unlearn.strategies.base import Batches, Context, Loss, outputs
from unlearn.strategies.iterative import Objective


@dataclass(frozen=True)
class MembershipLoss(Objective):
    """CE(D_r) + beta * R(D_f), after ReMI (Silver Linings 2024), whose equations are not public: R is ours.

    - `head`: R = BCE(h(f(x)), non-member). The attacker h sees sorted log-probabilities and the loss; it was fitted
      to the original's outputs on equally many of D_r (members) and validation (non-members), and is frozen.
    - `gaussian`: R = KL(N_f || N_v) of Gaussians fitted to the losses of the batch of D_f, and once to the original's
      on validation. It is no mean over samples: of several processes each fits its share of the batch, so results
      differ from one process's. It grows with the square of a loss: without clipping it diverges.

    Forget batches pass batch normalisation by its running statistics, as the original did when h was fitted [ours].

    Grade it by an attack other than the one it trains on: `logistic`, the default, ranks by the loss, which `gaussian`
    matches outright and h sees among others. A search is judged by validation samples, which it imitates. Under
    class-wise forgetting validation holds the forgotten class, so that looking like it means to know the class well.
    """

    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=10, lr=0.01, clip=1.0))
    form: str = one_of("head", "gaussian")
    beta: float = at_least(0, 1.0)
    hidden: int = at_least(1, 32)  # head: its hidden units
    head_epochs: int = at_least(1, 200)  # head: Adam steps on all of its samples
    head_lr: float = positive(0.01)
    floor: float = positive(1e-2)  # gaussian: added to both variances, in nats^2; a batch of one has none itself

    def data(self, context: Context) -> Mapping[Subset, ImageSource]:
        return {subset: context.data[subset] for subset in (Subset.RETAIN, Subset.FORGET)}

    def loss(self, context: Context) -> Loss:
        distance = {"head": self._by_head, "gaussian": self._by_gaussian}[self.form](context)

        def loss(model: nn.Module, batches: Batches, _: int) -> Tensor:
            forget = batches[Subset.FORGET]
            kept = self.task(model, batches, Subset.RETAIN)  # first: it brings running statistics up to date
            return kept + self.beta * distance(outputs(model, forget.images, running_statistics=True), forget)

        return loss

    def _by_head(self, context: Context) -> Callable[[Tensor, Batch], Tensor]:
        head = self.attacker(context)
        return lambda logits, batch: batch.mean(F.softplus(head(view(logits, batch.labels))))  # BCE of label 0

    def _by_gaussian(self, context: Context) -> Callable[[Tensor, Batch], Tensor]:
        unseen = losses(context.original, context.data[Subset.VALIDATION])
        mean, variance = moments(unseen, torch.ones_like(unseen))

        def distance(logits: Tensor, batch: Batch) -> Tensor:
            values = F.cross_entropy(logits, batch.labels, reduction="none")
            own, spread = moments(values, torch.ones_like(values) if batch.weights is None else batch.weights)
            return batch.mean(gaussian_kl(own, spread + self.floor, mean, variance + self.floor).expand(len(values)))

        return distance

    def attacker(self, context: Context) -> AttackHead:
        """The frozen head."""
        retain, validation = context.data[Subset.RETAIN], context.data[Subset.VALIDATION]
        n, draws = min(len(retain), len(validation)), context.generator("attack head samples")
        members, others = (data.take(_some(n, data, draws)) for data in (retain, validation))
        weights = context.generator("attack head")
        return train_head(context.original, members, others, self.hidden, self.head_epochs, self.head_lr, weights)


def moments(values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean and population variance of values [n]; both 0 where all weights are."""
    shares = weights / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)
    mean = (values * shares).sum()  # no product of matrices, which mixed precision would round
    return mean, ((values - mean).square() * shares).sum()


def gaussian_kl(mean_p: Tensor, variance_p: Tensor, mean_q: Tensor, variance_q: Tensor) -> Tensor:
    """KL(p || q) of two Gaussians, in nats: ln(s_q / s_p) + (s_p^2 + (m_p - m_q)^2) / (2 s_q^2) - 1 / 2."""
    ratio = variance_p / variance_q
    return 0.5 * (ratio - ratio.log() - 1 + (mean_p - mean_q).square() / variance_q)


def _some(n: int, data: ImageSource, draws: torch.Generator) -> Tensor:
    """`n` positions, in order."""
    return torch.randperm(len(data), generator=draws)[:n].sort().values.to(data.labels.device)
