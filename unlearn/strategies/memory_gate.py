"""Is the forget set still remembered? Asked while a strategy fine-tunes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.core.batch import evenly_spaced, iter_batches
from unlearn.core.types import ImageSource, Subset
from unlearn.strategies.base import Context

EVERY = 10  # steps between two checks
BATCHES = 2  # images of each set in one check, in batches of the recipe: a check costs a tenth of the steps between
FEWEST = 128  # images of a check: its error, up to 0.05, evens out over the checks
REFERENCES, QUERIES = 2000, 1000  # retain images that vote on labels, and images that are asked about, at most
NEIGHBOURS, SIDE = 5, 8  # voters per image, compared as SIDE x SIDE pixels
WIDE_OPEN = 0.1  # accuracy beyond what unseen images score, from which on the gate is fully open
KEPT = 0.5  # of the difference of earlier checks, which smooths their errors
CERTAIN = 3.0  # standard errors: a smaller disagreement of the votes says nothing


class MemoryGate:
    """Open as far as more of the forget set is classified correctly than unseen images would be [ours].

    What unseen images would score is read from the validation set, weighted so that its classes are as frequent as in
    the forget set: the higher of what the original and the present model score. (By the present model alone a push that
    harms both sets would never end.) It is 0 for a class that the retain set lacks, and chance where the labels of D_f
    are wrong, which `wrong_label_fraction` estimates. So neither a net nor a data set needs a threshold.

    A gate that is either open or shut overshoots: a push forgets faster than fine-tuning remembers. So it shuts in
    proportion over the last `WIDE_OPEN` of accuracy, on a running mean of the difference.

    Args:
        context: the forget, retain and validation sets, and the stream that samples are drawn from.
        batch_size: of the retain set in a step, on which the size of a check depends.
        every: how many calls pass between two checks; the first call checks.

    Example:
        >>> opening = MemoryGate(context, batch_size=64).opening  # doctest: +SKIP
        >>> loss = retain_loss - opening(model) * forget_loss  # doctest: +SKIP
    """

    def __init__(self, context: Context, batch_size: int, every: int = EVERY) -> None:
        self.forget, self.validation = context.data[Subset.FORGET], context.data[Subset.VALIDATION]
        self.every = every
        self._samples = max(FEWEST, BATCHES * batch_size)
        self._draws = context.generator("memory gate")
        self._calls = 0
        self._excess: float | None = None
        retain = context.data[Subset.RETAIN]
        known = torch.isin(self.forget.labels, retain.labels)
        self._known = known.double().mean().item()  # the fraction of the forget set whose class the retain set has
        self._weights = class_weights(self.validation.labels.cpu(), self.forget.labels[known].cpu())
        self._classes = len(torch.unique(retain.labels))
        self._original = context.original  # in eval mode, as contexts have it
        self._before: float | None = None  # its validation accuracy, once it was asked for
        named = self.forget.take(known.nonzero()[:, 0])
        self._wrong = wrong_label_fraction(retain, self.validation, named) if len(named) else 0.0

    def opening(self, model: nn.Module) -> float:
        """How much `model` still remembers, 0 to 1; called once a step, it checks at every `every`-th call."""
        if self._calls % self.every == 0:
            found = self._measure(model)
            self._excess = found if self._excess is None else KEPT * self._excess + (1 - KEPT) * found
        self._calls += 1
        return min(1.0, max(0.0, self._excess or 0.0) / WIDE_OPEN)

    def _measure(self, model: nn.Module) -> float:
        """Accuracy on forget samples beyond what unseen images score."""
        if self._before is None:
            self._before = self._validation_accuracy(self._original, QUERIES)
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        forget, _ = self._correct(model, self.forget, self._samples)
        accuracy = self._validation_accuracy(model, self._samples)
        for module, training in modes:
            module.training = training
        return forget.mean().item() - self._unseen(max(accuracy, self._before))

    def _validation_accuracy(self, model: nn.Module, most: int) -> float:
        """Of a model in eval mode, on at most so many images, weighted by class."""
        hits, chosen = self._correct(model, self.validation, most)
        weights = self._weights[chosen]
        return (weights @ hits).item() / max(weights.sum().item(), 1e-12)

    def _unseen(self, accuracy: float) -> float:
        """What a model of that validation accuracy would score on D_f without having seen it."""
        by_chance = (1 - accuracy) / max(1, self._classes - 1)
        return self._known * ((1 - self._wrong) * accuracy + self._wrong * by_chance)

    @torch.no_grad()
    def _correct(self, model: nn.Module, data: ImageSource, most: int) -> tuple[Tensor, Tensor]:
        """Which of at most so many samples are classified correctly, float64 [n], and their positions int64 [n]."""
        chosen = torch.randperm(len(data), generator=self._draws)[:most]
        batches = iter_batches(data.take(chosen.to(data.labels.device)), FEWEST)
        hits = [model(images).argmax(1) == labels for images, labels, _ in batches]
        return torch.cat(hits).cpu().double(), chosen


def prepare_gate(forget_while: str) -> None:
    """Import what a gate needs, before its time is taken."""
    if forget_while == "remembered":
        import sklearn.neighbors  # noqa: F401


def gate(context: Context, forget_while: str, batch_size: int) -> Callable[[nn.Module], float]:
    """What a forget term is multiplied by at each step: 1 with `always`, a gate's opening with `remembered`."""
    return MemoryGate(context, batch_size).opening if forget_while == "remembered" else lambda model: 1.0


