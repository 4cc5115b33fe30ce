"""Numbers with their uncertainty."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from unlearn.types import Measurement, Predictions, Subset

NORMAL = 1.959964  # standard errors to either side of a mean that hold 95 %
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


def normal_interval(measured: Measurement) -> Measurement:
    """With the 95 % interval of the normal distribution, where there is a standard error."""
    value, error = measured.value, measured.standard_error
    if value is None or error is None:
        return measured
    return replace(measured, interval=(value - NORMAL * error, value + NORMAL * error))


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
