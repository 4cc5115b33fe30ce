"""Check that a checkpoint knows the data that it is said to be trained on."""

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
LOW = 0.5  # accuracy on its own training data below which a net is suspicious [ours]
MARGIN = 0.05  # smallest margin below validation accuracy [ours]
GAIN = 0.1  # accuracy that another order of the classes must add to be reported [ours]
MAX_CLASSES = 2000  # to match: the time grows with their cube


@dataclass(frozen=True)
class Knowledge:
    """Accuracy of a net on its own training data and on validation, and what chance and another class order explain."""

    accuracy: float
    records: int
    chance: float  # upper 95 % limit of accuracy for predictions independent of the labels
    matched: float  # accuracy under the best order of the classes
    order: tuple[int, ...]  # class of each output under that order
    validation: float
    margin: float  # below validation accuracy; a larger difference is not by chance

    @property
    def is_chance(self) -> bool:
        """Whether predictions that ignore the image would be as accurate."""
        return self.accuracy <= self.chance

    @property
    def is_permuted(self) -> bool:
        """Whether its classes are in another order than the data set's."""
        gain = self.matched - self.accuracy
        return self.matched >= LOW and gain >= GAIN and gain * self.records >= len(self.order)

    @property
    def is_low(self) -> bool:
        """Whether it is less accurate on its training data than a trained net."""
        return self.accuracy < LOW or self.accuracy < self.validation - self.margin


def measure_knowledge(train: Predictions, validation: Predictions) -> Knowledge:
    """Compare a net's accuracy on its training data with chance, validation and other class orders [ours].

    Chance is the accuracy of predictions with the same class frequencies but independent of the labels, plus 1.645
    standard deviations of a binomial: a net that always predicts the largest class is at chance.

    Args:
        train: predictions on records that the net was trained on, logits [n, C].
        validation: predictions on records that it was not trained on.
    """
    classes = train.logits.shape[1]
    confusion = _count_confusion(train.labels, train.logits.argmax(1), classes)
    n = len(train.labels)
    expected = float((confusion.sum(0) / n * (confusion.sum(1) / n)).sum())
    limit = expected + NORMAL * math.sqrt(expected * (1 - expected) / n)
    order = _match_classes(confusion)
    matched = float(confusion[order, torch.arange(classes)].sum() / n)
    accuracy, unseen = is_correct(train).mean().item(), is_correct(validation).mean().item()
    margin = max(MARGIN, NORMAL * math.sqrt(unseen * (1 - unseen) / len(validation.labels)))
    return Knowledge(accuracy, n, limit, matched, tuple(order.tolist()), unseen, margin)


def _count_confusion(labels: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Count samples by label and prediction, float64 [C, C]."""
    return torch.bincount(labels * classes + predicted, minlength=classes**2).view(classes, classes).double()


def _match_classes(confusion: Tensor) -> Tensor:
    """Return the class int64 [C] of each output, one to one, that makes most predictions correct."""
    from scipy.optimize import linear_sum_assignment

    if len(confusion) > MAX_CLASSES:
        return torch.arange(len(confusion))
    outputs, labels = linear_sum_assignment(confusion.T.numpy(), maximize=True)
    order = torch.empty(len(confusion), dtype=torch.int64)
    order[torch.from_numpy(outputs)] = torch.from_numpy(labels)
    return order


def describe(known: Knowledge, dataset: Dataset) -> str | None:
    """Describe what is wrong with the accuracy, with its usual causes and the matched class order.

    Returns:
        A phrase that continues "got ..."; None if nothing is wrong.
    """
    if not (known.is_chance or known.is_permuted or known.is_low):
        return None
    size = "x".join(map(str, dataset.shape[1:]))
    how = "no better than chance" if known.is_chance else f"against {known.validation:.3f} of validation"
    causes = (
        "classes in another order"
        + (f" ({_describe_order(known, dataset.class_names)})" if known.is_permuted else "")
        + f", another normalisation than dataset.mean={_format_values(dataset.normalisation[0])} and "
        f"dataset.std={_format_values(dataset.normalisation[1])} of pixels in [0, 1], another image size than {size}"
    )
    return f"{known.accuracy:.3f} right of {known.records:,} of these, {how}; the usual causes: {causes}"


def _describe_order(known: Knowledge, names: Sequence[str]) -> str:
    differences = [
        f"output {output} is {names[label] if names else label}"
        for output, label in enumerate(known.order)
        if output != label
    ]
    return f"{known.matched:.3f} would be right if {abbreviate(differences)}"


def _format_values(values: Sequence[float]) -> str:
    return f"[{','.join(f'{value:.4g}' for value in values)}]"


@dataclass(frozen=True)
class PlausibilityCheck:
    """Compares a checkpoint with its training data: forget and retain set, whose predictions metrics read too."""

    original: Checkpoint
    forget: Samples

    def measure(self, context: BuildContext) -> Knowledge:
        """Measure the checkpoint on its training data and on validation."""
        population = self.forget.population
        subsets: tuple[Samples, ...] = (self.forget, replace(self.forget, subset=Subset.RETAIN))
        if self.forget.ranking is not None:  # it would need a trained proxy
            subsets = (Samples(Subset.TRAIN, population),)
        predictions = [vars(self._predictions(samples, context)) for samples in subsets]
        train = Predictions(**{name: torch.cat([p[name] for p in predictions]) for name in predictions[0]})
        return measure_knowledge(train, self._predictions(Samples(Subset.VALIDATION, population), context))

    def _predictions(self, samples: Samples, context: BuildContext) -> Predictions:
        return read_predictions(context.get(Predict(self.original, samples)))

    def warning(self, context: BuildContext) -> str | None:
        """Return a warning for the report, or None."""
        wrong = describe(self.measure(context), self.forget.population.dataset)
        return wrong and f"Check the checkpoint: it should know its own training data, and gets {wrong}."

    def verify(self, context: BuildContext, accept: bool) -> None:
        """Print a warning if the accuracy is implausible, or refuse the checkpoint.

        Args:
            context: builds the predictions and prints the warning.
            accept: never refuse (`checkpoint.accept_accuracy`).

        Raises:
            DataError: the accuracy is no better than chance, or the classes are in another order.
        """
        known = self.measure(context)
        wrong = describe(known, self.forget.population.dataset)
        if wrong is None:
            return
        if (known.is_chance or known.is_permuted) and not accept:
            key = "checkpoint.accept_accuracy=true goes on all the same"
            raise DataError(f"checkpoint: expected a net that knows checkpoint.trained_on, got {wrong}; {key}")
        context.console.say(f"  {self.original.label}: CHECK IT: {wrong}")
