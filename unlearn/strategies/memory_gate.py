"""The memory gate: a weight that falls to 0 once a model no longer remembers the forget set."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.core.batch import evenly_spaced, iter_batches
from unlearn.core.types import ImageSource, Subset
from unlearn.strategies.base import Context

CHECK_INTERVAL = 10  # steps between two checks
CHECK_BATCHES = 2  # batches of each set in a check, which then costs a tenth of the steps between two checks
MIN_CHECK_SAMPLES = 128  # images of each set in a check; its error, up to 0.05, averages out over the checks
MAX_VOTERS, MAX_QUERIES = 2000, 1000  # retain images that vote on labels, and images that are voted on
NEIGHBOURS, SIDE = 5, 8  # voters per image, and the side in pixels at which images are compared
FULLY_OPEN = 0.1  # accuracy above that of unseen images from which on the gate is fully open
SMOOTHING = 0.5  # weight of earlier checks in the running mean
SIGNIFICANT = 3.0  # standard errors; votes that differ by less count as equal


class MemoryGate:
    """Measures how much a model still remembers the forget set, 0 to 1 [ours].

    The opening is 1 while forget accuracy exceeds that of unseen images by `FULLY_OPEN` or more, and falls in
    proportion to 0 where the two are equal, on a running mean of the difference. (A gate that is either open or closed
    overshoots, since a push forgets faster than fine-tuning remembers.)

    The accuracy of unseen images comes from the validation set, weighted so that its classes are as frequent as in the
    forget set: the higher of the accuracies of the original and the present model. (With the present model alone a push
    that harms both sets would never end.) It is 0 for a class that the retain set lacks, and chance for wrong labels of
    D_f, whose fraction `wrong_label_fraction` estimates. So no threshold has to suit a net or a data set.

    Args:
        context: the forget, retain and validation sets, and the stream that samples are drawn from.
        batch_size: retain samples in a step; a check uses a multiple of it.
        every: calls between two checks; the first call checks.

    Example:
        >>> opening = MemoryGate(context, batch_size=64).opening  # doctest: +SKIP
        >>> loss = retain_loss - opening(model) * forget_loss  # doctest: +SKIP
    """

    def __init__(self, context: Context, batch_size: int, every: int = CHECK_INTERVAL) -> None:
        self.forget, self.validation = context.data[Subset.FORGET], context.data[Subset.VALIDATION]
        self.every = every
        self._samples = max(MIN_CHECK_SAMPLES, CHECK_BATCHES * batch_size)
        self._draws = context.generator("memory gate")
        self._calls = 0
        self._excess: float | None = None
        retain = context.data[Subset.RETAIN]
        known = torch.isin(self.forget.labels, retain.labels)
        self._known = known.double().mean().item()  # the fraction of the forget set whose class the retain set has
        self._weights = class_weights(self.validation.labels.cpu(), self.forget.labels[known].cpu())
        self._classes = len(torch.unique(retain.labels))
        self._original = context.original  # in eval mode
        self._before: float | None = None  # the original's validation accuracy, once computed
        voted = self.forget.take(known.nonzero()[:, 0])
        self._wrong = wrong_label_fraction(retain, self.validation, voted) if len(voted) else 0.0

    def opening(self, model: nn.Module) -> float:
        """Return how much `model` still remembers, 0 to 1. Call it once a step; it checks at every `every`-th call."""
        if self._calls % self.every == 0:
            excess = self._measure(model)
            previous = excess if self._excess is None else self._excess
            self._excess = SMOOTHING * previous + (1 - SMOOTHING) * excess
        self._calls += 1
        return min(1.0, max(0.0, self._excess or 0.0) / FULLY_OPEN)

    def _measure(self, model: nn.Module) -> float:
        """Return the accuracy on forget samples minus that of unseen images."""
        if self._before is None:
            self._before = self._validation_accuracy(self._original, MAX_QUERIES)
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        forget, _ = self._correct(model, self.forget, self._samples)
        accuracy = self._validation_accuracy(model, self._samples)
        for module, training in modes:
            module.training = training
        return forget.mean().item() - self._unseen(max(accuracy, self._before))

    def _validation_accuracy(self, model: nn.Module, most: int) -> float:
        """Return the accuracy (0-1) of a model in eval mode on at most `most` images, weighted by class."""
        hits, chosen = self._correct(model, self.validation, most)
        weights = self._weights[chosen]
        return (weights @ hits).item() / max(weights.sum().item(), 1e-12)

    def _unseen(self, accuracy: float) -> float:
        """Return the accuracy on D_f of a model of that validation accuracy that was not trained on D_f."""
        by_chance = (1 - accuracy) / max(1, self._classes - 1)
        return self._known * ((1 - self._wrong) * accuracy + self._wrong * by_chance)

    @torch.no_grad()
    def _correct(self, model: nn.Module, data: ImageSource, most: int) -> tuple[Tensor, Tensor]:
        """Return for at most `most` samples 1.0 if classified correctly, float64 [n], and their positions int64 [n]."""
        chosen = torch.randperm(len(data), generator=self._draws)[:most]
        batches = iter_batches(data.take(chosen.to(data.labels.device)), MIN_CHECK_SAMPLES)
        hits = [model(images).argmax(1) == labels for images, labels, _ in batches]
        return torch.cat(hits).cpu().double(), chosen


def import_gate(forget_while: str) -> None:
    """Import what a gate needs, before the time of the strategy is measured."""
    if forget_while == "remembered":
        import sklearn.neighbors  # noqa: F401


def make_gate(context: Context, forget_while: str, batch_size: int) -> Callable[[nn.Module], float]:
    """Return the factor of a forget term, as a function of the model.

    Args:
        context: the data that a gate reads.
        forget_while: `always` (the factor is 1) or `remembered` (the opening of a `MemoryGate`).
        batch_size: retain samples in a step.
    """
    return MemoryGate(context, batch_size).opening if forget_while == "remembered" else lambda model: 1.0


def wrong_label_fraction(retain: ImageSource, validation: ImageSource, forget: ImageSource) -> float:
    """Estimate the fraction of the labels of `forget` that are wrong, without a trained model [ours].

    The retain images nearest to an image in pixels vote on its label. Votes agree with validation labels at a rate a,
    with wrong labels at a rate (1 - a) / (classes - 1), and with those of `forget` at a rate b between the two. The
    estimate is 0 unless b is below a by `SIGNIFICANT` standard errors, so that chance alone makes no label wrong.

    Returns:
        The fraction, 0 to 1.
    """
    from sklearn.neighbors import KNeighborsClassifier

    references, classes = evenly_spaced(retain, MAX_VOTERS), len(torch.unique(retain.labels))
    if classes < 2:
        return 0.0
    voters = KNeighborsClassifier(min(NEIGHBOURS, len(references)))
    voters.fit(_thumbnails(references), references.labels.cpu().numpy())
    queries = [evenly_spaced(data, MAX_QUERIES) for data in (validation, forget)]
    a, b = (float(voters.score(_thumbnails(data), data.labels.cpu().numpy())) for data in queries)
    error = math.sqrt(sum(rate * (1 - rate) / len(data) for rate, data in zip((a, b), queries, strict=True)))
    by_chance = (1 - a) / (classes - 1)
    if a <= by_chance or a - b <= SIGNIFICANT * error:
        return 0.0
    return min(1.0, (a - b) / (a - by_chance))


def _thumbnails(data: ImageSource) -> npt.NDArray[np.float32]:
    """Return every image, shrunk to SIDE x SIDE pixels, as float32 [n, c * SIDE * SIDE] on the CPU."""
    batches = iter_batches(data, MIN_CHECK_SAMPLES)
    small = [F.adaptive_avg_pool2d(batch.images, SIDE).flatten(1) for batch in batches]
    pixels: npt.NDArray[np.float32] = torch.cat(small).cpu().numpy()
    return pixels


def class_weights(labels: Tensor, target: Tensor) -> Tensor:
    """Return sample weights under which the classes of `labels` are as frequent as those of `target`.

    Args:
        labels: int64 [n].
        target: int64 [m].

    Returns:
        float64 [n]; all 1 if `target` has no class of `labels`.
    """
    classes = int(torch.cat([labels, target]).max()) + 1
    counts, target_counts = (torch.bincount(values, minlength=classes).double() for values in (labels, target))
    weights = (target_counts / counts.clamp(min=1))[labels]
    return weights if weights.any() else torch.ones_like(weights)
