"""Influence functions: one step towards the optimum without the forget set, or with its labels corrected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from unlearn.core.batch import evenly_spaced, iter_batches
from unlearn.core.types import ImageSource, Subset
from unlearn.core.validation import at_least, checked, fraction, positive
from unlearn.functional.parameter_scores import GradientStatistic, Need, Scores, require_complete
from unlearn.strategies.base import Context, Edit, Strategy

BATCH = 256
DAMPING, DAMPING_OF_CORRECTIONS = 0.1, 0.03
GRADIENT = GradientStatistic("mean_gradient")
FORGOTTEN = Need(GRADIENT, Subset.FORGET)
UNSOLVED = (
    "Conjugate gradients stopped after {} iterations at a relative residual of {:.2g} instead of {:g}: the step is not "
    "the Newton step. Raise strategy.iterations, or strategy.damping."
)


@dataclass(frozen=True)
class Influence(Strategy):
    """Influence functions (Warnecke et al. 2023): one step from theta_0. Sums run over D_f, l is the cross-entropy.

    - `order=1`: theta + tau sum grad l
    - `order=2`: theta + (1 / n_r) (H + damping I)^-1 sum (grad l + weight_decay theta), with H the Hessian on D_r of
      the mean loss and weight decay: the Newton step to the optimum without D_f

    If labels are corrected (`forget=relabel`), sum grad l(z) - sum grad l(z~) replaces the sum, with z~ the samples
    under their right labels; H is that on the corrected data, and the factor is 1 / n.

    H is the Gauss-Newton matrix, which is positive, on at most `samples` of D_r, evenly spaced. The system is solved by
    conjugate gradients, up to `iterations` or a relative residual of `tolerance`; if it ends above the tolerance, the
    report notes the residual. For logistic regression H is the Hessian itself. Unlike "IU" in published tables, this
    makes no WoodFisher approximation.

    Trap: on deep nets a long step leaves the region in which H describes the loss. On a convex model damping 0 is
    exact, and any damping shortens the step. The defaults are ours. `damping` was chosen on validation by
    `selection/average_gap` from 0, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1 and 0.3, on digits:

    - corrected labels (label noise 0.2, means of seeds 10 and 11): 0.03 has a gap of 0.029; 0.01 has 0.061, 0.1 has
      0.038, 0.001 has 0.478 and a retain accuracy of 0.15.
    - deletion of the mislabelled (the same noise, means of seeds 10 and 11): 0.1 has 0.117; 0.3 has 0.127, 0.03 has
      0.222; 0.01 and below (seed 10 alone) 0.50 or more, with a retain accuracy of at most 0.13.
    - deletion of a random tenth (no noise, means of seeds 10 and 11): 1e-4 has 0.0067; all lie between that and 0.0091,
      about one forget sample (of 108) apart, so the second request decides.
    """

    corrects_labels: ClassVar[bool] = True

    order: int = checked(2, "1 or 2", lambda order: order in (1, 2))  # 1: gradient step, 2: Newton step
    tau: float = positive(1e-4)  # order 1: step size
    damping: float | None = at_least(0, None)  # order 2; null: 0.1, or 0.03 if labels are corrected
    weight_decay: float = at_least(0, 5e-4)  # order 2: that of the original's training
    samples: int | None = at_least(1, 2000)  # order 2: samples of D_r that H uses; null: all
    iterations: int = at_least(1, 200)  # order 2: largest number of conjugate-gradient steps
    tolerance: float = fraction(0.01)  # order 2: relative residual to stop at
    refresh_bn: bool = True  # estimate batch normalisation's running statistics again after the step

    @property
    def gentler_advice(self) -> str:
        return "raise strategy.damping" if self.order == 2 else "lower strategy.tau"

    def needs(self) -> tuple[Need, ...]:
        return (FORGOTTEN,)

    @torch.no_grad()
    def edit(self, model: nn.Module, context: Context) -> Edit:
        theta = parameters_to_vector(model.parameters())
        direction = len(context.data[Subset.FORGET]) * _flatten(model, context.scores[FORGOTTEN])
        relabelled = context.data.get(Subset.RELABELLED)
        if relabelled is not None:
            direction -= len(relabelled) * _flatten(model, _gradient(model, relabelled))
        elif self.order == 2:
            direction += len(context.data[Subset.FORGET]) * self.weight_decay * theta
        step = self.tau * direction if self.order == 1 else self._newton(model, direction, context)
        vector_to_parameters(theta + step, model.parameters())
        return Edit(
            {name: torch.ones_like(p, dtype=torch.bool) for name, p in model.named_parameters()}, self.refresh_bn
        )

    def _newton(self, model: nn.Module, direction: Tensor, context: Context) -> Tensor:
        """Solve for the Newton step [N]; `direction` [N] is the sum of gradients on its right-hand side."""
        retain = evenly_spaced(context.data[Subset.RETAIN], self.samples)
        relabelled = context.data.get(Subset.RELABELLED)
        parts = [(retain, context.n_retain / len(retain))]
        parts += [] if relabelled is None else [(relabelled, 1.0)]
        n = context.n_retain + (0 if relabelled is None else len(relabelled))
        default = DAMPING if relabelled is None else DAMPING_OF_CORRECTIONS
        ridge = self.weight_decay + (default if self.damping is None else self.damping)

        def product(v: Tensor) -> Tensor:
            return sum(weight * gauss_newton(model, data, v) for data, weight in parts) / n + ridge * v

        step, residual = conjugate_gradient(product, direction / n, self.iterations, self.tolerance, context.tick)
        if residual > self.tolerance:
            context.notes["solver"] = UNSOLVED.format(self.iterations, residual, self.tolerance)
        return step


def gauss_newton(model: nn.Module, data: ImageSource, v: Tensor) -> Tensor:
    """Return the Gauss-Newton matrix of the cross-entropy, times v.

    Args:
        model: the net, with N parameters.
        data: the samples that the matrix is summed over.
        v: [N], in the order of `model.parameters()`.

    Returns:
        Sum over samples of J^T (diag p - p p^T) J v, [N], with J the Jacobian of the logits.
    """
    theta = {name: p.detach() for name, p in model.named_parameters()}
    direction = _like(v, theta)
    total = torch.zeros_like(v)
    for batch in iter_batches(data, BATCH):
        logits, transposed, *_ = vjp(partial(_logits, model, batch.images.to(v.dtype)), theta)  # u -> J^T u
        # v -> J v: the transposed map of J^T, so that backward passes suffice
        _, forward, *_ = vjp(lambda u, transposed=transposed: transposed(u)[0], torch.zeros_like(logits))
        (jv,) = forward(direction)
        p = logits.softmax(1)
        (product,) = transposed(p * jv - p * (p * jv).sum(1, keepdim=True))
        total += torch.cat([part.flatten() for part in product.values()])
    return total


def _logits(model: nn.Module, images: Tensor, theta: dict[str, Tensor]) -> Tensor:
    logits: Tensor = functional_call(model, theta, (images,))
    return logits


def _like(v: Tensor, theta: dict[str, Tensor]) -> dict[str, Tensor]:
    """Split a flat vector into the shapes of the parameters."""
    parts = torch.split(v, [p.numel() for p in theta.values()])
    return {name: part.view_as(p) for part, (name, p) in zip(parts, theta.items(), strict=True)}


def conjugate_gradient(
    product: Callable[[Tensor], Tensor], b: Tensor, iterations: int, tolerance: float, tick: Callable[[int, int], None]
) -> tuple[Tensor, float]:
    """Solve A x = b by conjugate gradients from zero, for a positive definite A that is given by its products.

    Args:
        product: maps v [N] to A v [N].
        b: right-hand side [N].
        iterations: the largest number of products.
        tolerance: stop once |b - A x| is at most this fraction of |b|.
        tick: called with the number of iterations done, and `iterations`.

    Returns:
        x [N], and its relative residual |b - A x| / |b| (0 if b is 0). The residual is computed by one more product,
        since the recursion's value drifts in float32.
    """
    x, residual = torch.zeros_like(b), b.clone()
    direction, size = residual.clone(), residual.dot(residual)
    target = tolerance**2 * size
    for done in range(iterations):
        if size <= target:
            break
        image = product(direction)
        step = size / direction.dot(image)
        x += step * direction
        residual -= step * image
        size, before = residual.dot(residual), size
        direction = residual + (size / before) * direction
        tick(done + 1, iterations)
    scale = b.norm().item()
    return x, (b - product(x)).norm().item() / scale if scale else 0.0


def _flatten(model: nn.Module, scores: Scores) -> Tensor:
    """Return scores as one vector [N], in the order of the parameters."""
    scores = require_complete(scores, model)
    return torch.cat([scores[name].flatten() for name, _ in model.named_parameters()])


@torch.enable_grad()
def _gradient(model: nn.Module, data: ImageSource) -> Scores:
    return GRADIENT.compute(model, _pairs(data, next(model.parameters()).dtype))


def _pairs(data: ImageSource, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in iter_batches(data, BATCH):
        yield batch.images.to(dtype), batch.labels
