"""How many retrained models, or images, would decide an inconclusive verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from unlearn.functional.estimates import LEVEL, NORMAL
from unlearn.report.criterion import Criterion, RetrainedGap

MOST = 30  # retrained models that are proposed
CERTAINTY = 0.8  # probability that the deviation assumed is at least the true one
FEWEST = 3  # retrained models in all, where the spread is unknown


@dataclass(frozen=True)
class Proposal:
    """What would decide: so many retrained models in all, or so many times the images; both None if neither would."""

    models: int | None = None
    images: float | None = None


def propose(criteria: Sequence[Criterion], tolerance: float) -> Proposal:
    """The smallest number of retrained models after which the verdict should no longer be inconclusive [ours].

    More models may bring every interval within the tolerance, or make one gap too large for a retrained model. The
    deviation of few models is uncertain; the proposal allows for that. It assumes that the gap itself stays. If the
    images alone keep an interval too wide, the proposal is a multiple of the images instead.

    Args:
        criteria: those of the verdict, at least one.
        tolerance: differences up to this size count as equal, in accuracy or AUC.
    """
    gaps = [criterion.gap for criterion in criteria]
    if any(gap.deviation is None for gap in gaps):
        return Proposal(models=FEWEST)
    equal = _smallest(gaps, lambda models: all(_is_within(gap, tolerance, models) for gap in gaps))
    apart = _smallest(gaps, lambda models: any(gap.p_among(models) < LEVEL / len(gaps) for gap in gaps))
    numbers = [models for models in (equal, apart) if models is not None]
    return Proposal(models=min(numbers)) if numbers else Proposal(images=_times_the_images(gaps, tolerance))


def _smallest(gaps: Sequence[RetrainedGap], decides: Callable[[int], bool]) -> int | None:
    return next((models for models in range(gaps[0].models + 1, MOST + 1) if decides(models)), None)


def _is_within(gap: RetrainedGap, tolerance: float, models: int) -> bool:
    interval = gap.with_cautious_deviation(CERTAINTY).interval(models)
    return interval is not None and -tolerance <= interval[0] and interval[1] <= tolerance


def _times_the_images(gaps: Sequence[RetrainedGap], tolerance: float) -> float | None:
    """The factor after which the interval over images fits next to every gap; None if a gap is too large itself."""
    room = [tolerance - abs(gap.value) for gap in gaps]
    if min(room) <= 0:
        return None
    factor = max((NORMAL * gap.difference.error / width) ** 2 for gap, width in zip(gaps, room, strict=True))
    return factor if factor > 1 else None
