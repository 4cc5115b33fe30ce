"""Whether a checkpoint is what it was said to be: it must know what it was trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unlearn.core.errors import DataError, abbreviate
from unlearn.core.types import Predictions, Subset
from unlearn.data.datasets.base import Dataset
from unlearn.functional.estimates import is_correct
from unlearn.stages.base import BuildContext
from unlearn.stages.checkpoint import Checkpoint
from unlearn.stages.files import read_predictions
from unlearn.stages.predict import Predict
from unlearn.stages.samples import Samples

NORMAL = 1.645  # quantile of the normal distribution: 95 %, one-sided
LOW = 0.5  # accuracy on its own training data below which a net is worth a second look [ours]
MARGIN = 0.05  # least margin below validation accuracy [ours]
GAIN = 0.1  # accuracy that another order of the classes must add to be named [ours]
MOST = 2000  # classes that are matched: the time grows with their cube


@dataclass(frozen=True)
class Knowledge:
    """What a net gets right of its own training data, and of validation."""

    accuracy: float
    records: int
    chance: float  # the most that predictions independent of the labels get right, at 95 %
    matched: float  # accuracy under the best order of the classes
    order: tuple[int, ...]  # class that each output stands for under that order
    validation: float
    margin: float  # of validation accuracy: below it by more is not by chance

    @property
    def is_chance(self) -> bool:
        """Whether predictions that ignore the image would do as well."""
        return self.accuracy <= self.chance

    @property
    def is_permuted(self) -> bool:
        """Whether its classes are in another order than the data set's."""
        gain = self.matched - self.accuracy
        return self.matched >= LOW and gain >= GAIN and gain * self.records >= len(self.order)

    @property
    def is_low(self) -> bool:
        """Whether it knows less of its training data than a trained net does."""
        return self.accuracy < LOW or self.accuracy < self.validation - self.margin


def measure_knowledge(train: Predictions, validation: Predictions) -> Knowledge:
    """Measure it [ours].

    Chance is that of predictions as frequent as these and independent of the labels, plus 1.645 standard deviations of
    a binomial: a net that always says the largest class is at chance.

    Args:
        train: of records that the net was trained on, logits [n, C].
        validation: of records that it was not trained on.
    """
    classes = train.logits.shape[1]
    confusion = _confusion(train.labels, train.logits.argmax(1), classes)
    n = len(train.labels)
    expected = float((confusion.sum(0) / n * (confusion.sum(1) / n)).sum())
    limit = expected + NORMAL * math.sqrt(expected * (1 - expected) / n)
    order = _best_order(confusion)
    matched = float(confusion[order, torch.arange(classes)].sum() / n)
    known, unseen = is_correct(train).mean().item(), is_correct(validation).mean().item()
    margin = max(MARGIN, NORMAL * math.sqrt(unseen * (1 - unseen) / len(validation.labels)))
    return Knowledge(known, n, limit, matched, tuple(order.tolist()), unseen, margin)


def _confusion(labels: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Counts float64 [C, C] by label and prediction."""
    return torch.bincount(labels * classes + predicted, minlength=classes**2).view(classes, classes).double()


def _best_order(confusion: Tensor) -> Tensor:
    """The class int64 [C] that each output stands for, one to one, so that most is right."""
    from scipy.optimize import linear_sum_assignment

    if len(confusion) > MOST:
        return torch.arange(len(confusion))
    outputs, labels = linear_sum_assignment(confusion.T.numpy(), maximize=True)
    order = torch.empty(len(confusion), dtype=torch.int64)
    order[torch.from_numpy(outputs)] = torch.from_numpy(labels)
    return order


def describe(known: Knowledge, dataset: Dataset) -> str | None:
    """What is wrong with that much knowledge, its usual causes, and the order of the classes if that is one; None if
    nothing is."""
    if not (known.is_chance or known.is_permuted or known.is_low):
        return None
    size = "x".join(map(str, dataset.shape[1:]))
    how = "no better than chance" if known.is_chance else f"against {known.validation:.3f} of validation"
    causes = (
        "classes in another order"
        + (f" ({_order(known, dataset.class_names)})" if known.is_permuted else "")
        + f", another normalisation than dataset.mean={_numbers(dataset.normalisation[0])} and "
        f"dataset.std={_numbers(dataset.normalisation[1])} of pixels in [0, 1], another image size than {size}"
    )
    return f"{known.accuracy:.3f} right of {known.records:,} of these, {how}; the usual causes: {causes}"


def _order(known: Knowledge, names: Sequence[str]) -> str:
    moved = [
        f"output {output} is {names[label] if names else label}"
        for output, label in enumerate(known.order)
        if output != label
    ]
    return f"{known.matched:.3f} would be right if {abbreviate(moved)}"


def _numbers(values: Sequence[float]) -> str:
    return f"[{','.join(f'{value:.4g}' for value in values)}]"


@dataclass(frozen=True)
class PlausibilityCheck:
    """A checkpoint, and what it was trained on by `forget` and retain, whose predictions metrics read too."""

    original: Checkpoint
    forget: Samples

    def measure(self, context: BuildContext) -> Knowledge:
        """What it knows of them."""
        population = self.forget.population
        halves: tuple[Samples, ...] = (self.forget, replace(self.forget, subset=Subset.RETAIN))
        if self.forget.ranking is not None:  # which a proxy would have to be trained for
            halves = (Samples(Subset.TRAIN, population),)
        known = [self._predictions(each, context) for each in halves]
        train = Predictions(*(torch.cat(parts) for parts in zip(*(vars(each).values() for each in known), strict=True)))
        return measure_knowledge(train, self._predictions(Samples(Subset.VALIDATION, population), context))

    def _predictions(self, samples: Samples, context: BuildContext) -> Predictions:
        return read_predictions(context.get(Predict(self.original, samples)))

    def warning(self, context: BuildContext) -> str | None:
        """A sentence for the report, if there is a reason for one."""
        wrong = describe(self.measure(context), self.forget.population.dataset)
        return wrong and f"Check the checkpoint: it should know its own training data, and gets {wrong}."

    def verify(self, context: BuildContext, accept: bool) -> None:
        """Say what is wrong, before anything is trained.

        Args:
            accept: go on whatever the accuracy (`checkpoint.accept_accuracy`).

        Raises:
            DataError: it is right no more often than by chance, or its classes are in another order.
        """
        known = self.measure(context)
        wrong = describe(known, self.forget.population.dataset)
        if wrong is None:
            return
        if (known.is_chance or known.is_permuted) and not accept:
            key = "checkpoint.accept_accuracy=true goes on all the same"
            raise DataError(f"checkpoint: expected a net that knows checkpoint.trained_on, got {wrong}; {key}")
        context.console.say(f"  {self.original.label}: CHECK IT: {wrong}")
