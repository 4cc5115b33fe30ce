"""Scores of how much each parameter matters for a set of samples, from gradients or relevance."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.core.errors import UnlearnError, abbreviate
from unlearn.core.memory import MicroBatches
from unlearn.core.random_streams import stream
from unlearn.core.types import Subset
from unlearn.core.validation import at_least, one_of
from unlearn.functional.per_sample_gradients import sum_gradients, sum_powers

Scores = dict[str, Tensor]  # gradient scores: parameter name -> float, in the parameter's shape


@dataclass(frozen=True)
class Statistic(ABC):
    """A statistic of a model on a set of samples."""

    name: str

    @abstractmethod
    def compute(self, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Scores:
        """Compute the statistic; the size of the batches does not matter.

        Args:
            model: in eval mode.
            batches: images float32 [b, c, h, w] in [0, 1] and labels int64 [b].

        Returns:
            Tensors by name.
        """


@dataclass(frozen=True)
class GradientStatistic(Statistic):
    """A statistic of dF/dw over a set of samples, by parameter name, in the parameter's shape.

    `of` selects F:

    - `loss`: the cross-entropy at the true label
    - `output`: half the squared norm of the logits
    - `expected`: the cross-entropy at each label y, weighted by the model's own probability p_y; one pass per class.
      `mean_square` of it is the diagonal of the Fisher information
    - `sampled`: the cross-entropy at one label per sample, drawn from p. `mean_square` of it estimates the Fisher
      information, and collapses on a fitted net, which hardly ever draws a wrong label. The k-th number of one fixed
      stream draws the label of the k-th sample (our choice)

    `name` selects the statistic:

    - `mean_gradient`: mean over samples of dF/dw, with its sign
    - `sum_absolute`: sum over samples of |dF/dw|
    - `mean_square`: mean over samples of (dF/dw)^2

    Parameters that no output depends on are left out.
    """

    of: str = "loss"

    def compute(self, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Scores:
        if model.training:
            raise ValueError("model: expected eval mode, in which sensitivity is defined, got train mode")
        if self.of == "expected":
            if self.name != "mean_square":
                raise ValueError(f"of='expected': expected the statistic mean_square, got {self.name}")
            batches = repeat_for_every_label(model, batches)
        draws = stream(0, "sampled labels")

        def function(logits: Tensor, labels: Tensor) -> Tensor:
            return self._function(logits, labels, draws)

        if self.name == "mean_gradient":
            total, n = sum_gradients(model, batches, function, draws)
        else:  # powers per sample: the square of a mean gradient is another quantity
            power = torch.abs if self.name == "sum_absolute" else torch.square
            total, n = sum_powers(model, batches, function, power, draws)
        return total if self.name == "sum_absolute" else {name: t / n for name, t in total.items()}

    def _function(self, logits: Tensor, labels: Tensor, draws: torch.Generator) -> Tensor:
        """Sum of F over a batch."""
        if self.of == "output":
            half_square: Tensor = 0.5 * logits.square().sum()
            return half_square
        if self.of == "expected":  # the mean of its square over labels is the sum over y of p_y (d CE_y / dw)^2
            weights = (logits.shape[1] * logits.detach().softmax(1).gather(1, labels[:, None])[:, 0]).sqrt()
            return (weights * F.cross_entropy(logits, labels, reduction="none")).sum()
        if self.of == "sampled":
            labels = draw_labels(logits.detach(), draws)
        return F.cross_entropy(logits, labels, reduction="sum")


def repeat_for_every_label(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each batch once per class, with that class as the label of all its samples."""
    classes = 0
    for images, labels in batches:
        if not classes:
            with torch.no_grad():
                classes = model(images[:1]).shape[1]
        for label in range(classes):
            yield images, torch.full_like(labels, label)


