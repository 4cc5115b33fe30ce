"""Lower an attacker's belief that the forgotten samples were members."""

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
from unlearn.strategies.attack_head import AttackHead, attack_features, sample_losses, train_head
from unlearn.strategies.base import Batches, Context, Loss, compute_logits
from unlearn.strategies.iterative import Objective


@dataclass(frozen=True)
class MembershipLoss(Objective):
    """Fine-tune on D_r while D_f becomes indistinguishable from unseen samples for an attacker.

    Minimises CE(D_r) + beta * R(D_f), after ReMI (Silver Linings 2024), whose equations are not public: R is ours.

    - `form=head`: R = BCE(h(f(x)), non-member). The attacker h reads sorted log-probabilities and the loss. It is
      fitted to the original's outputs on equally many samples of D_r (members) and validation (non-members), and then
      frozen.
    - `form=gaussian`: R = KL(N_f || N_v) of Gaussians fitted to the losses of the batch of D_f, and once to the
      original's on validation. It is no mean over samples: with several processes each fits its own part of the batch,
      so results differ from those of one process. It grows with the square of a loss, so without clipping it diverges.

    Forget batches pass batch normalisation by its running statistics, as the original did when h was fitted [ours].

    Trap: grade it by an attack other than the one it trains on. `logistic`, the default attack, ranks by the loss,
    which `gaussian` matches outright and which h reads too. A search judges by validation samples, which this strategy
    imitates. Under class-wise forgetting validation holds the forgotten class, so imitating it means knowing the class.
    """

    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=10, lr=0.01, clip=1.0))
    form: str = one_of("head", "gaussian")  # what R is
    beta: float = at_least(0, 1.0)  # weight of R
    hidden: int = at_least(1, 32)  # head: its hidden units
    head_epochs: int = at_least(1, 200)  # head: Adam steps on all of its samples
    head_lr: float = positive(0.01)  # head: Adam's learning rate
    floor: float = positive(1e-2)  # gaussian: added to both variances, in nats^2; a batch of one has none itself

    def data(self, context: Context) -> Mapping[Subset, ImageSource]:
        return {subset: context.data[subset] for subset in (Subset.RETAIN, Subset.FORGET)}

    def loss(self, context: Context) -> Loss:
        penalty = {"head": self._head_penalty, "gaussian": self._gaussian_penalty}[self.form](context)

        def loss(model: nn.Module, batches: Batches, _: int) -> Tensor:
            forget = batches[Subset.FORGET]
            retain = self.task_loss(model, batches, Subset.RETAIN)  # first: it updates running statistics
            return retain + self.beta * penalty(compute_logits(model, forget.images, running_statistics=True), forget)

        return loss

    def _head_penalty(self, context: Context) -> Callable[[Tensor, Batch], Tensor]:
        head = self.train_attacker(context)
        # softplus of a logit is the binary cross-entropy against label 0
        return lambda logits, batch: batch.mean(F.softplus(head(attack_features(logits, batch.labels))))

    def _gaussian_penalty(self, context: Context) -> Callable[[Tensor, Batch], Tensor]:
        unseen = sample_losses(context.original, context.data[Subset.VALIDATION])
        unseen_mean, unseen_variance = weighted_moments(unseen, torch.ones_like(unseen))

        def penalty(logits: Tensor, batch: Batch) -> Tensor:
            losses = F.cross_entropy(logits, batch.labels, reduction="none")
            weights = torch.ones_like(losses) if batch.weights is None else batch.weights
            mean, variance = weighted_moments(losses, weights)
            divergence = gaussian_kl(mean, variance + self.floor, unseen_mean, unseen_variance + self.floor)
            return batch.mean(divergence.expand(len(losses)))

        return penalty

    def train_attacker(self, context: Context) -> AttackHead:
        """Return the frozen head, fitted to the original's outputs on equally many members and non-members."""
        retain, validation = context.data[Subset.RETAIN], context.data[Subset.VALIDATION]
        n, draws = min(len(retain), len(validation)), context.generator("attack head samples")
        members, others = (data.take(_draw_positions(n, data, draws)) for data in (retain, validation))
        weights = context.generator("attack head")
        return train_head(context.original, members, others, self.hidden, self.head_epochs, self.head_lr, weights)


def weighted_moments(values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted mean and population variance of values [n]; both are 0 where all weights are 0."""
    fractions = weights / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)
    mean = (values * fractions).sum()  # no product of matrices, which mixed precision would round
    return mean, ((values - mean).square() * fractions).sum()


def gaussian_kl(mean_p: Tensor, variance_p: Tensor, mean_q: Tensor, variance_q: Tensor) -> Tensor:
    """Return KL(p || q) of two Gaussians, in nats: ln(s_q / s_p) + (s_p^2 + (m_p - m_q)^2) / (2 s_q^2) - 1 / 2."""
    ratio = variance_p / variance_q
    return 0.5 * (ratio - ratio.log() - 1 + (mean_p - mean_q).square() / variance_q)


def _draw_positions(n: int, data: ImageSource, draws: torch.Generator) -> Tensor:
    """Draw `n` positions without replacement, int64 [n], sorted."""
    return torch.randperm(len(data), generator=draws)[:n].sort().values.to(data.labels.device)
