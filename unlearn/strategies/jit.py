"""JiT: smooth the model around the forget set."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from unlearn.core.recipe import Recipe
from unlearn.core.types import Subset
from unlearn.core.validation import at_least, positive
from unlearn.strategies.base import Batches, Context, Loss, compute_logits
from unlearn.strategies.one_device import OneDevice
from unlearn.strategies.retain_free import RetainFree

TINY = 1e-12  # added to norms, whose gradient at 0 is not finite


@dataclass(frozen=True)
class Jit(OneDevice, RetainFree):
    """JiT (Foster et al. 2024): smooth the model around D_f by one pass over it, and read no retain set.

    Minimises the mean over D_f of ||z(x) - z(x + xi)|| / ||xi||, an estimate of the local Lipschitz constant, averaged
    over `draws` draws of Gaussian noise xi. z are the logits, and z(x + xi) is held constant. What a model has
    memorised it knows sharply; general knowledge is smooth and survives.

    The authors' code makes one pass with 10 draws of standard deviation 0.1 at a learning rate of 1e-3 [C]; the
    default rate, half of the training's, was chosen on digits (seed 100) [ours]. x + xi is not cut to [0, 1].

    Every process would draw noise of its own, so JiT runs on one device.
    """

    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=1, lr=0.025, weight_decay=0.0))
    draws: int = at_least(1, 10)  # of noise for each step
    noise: float = positive(0.1)  # standard deviation of xi; pixels are in [0, 1]

    def loss(self, context: Context) -> Loss:
        generator = context.generator("noise")

        def loss(model: nn.Module, batches: Batches, _: int) -> Tensor:
            batch = batches[Subset.FORGET]
            logits = compute_logits(model, batch.images, running_statistics=True)
            slopes = [self._slope(model, batch.images, logits, generator) for _ in range(self.draws)]
            return batch.mean(torch.stack(slopes).mean(0))

        return loss

    def _slope(self, model: nn.Module, images: Tensor, logits: Tensor, generator: torch.Generator) -> Tensor:
        """Return ||z(x) - z(x + xi)|| / ||xi|| of each sample, [b], for one draw of the noise."""
        xi = self.noise * torch.randn(images.shape, generator=generator).to(images)
        with torch.no_grad():
            shifted = compute_logits(model, images + xi, running_statistics=True)
        change = (logits - shifted).square().sum(1).add(TINY).sqrt()
        slope: Tensor = change / xi.flatten(1).norm(dim=1)
        return slope