def draw_labels(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a label from the softmax of each row.

    Args:
        logits: float [n, C].
        generator: on the CPU; each row takes one number from it.

    Returns:
        Labels int64 [n].
    """
    cumulative = logits.double().softmax(1).cumsum(1)
    uniform = torch.rand(len(logits), 1, generator=generator, dtype=torch.float64).to(cumulative.device)
    return (cumulative <= uniform).sum(1).clamp(max=logits.shape[1] - 1)  # rounding may leave the last sum below 1


def require_complete(scores: Scores, model: nn.Module) -> Scores:
    """Return `scores` if they hold every parameter of the model.

    Raises:
        UnlearnError: a parameter has no score; a score of 0 would change or keep it for no reason.
    """
    missing = [name for name, _ in model.named_parameters() if name not in scores]
    if missing:
        expected = "outputs that depend on every parameter"
        raise UnlearnError(f"model: expected {expected}, got none that depend on {abbreviate(missing)}")
    return scores


@dataclass(frozen=True)
class Relevance(Statistic):
    """Relevance of each input of the last linear layer to the logit of a sample's true class y.

    By the epsilon rule of layer-wise relevance propagation (Bach et al. 2015):
    R_i = a_i w_yi / (z_y + epsilon sign z_y) * z_y, with a the layer's input and z_y = sum_i a_i w_yi + b_y the logit.
    The relevances of a sample sum to z_y, except for the part of the bias and for epsilon, which does not change their
    order.

    The result holds `relevance` [n, d] and `labels` int64 [n].

    Raises:
        UnlearnError: the last linear layer does not give the logits.
    """

    name: str = field(default="relevance", init=False)
    epsilon: float = 1e-6  # in logits (our choice)

    @torch.no_grad()
    def compute(self, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Scores:
        if model.training:
            raise ValueError("model: expected eval mode, in which relevance is defined, got train mode")
        head = find_last_linear(model)
        relevance, all_labels, micro_batches = list[Tensor](), list[Tensor](), MicroBatches()
        if head is not None:
            work = partial(self._relevance, model, head[1])
            for images, labels in batches:
                relevance += micro_batches.map(work, images, labels)
                all_labels.append(labels)
        if not relevance:
            raise UnlearnError("model: expected an nn.Linear and samples that pass through it, got none")
        return {"relevance": torch.cat(relevance), "labels": torch.cat(all_labels)}

    def _relevance(self, model: nn.Module, head: nn.Linear, images: Tensor, labels: Tensor) -> Tensor:
        """Relevance [b, d] of one batch."""
        calls: list[tuple[Tensor, Tensor]] = []
        hook = head.register_forward_hook(lambda _, inputs, output: calls.append((inputs[0], output)))
        try:
            logits = model(images)
        finally:
            hook.remove()
        if not calls or not torch.equal(calls[-1][1], logits):
            raise UnlearnError("model: expected logits from its last nn.Linear, got logits from another layer")
        z = logits.gather(1, labels[:, None])
        epsilon = torch.where(z < 0, -self.epsilon, self.epsilon)  # away from 0
        relevance: Tensor = calls[-1][0] * head.weight[labels] / (z + epsilon) * z
        return relevance


def find_last_linear(model: nn.Module) -> tuple[str, nn.Linear] | None:
    """Find the last linear layer of a model and its name; None if it has no linear layer."""
    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    return layers[-1] if layers else None


@dataclass(frozen=True)
class Need:
    """A statistic of the original on one subset that a strategy needs; computed once for all strategies and cells."""

    statistic: Statistic
    subset: Subset
    samples: int | None = None  # the largest number of samples, evenly spaced over the subset; None: all


@dataclass(frozen=True)
class Sensitivity:
    """Sensitivity of F(x, w) to each weight; selections rank weights by it.

    The paper scores a weight by the absolute value of dF/dw over D_f [S]. Whether F is the loss or the output norm,
    and how samples are summed, is not known, so both are options [ours]. `score` is the absolute value of a
    `GradientStatistic` on D_f, or [ours]:

    - `ratio`: mean_square on D_f / (mean_square on D_r + damping * its mean over all entries), so that the entries
      that matter more to the forget set than to the retain set rank first. An entry without a gradient on D_f scores 0.
    """

    score: str = one_of("mean_gradient", "sum_absolute", "mean_square", "ratio")  # how samples are summed
    of: str = one_of("loss", "output")  # what F is
    retain_samples: int | None = at_least(1, 2000)  # ratio: samples of D_r, evenly spaced; null: all
    damping: float = at_least(0, 1.0)  # ratio: towards infinity the ranking becomes that of mean_square

    def needs(self) -> tuple[Need, ...]:
        """The statistics that the score is computed from."""
        if self.score != "ratio":
            return (Need(GradientStatistic(self.score, self.of), Subset.FORGET),)
        square = GradientStatistic("mean_square", self.of)
        return Need(square, Subset.FORGET), Need(square, Subset.RETAIN, self.retain_samples)

    def combine(self, scores: Mapping[Need, Scores]) -> Scores:
        """Compute the scores by parameter name; infinite where D_f has a gradient and D_r has none.

        Args:
            scores: the statistics of `needs()`.

        Returns:
            Scores >= 0.
        """
        forget, *others = (scores[need] for need in self.needs())
        if not others:
            return {name: value.abs() for name, value in forget.items()}
        (retain,) = others
        floor = self.damping * torch.cat([value.flatten() for value in retain.values()]).double().mean()
        return {name: _ratio(forget[name].double(), retain[name].double() + floor) for name in forget}


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The ratio, with 0 / 0 = 0."""
    return torch.where(numerator == 0, 0.0, numerator / denominator)
