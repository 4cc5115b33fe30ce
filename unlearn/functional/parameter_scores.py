"""How much each parameter matters for a set of samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.core.errors import UnlearnError, some
from unlearn.core.memory import Pieces
from unlearn.core.random_streams import stream
from unlearn.core.types import Subset
from unlearn.core.validation import at_least, one_of
from unlearn.functional.per_sample_gradients import gradients, sums

Scores = dict[str, Tensor]  # of a gradient: parameter name -> float, the parameter's shape


@dataclass(frozen=True)
class Statistic(ABC):
    """Something about a model on a set of samples, by name."""

    name: str

    @abstractmethod
    def compute(self, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Scores:
        """Tensors by name, for a model in eval mode.

        `batches` yields images float32 [b, c, h, w] in [0, 1] and labels int64 [b]; how they are cut does not
        change the result.
        """


@dataclass(frozen=True)
class GradientStatistic(Statistic):
    """A statistic of dF/dw over a set of samples.

    F is the cross-entropy at the true label (`loss`), half the squared norm of the logits (`output`), or the
    cross-entropy at a label of the model's own p: `expected` is the sum over all labels y, weighted by p_y, one pass
    for each class, and `sampled` draws one label per sample. `mean_square` of the first is the diagonal of the Fisher
    information; that of the second estimates it, and collapses on a fitted net, which hardly ever draws a wrong label.
    The k-th sample's label is drawn by the k-th number of one fixed stream (our choice).

    - `mean_gradient`: mean over samples of dF/dw, with its sign
    - `sum_absolute`: sum over samples of |dF/dw|
    - `mean_square`: mean over samples of (dF/dw)^2

    By parameter name, each of its parameter's shape; parameters that no output depends on are left out.
    """

    of: str = "loss"

    def compute(self, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Scores:
        if model.training:
            raise ValueError("sensitivity is defined for a model in eval mode")
        if self.of == "expected":
            if self.name != "mean_square":
                raise ValueError(f"of='expected': expected the statistic mean_square, got {self.name}")
            batches = every_label(model, batches)
        draws = stream(0, "sampled labels")

        def function(logits: Tensor, labels: Tensor) -> Tensor:
            return self._function(logits, labels, draws)

        if self.name == "mean_gradient":
            total, n = gradients(model, batches, function, draws)
        else:  # of each sample: the square of a mean gradient would be another quantity
            power = torch.abs if self.name == "sum_absolute" else torch.square
            total, n = sums(model, batches, function, power, draws)
        return total if self.name == "sum_absolute" else {name: t / n for name, t in total.items()}

    def _function(self, logits: Tensor, labels: Tensor, draws: torch.Generator) -> Tensor:
        """Sum of F over a batch."""
        if self.of == "output":
            half_square: Tensor = 0.5 * logits.square().sum()
            return half_square
        if self.of == "expected":  # its square's mean over labels is the sum over y of p_y (d CE_y / dw)^2
            weights = (logits.shape[1] * logits.detach().softmax(1).gather(1, labels[:, None])[:, 0]).sqrt()
            return (weights * F.cross_entropy(logits, labels, reduction="none")).sum()
        if self.of == "sampled":
            labels = draw_labels(logits.detach(), draws)
        return F.cross_entropy(logits, labels, reduction="sum")


def every_label(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Each batch once for every output of the model, with that output's index as the label of all its samples."""
    classes = 0
    for images, labels in batches:
        if not classes:
            with torch.no_grad():
                classes = model(images[:1]).shape[1]
        for label in range(classes):
            yield images, torch.full_like(labels, label)


def draw_labels(logits: Tensor, generator: torch.Generator) -> Tensor:
    """A label int64 [n] for each of logits [n, C], drawn from p = softmax; each takes one number of the stream."""
    reached = logits.double().softmax(1).cumsum(1)
    drawn = torch.rand(len(logits), 1, generator=generator, dtype=torch.float64).to(reached.device)
    return (reached <= drawn).sum(1).clamp(max=logits.shape[1] - 1)  # rounding may leave the last sum below 1


def complete(scores: Scores, model: nn.Module) -> Scores:
    """`scores`, which hold every parameter of the model.

    Raises:
        UnlearnError: a parameter has none; taken as 0 it would be changed or kept for no reason.
    """
    missing = [name for name, _ in model.named_parameters() if name not in scores]
    if missing:
        raise UnlearnError(f"model: expected outputs that depend on every parameter, came none for {some(missing)}")
    return scores


