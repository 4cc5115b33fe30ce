"""Per-sample quantities, and means of them with their uncertainty."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from unlearn.core.types import Measurement, Predictions, Subset

NORMAL = 1.959964  # half width of a 95 % interval in standard errors, for many samples
LEVEL = 0.05  # the error rate: of an interval to miss the true value, of a family of tests to reject a true hypothesis
RESOLUTION = 3.0  # standard errors below which a difference is too uncertain to divide by (our choice)


def is_correct(predictions: Predictions) -> Tensor:
    """Return 1.0 for each sample whose most probable class is the label, else 0.0; float64 [n]."""
    return (predictions.logits.argmax(1) == predictions.labels).double()


def vanished_classes(forget: Tensor, retain: Tensor) -> Tensor:
    """Classes of the forget set that the retain set does not have: int64 [k], sorted.

    Args:
        forget: labels of the forget set, int64.
        retain: labels of the retain set, int64.
    """
    classes: Tensor = torch.unique(forget[~torch.isin(forget, retain)])
    return classes


def keep_retained_classes(predictions: Mapping[Subset, Predictions], subset: Subset) -> Predictions | None:
    """Select the predictions of classes that the retain set has.

    Args:
        predictions: predictions by subset, among them forget, retain and `subset`.
        subset: the subset to select from.

    Returns:
        The selected predictions; None where the selection would keep all of them, or none.
    """
    vanished = vanished_classes(predictions[Subset.FORGET].labels, predictions[Subset.RETAIN].labels)
    logits, labels, index = predictions[subset].logits, predictions[subset].labels, predictions[subset].index
    mask = ~torch.isin(labels, vanished)
    if mask.all() or not mask.any():
        return None
    return Predictions(logits[mask], labels[mask], index[mask])


def confidence(predictions: Predictions) -> Tensor:
    """Probability of the true class of each sample, float64 [n]."""
    return predictions.logits.double().softmax(1).gather(1, predictions.labels[:, None])[:, 0]


def cross_entropy(predictions: Predictions) -> Tensor:
    """Cross-entropy of each sample in nats, float64 [n]."""
    return torch.nn.functional.cross_entropy(predictions.logits.double(), predictions.labels, reduction="none")


def mean(values: Tensor) -> Measurement:
    """Mean of per-sample values [n] with its standard error, which is None for a single sample."""
    n = len(values)
    return Measurement(values.mean().item(), n, standard_error(values))


def standard_error(values: Tensor) -> float | None:
    """Standard error of the mean of per-sample values [n]; None for a single sample."""
    return (values.std(correction=1) / math.sqrt(len(values))).item() if len(values) > 1 else None


def paired_interval(differences: Tensor) -> tuple[float, float] | None:
    """95 % interval of the mean of paired differences float64 [n], by Student's t; None for a single one."""
    n, error = len(differences), standard_error(differences)
    if error is None:
        return None
    value, half = differences.mean().item(), t_quantile(n - 1) * error
    return value - half, value + half


def paired_fraction_interval(differences: Tensor) -> tuple[float, float] | None:
    """95 % interval of a difference of two fractions.

    It is Student's interval after adding one sample of -1 and one of 1 [ours; Agresti and Min 2005 add half of each].
    With few samples, or few on which the models differ, the plain interval is far too narrow, or even has no width.

    Args:
        differences: the difference of each sample, float64 [n], each -1 to 1.

    Returns:
        The bounds, clipped to -1 to 1; None for a single sample.
    """
    if len(differences) < 2:
        return None
    low, high = paired_interval(torch.cat([differences, differences.new_tensor([-1.0, 1.0])])) or (-1.0, 1.0)
    return max(-1.0, low), min(1.0, high)


def t_quantile(degrees: float, level: float = LEVEL) -> float:
    """Half width of a 1 - `level` interval in standard errors, by Student's t with that many degrees of freedom."""
    from scipy.special import stdtrit  # imported here, as few runs need scipy

    return float(stdtrit(degrees, 1 - level / 2))


def two_sided_p_value(statistic: float, degrees: float) -> float:
    """Two-sided P value of a t statistic: the probability of |t| >= |`statistic`| with that many degrees of freedom."""
    from scipy.special import stdtr

    return float(2 * stdtr(degrees, -abs(statistic)))


def adjust_by_holm(values: Sequence[float]) -> list[float]:
    """Adjust P values for multiple tests, in their order (Holm 1979)."""
    adjusted, highest = [0.0] * len(values), 0.0
    for rank, position in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        highest = max(highest, min(1.0, (len(values) - rank) * values[position]))
        adjusted[position] = highest
    return adjusted


def ratio_of_means(numerator: Tensor, denominator: Tensor, description: str) -> Measurement:
    """Measure mean(numerator) / mean(denominator), with the delta method's standard error for paired means.

    Args:
        numerator: one value per sample [n].
        denominator: one value for each of the same samples [n].
        description: the denominator in words, for the reason where its mean is 0 and the ratio undefined.
    """
    n, denominator_mean = len(denominator), denominator.mean().item()
    if denominator_mean == 0:
        return Measurement(None, n, reason=f"{description} is 0")
    value = numerator.mean().item() / denominator_mean
    error = standard_error(numerator - value * denominator)
    return Measurement(value, n, None if error is None else error / abs(denominator_mean))


def calibrated_ratio(change: Tensor, full_change: Tensor, description: str) -> Measurement:
    """Measure mean(change) / mean(full_change); undefined where the latter is below three standard errors.

    Args:
        change: one value per sample [n].
        full_change: one value for each of the same samples [n].
        description: the full change in words, for the reason where the ratio is undefined.
    """
    n, full_mean, error = len(full_change), full_change.mean().item(), standard_error(full_change)
    if error is None:
        return Measurement(None, n, reason=f"{description} is {full_mean:.4f}, its error unknown from one sample")
    if abs(full_mean) < RESOLUTION * error or full_mean == 0:
        reason = f"{description} is {full_mean:.4f}, below {RESOLUTION:g} standard errors ({error:.4f} each)"
        return Measurement(None, n, reason=reason)
    return ratio_of_means(change, full_change, description)