def wrong_label_fraction(retain: ImageSource, validation: ImageSource, forget: ImageSource) -> float:
    """The fraction of the labels of `forget` that are wrong, 0 to 1, estimated without any trained model [ours].

    The retain images nearest to an image in pixels vote on its label. Votes agree with validation labels at a rate a,
    with wrong labels at (1 - a) / (classes - 1), and with those of `forget` at a rate b between the two. The estimate
    is 0 unless b is below a by `CERTAIN` standard errors, so that chance does not make labels wrong.
    """
    from sklearn.neighbors import KNeighborsClassifier

    references, classes = evenly_spaced(retain, REFERENCES), len(torch.unique(retain.labels))
    if classes < 2:
        return 0.0
    voters = KNeighborsClassifier(min(NEIGHBOURS, len(references)))
    voters.fit(_thumbnails(references), references.labels.cpu().numpy())
    queries = [evenly_spaced(data, QUERIES) for data in (validation, forget)]
    a, b = (float(voters.score(_thumbnails(data), data.labels.cpu().numpy())) for data in queries)
    error = math.sqrt(sum(rate * (1 - rate) / len(data) for rate, data in zip((a, b), queries, strict=True)))
    by_chance = (1 - a) / (classes - 1)
    if a <= by_chance or a - b <= CERTAIN * error:
        return 0.0
    return min(1.0, (a - b) / (a - by_chance))


def _thumbnails(data: ImageSource) -> npt.NDArray[np.float32]:
    """Every image as float32 [n, c * SIDE * SIDE], on the CPU."""
    pixels: npt.NDArray[np.float32] = torch.cat(list(_shrunk(data))).cpu().numpy()
    return pixels


def _shrunk(data: ImageSource) -> Iterator[Tensor]:
    for batch in iter_batches(data, FEWEST):
        yield F.adaptive_avg_pool2d(batch.images, SIDE).flatten(1)


def class_weights(labels: Tensor, wanted: Tensor) -> Tensor:
    """Weights float64 [n] under which classes among `labels` int64 [n] are as frequent as among `wanted`.

    All weights are 1 where `wanted` has no class of `labels`.
    """
    classes = int(torch.cat([labels, wanted]).max()) + 1
    have, want = (torch.bincount(each, minlength=classes).double() for each in (labels, wanted))
    weights = (want / have.clamp(min=1))[labels]
    return weights if weights.any() else torch.ones_like(weights)
