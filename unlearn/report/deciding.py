"""Propose a number of retrained models, or of images, that would decide an inconclusive verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from unlearn.functional.estimates import LEVEL
from unlearn.report.criterion import Criterion, RetrainedGap

MAX_MODELS = 30  # largest number of retrained models to propose
CERTAINTY = 0.8  # probability that the assumed deviation is at least the true one
MIN_MODELS = 3  # proposed if the spread is unknown


@dataclass(frozen=True)
class Proposal:
    """The data that would decide a verdict; both None if neither would.

    Args:
        models: number of retrained models in all.
        images: factor on the number of images, with one digit after the point.
    """

    models: int | None = None
    images: float | None = None


def propose(criteria: Sequence[Criterion], tolerance: float) -> Proposal:
    """Propose the smallest number of retrained models that should decide the verdict [ours].

    With more models every interval may lie within the tolerance, or one gap may be too large for a retrained model.
    The proposal allows for the uncertain deviation of few models, and assumes that the gap itself does not change. If
    an interval is too wide because of the images, the proposal is a multiple of the images instead, for the present
    retrained models.

    Args:
        criteria: the criteria of the verdict, at least one.
        tolerance: differences up to this size count as equal, in accuracy or AUC.
    """
    gaps = [criterion.gap for criterion in criteria]
    if any(gap.deviation is None for gap in gaps):
        return Proposal(models=MIN_MODELS)
    cautious = [gap.with_cautious_deviation(CERTAINTY) for gap in gaps]
    equal = _find_smallest(gaps, lambda models: all(gap.is_within(tolerance, models) for gap in cautious))
    different = _find_smallest(gaps, lambda models: any(gap.p_among(models) < LEVEL / len(gaps) for gap in gaps))
    candidates = [models for models in (equal, different) if models is not None]
    return Proposal(models=min(candidates)) if candidates else Proposal(images=_image_factor(gaps, tolerance))


def _find_smallest(gaps: Sequence[RetrainedGap], decides: Callable[[int], bool]) -> int | None:
    return next((models for models in range(gaps[0].models + 1, MAX_MODELS + 1) if decides(models)), None)


def _image_factor(gaps: Sequence[RetrainedGap], tolerance: float) -> float | None:
    """The factor with which all intervals fit into the tolerance, rounded up; None if a gap and its spread do not."""
    factors = []
    for gap in gaps:
        by_models, interval = gap.half_width(gap.models), gap.difference.interval
        if by_models is None or interval is None or abs(gap.value) + by_models >= tolerance:
            return None
        for end, limit in zip(interval, (-tolerance, tolerance), strict=True):
            factors.append((end - gap.value) ** 2 / ((limit - gap.value) ** 2 - by_models**2))
    return math.ceil(10 * max(factors)) / 10
