"""Is the forget set still remembered? Asked while a strategy fine-tunes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from unlearn.batch import Batch, sequential
from unlearn.strategies.base import Context
from unlearn.types import ImageSource, Subset

SAMPLES = 128  # of each set in one check, drawn anew: errors of up to 0.05 even out over the checks


class MemoryGate:
    """Open while more of the forget set is classified correctly than unseen images would be [ours].

    Unseen images are the validation set, weighted so that its classes are as frequent as in the forget set. Of a class
    that the retain set lacks, nothing would be classified correctly. So neither a net nor a data set needs a threshold.

    Args:
        context: the forget, retain and validation sets, and the stream that samples are drawn from.
        every: how many calls pass between two checks; the first call checks.

    Example:
        >>> gate = MemoryGate(context, every=10)  # doctest: +SKIP
        >>> weight = 1.0 if gate.is_open(model) else 0.0  # doctest: +SKIP
    """

    def __init__(self, context: Context, every: int) -> None:
        self.forget, self.validation = context.data[Subset.FORGET], context.data[Subset.VALIDATION]
        self.every = every
        self._draws = context.generator("memory gate")
        self._calls = 0
        self._open = True
        forget, retain = self.forget.labels.cpu(), context.data[Subset.RETAIN].labels.cpu()
        known = torch.isin(forget, retain)
        self._known = known.double().mean().item()  # the fraction of the forget set whose class the retain set has
        self._weights = class_weights(self.validation.labels.cpu(), forget[known])

    def is_open(self, model: nn.Module) -> bool:
        """Whether `model` still remembers; called once a step, it checks at every `every`-th call."""
        if self._calls % self.every == 0:
            self._open = self._remembers(model)
        self._calls += 1
        return self._open

    def _remembers(self, model: nn.Module) -> bool:
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        forget, _ = self._correct(model, self.forget)
        seen, chosen = self._correct(model, self.validation)
        for module, training in modes:
            module.training = training
        weights = self._weights[chosen]
        unseen = self._known * (weights @ seen).item() / max(weights.sum().item(), 1e-12)
        return forget.mean().item() > unseen

    @torch.no_grad()
    def _correct(self, model: nn.Module, data: ImageSource) -> tuple[Tensor, Tensor]:
        """Which of some samples are classified correctly, float64 [n], and their positions int64 [n]."""
        chosen = torch.randperm(len(data), generator=self._draws)[:SAMPLES]
        batches = sequential(data.take(chosen.to(data.labels.device)), SAMPLES)
        return torch.cat(list(_hits(model, batches))).cpu().double(), chosen


def _hits(model: nn.Module, batches: Iterator[Batch]) -> Iterator[Tensor]:
    for images, labels, _ in batches:
        yield model(images).argmax(1) == labels


def class_weights(labels: Tensor, wanted: Tensor) -> Tensor:
    """Weights float64 [n] under which classes among `labels` int64 [n] are as frequent as among `wanted`.

    All weights are 1 where `wanted` has no class of `labels`.
    """
    classes = int(torch.cat([labels, wanted]).max()) + 1
    have, want = (torch.bincount(each, minlength=classes).double() for each in (labels, wanted))
    weights = (want / have.clamp(min=1))[labels]
    return weights if weights.any() else torch.ones_like(weights)
