"""Numbers with their uncertainty."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from unlearn.core.types import Measurement, Predictions, Subset

NORMAL = 1.959964  # standard errors to either side of a mean that hold 95 %, of many samples
LEVEL = 0.05  # of errors: of an interval to miss the truth, of a family of tests to reject what is true
RESOLUTION = 3.0  # standard errors below which a difference is not one to divide by (our choice)


def correct(predictions: Predictions) -> Tensor:
    """1.0 where the most probable class is the label, else 0.0; float64 [n]."""
    return (predictions.logits.argmax(1) == predictions.labels).double()


def vanished_classes(forget: Tensor, retain: Tensor) -> Tensor:
    """Classes that a request removes altogether: int64 [k], sorted, those of forget labels that no retain label is."""
    gone: Tensor = torch.unique(forget[~torch.isin(forget, retain)])
    return gone


def retained_classes(predictions: Mapping[Subset, Predictions], subset: Subset) -> Predictions | None:
    """Predictions on a subset without the classes that vanish, from those on it and on forget and retain.

    None where that changes nothing, or leaves nothing.
    """
    vanished = vanished_classes(predictions[Subset.FORGET].labels, predictions[Subset.RETAIN].labels)
    found = predictions[subset]
    kept = ~torch.isin(found.labels, vanished)
    if kept.all() or not kept.any():
        return None
    return Predictions(found.logits[kept], found.labels[kept], found.index[kept])


def confidence(predictions: Predictions) -> Tensor:
    """Probability of the true class, float64 [n]."""
    return predictions.logits.double().softmax(1).gather(1, predictions.labels[:, None])[:, 0]


def cross_entropy(predictions: Predictions) -> Tensor:
    """Loss of each sample in nats, float64 [n]."""
    return torch.nn.functional.cross_entropy(predictions.logits.double(), predictions.labels, reduction="none")


def mean(values: Tensor) -> Measurement:
    """Mean of per-sample values [n] with its standard error (`None` for a single sample)."""
    n = len(values)
    return Measurement(values.mean().item(), n, standard_error(values))


def standard_error(values: Tensor) -> float | None:
    """Of the mean of per-sample values [n]."""
    return (values.std(correction=1) / math.sqrt(len(values))).item() if len(values) > 1 else None


def paired_interval(differences: Tensor) -> tuple[float, float] | None:
    """The 95 % interval of the mean of paired differences float64 [n] by Student's t; None for a single one."""
    n, error = len(differences), standard_error(differences)
    if error is None:
        return None
    value, half = differences.mean().item(), quantile(n - 1) * error
    return value - half, value + half


def paired_share_interval(differences: Tensor) -> tuple[float, float] | None:
    """The 95 % interval of a difference of two shares, from differences float64 [n] of single samples, each -1 to 1.

    Student's t after one more sample of -1 and one of 1 [ours; Agresti and Min 2005 add half of each]: with few
    samples, or few on which the models differ, the plain interval is far too narrow, even of no width. Cut to -1 to 1.
    None for a single sample.
    """
    if len(differences) < 2:
        return None
    low, high = paired_interval(torch.cat([differences, differences.new_tensor([-1.0, 1.0])])) or (-1.0, 1.0)
    return max(-1.0, low), min(1.0, high)


def quantile(degrees: float, level: float = LEVEL) -> float:
    """How many standard errors to either side hold 1 - `level` of Student's t."""
    from scipy.special import stdtrit  # a run without a gap need not load it

    return float(stdtrit(degrees, 1 - level / 2))


def two_sided(statistic: float, degrees: float) -> float:
    """The chance that |t| of that many degrees of freedom is at least |`statistic`|."""
    from scipy.special import stdtr

    return float(2 * stdtr(degrees, -abs(statistic)))


def holm(values: Sequence[float]) -> list[float]:
    """P values adjusted for how many there are, in their order (Holm 1979)."""
    adjusted, highest = [0.0] * len(values), 0.0
    for rank, number in enumerate(sorted(range(len(values)), key=lambda each: values[each])):
        highest = max(highest, min(1.0, (len(values) - rank) * values[number]))
        adjusted[number] = highest
    return adjusted


def ratio_of_means(numerator: Tensor, denominator: Tensor, what: str) -> Measurement:
    """mean(numerator) / mean(denominator) over the same samples [n]; undefined where the denominator is 0.

    The standard error is the delta method's for a ratio of paired means.
    """
    n, below = len(denominator), denominator.mean().item()
    if below == 0:
        return Measurement(None, n, reason=f"{what} is 0")
    value = numerator.mean().item() / below
    spread = standard_error(numerator - value * denominator)
    return Measurement(value, n, None if spread is None else spread / abs(below))


def calibrated(change: Tensor, full_change: Tensor, what: str) -> Measurement:
    """mean(change) / mean(full_change), undefined where the latter is under three standard errors."""
    n, whole, spread = len(full_change), full_change.mean().item(), standard_error(full_change)
    if spread is None:
        return Measurement(None, n, reason=f"{what} is {whole:.4f}, its error unknown from one sample")
    if abs(whole) < RESOLUTION * spread or whole == 0:
        reason = f"{what} is {whole:.4f}, under {RESOLUTION:g} standard errors ({spread:.4f} each)"
        return Measurement(None, n, reason=reason)
    return ratio_of_means(change, full_change, what)