@dataclass(frozen=True)
class Relevance(Statistic):
    """Relevance of the inputs of the last linear layer to each sample's true class y, by layer-wise relevance
    propagation's epsilon-rule (Bach et al. 2015): R_i = a_i w_yi / (z_y + epsilon sign z_y) * z_y.

    a is the layer's input and z_y = sum_i a_i w_yi + b_y the logit, which is all the relevance there is: it is
    conserved up to the bias's share and epsilon, which changes no order within a sample.

    Gives `relevance` [n, d], and `labels` int64 [n].

    Raises:
        UnlearnError: the last linear layer does not give the logits.
    """

    name: str = field(default="relevance", init=False)
    epsilon: float = 1e-6  # in logits (our choice)

    @torch.no_grad()
    def compute(self, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Scores:
        if model.training:
            raise ValueError("relevance is defined for a model in eval mode")
        head = last_linear(model)
        rows, seen, pieces = list[Tensor](), list[Tensor](), Pieces()
        if head is not None:
            work = partial(self._rows, model, head[1])
            for images, labels in batches:
                rows += pieces.results(work, images, labels)
                seen.append(labels)
        if not rows:
            raise UnlearnError("model: expected an nn.Linear, and samples to pass through it, came none")
        return {"relevance": torch.cat(rows), "labels": torch.cat(seen)}

    def _rows(self, model: nn.Module, head: nn.Linear, images: Tensor, labels: Tensor) -> Tensor:
        """Relevance [b, d] of one batch."""
        seen: list[tuple[Tensor, Tensor]] = []
        hook = head.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
        try:
            logits = model(images)
        finally:
            hook.remove()
        if not seen or not torch.equal(seen[-1][1], logits):
            raise UnlearnError("model: expected its last nn.Linear to give the logits, came others")
        z = logits.gather(1, labels[:, None])
        away = torch.where(z < 0, -self.epsilon, self.epsilon)  # from 0
        relevance: Tensor = seen[-1][0] * head.weight[labels] / (z + away) * z
        return relevance


def last_linear(model: nn.Module) -> tuple[str, nn.Linear] | None:
    """The linear layer that a model holds last, with its name; None: it has none."""
    found = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    return found[-1] if found else None


@dataclass(frozen=True)
class Need:
    """A statistic of the original on one subset: computed once, shared by all strategies and cells that name it."""

    statistic: Statistic
    subset: Subset
    samples: int | None = None  # at most so many, evenly spaced over the subset; None: all


@dataclass(frozen=True)
class Sensitivity:
    """Sensitivity of F(x, w) to each weight: what a selection ranks by.

    The paper scores by the size of dF/dw over D_f [S]; whether F is the loss or the output norm, and how samples
    are summed, is not known, so both are options [ours]. `score` is the size of a `GradientStatistic` on D_f, or ours:

    - `ratio`: mean_square on D_f / (mean_square on D_r + damping * its mean over all entries), so that entries rank
      first which matter to the forgotten more than to the retained. An entry without a gradient on D_f scores 0.
    """

    score: str = one_of("mean_gradient", "sum_absolute", "mean_square", "ratio")
    of: str = one_of("loss", "output")
    retain_samples: int | None = at_least(1, 2000)  # ratio: of D_r, evenly spaced; null: all
    damping: float = at_least(0, 1.0)  # ratio: towards infinity it ranks as mean_square does

    def needs(self) -> tuple[Need, ...]:
        """What it is made of."""
        if self.score != "ratio":
            return (Need(GradientStatistic(self.score, self.of), Subset.FORGET),)
        square = GradientStatistic("mean_square", self.of)
        return Need(square, Subset.FORGET), Need(square, Subset.RETAIN, self.retain_samples)

    def combine(self, scores: Mapping[Need, Scores]) -> Scores:
        """Scores >= 0 by parameter name from those of its needs; infinite where only D_f has a gradient at all."""
        forget, *others = (scores[need] for need in self.needs())
        if not others:
            return {name: value.abs() for name, value in forget.items()}
        (retain,) = others
        floor = self.damping * torch.cat([value.flatten() for value in retain.values()]).double().mean()
        return {name: _ratio(forget[name].double(), retain[name].double() + floor) for name in forget}


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """above / below with 0 / 0 = 0."""
    return torch.where(above == 0, 0.0, above / below)
