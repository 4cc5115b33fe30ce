"""What the numbers of a run allow to say about forgetting, before any words are found for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, stdev
from typing import Any

Report = dict[str, Any]
LEVEL = 0.05  # of calling a true retraining something else, in each criterion
TIE = 1e-9  # distances this close are equal: they were rounded on different ways


class Finding(StrEnum):
    """Whether something was forgotten."""

    UNMEASURED = "unmeasured"
    NO_BASELINE = "no_baseline"  # no model was retrained
    NO_FLOOR = "no_floor"  # a single one was
    BLIND = "blind"  # original and retrained cannot be told apart
    WORSE = "worse"  # further from retraining than the original is
    UNTOUCHED = "untouched"  # it answers as the original does, which is not how retrained models do
    TOO_LITTLE = "too_little"
    TOO_MUCH = "too_much"
    UNPROVEN = "unproven"  # beyond the noise floor, but samples or seeds alone may do that
    INDISTINGUISHABLE = "indistinguishable"  # within the noise floor


@dataclass(frozen=True)
class Difference:
    """Of two models in one metric; the 95 % interval is of the same samples under both, None where there is none."""

    value: float
    interval: tuple[float, float] | None

    @property
    def sure(self) -> bool:
        """Whether it is not 0, as far as samples can tell."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


@dataclass(frozen=True)
class Criterion:
    """One metric by which forgetting is judged. Distances are mean absolute differences to each retrained model."""

    metric: str
    original: float
    retrained: float
    unlearned: float
    gap: Difference  # unlearned minus retrained
    untouched: Difference  # original minus retrained
    change: Difference | None  # unlearned minus original
    distance: float  # of the unlearned model
    away: float  # of the original
    floor: float | None  # of retrained models from each other, by a sample at least
    reach: float | None  # a gap up to which the unlearned model may be another retrained one, as far as seeds tell

    @property
    def visible(self) -> bool:
        """Whether it can show forgetting: the original is above retrained models, as one is that remembers, beyond
        samples and seeds."""
        return self.untouched.sure and self.untouched.value > (self.floor or 0.0) + TIE

    @property
    def inside(self) -> bool:
        """Whether the gap lies within the noise floor."""
        return self.floor is not None and abs(self.gap.value) <= self.floor + TIE

    @property
    def apart(self) -> bool:
        """Whether neither samples nor, where there are several retrained models, seeds explain the gap."""
        return self.gap.sure and abs(self.gap.value) > (self.reach or 0.0) + TIE

    @property
    def unchanged(self) -> bool:
        """Whether it says of every sample what the original says."""
        return self.change is not None and self.change.interval == (0.0, 0.0)

    @property
    def worse(self) -> bool:
        """Whether it is further from retrained models than the original is, as far as samples and seeds can tell."""
        moved = self.change is not None and self.change.sure
        return self.apart and moved and self.distance > max(self.floor or 0.0, self.away) + TIE

    @property
    def short(self) -> bool:
        """Whether the gap is on the original's side of the retrained models, where that can be seen."""
        return self.visible and self.gap.value * self.untouched.value > 0

    @property
    def way(self) -> float:
        """How far it went from the original to retraining: 0 untouched, 1 like retrained."""
        return 1 - self.gap.value / self.untouched.value if self.untouched.value else 1.0


def criteria(report: Report) -> list[Criterion]:
    """Those of the report's metrics that are known for all three models."""
    return [_criterion(report, metric) for metric in report["judged_by"] if _known(report, metric)]


def finding(report: Report, found: Sequence[Criterion]) -> tuple[Finding, list[Criterion]]:
    """What can be said, and the criteria that say it.

    Indistinguishable from retraining is only what is within the noise floor in every criterion, one of which at least
    can show forgetting. What is beyond it counts against a model where the gap's 95 % interval
    leaves out 0, and the gap is wider than that of one more retrained model may be, at 95 % [ours].
    """
    if not any(f"unlearned/{metric}" in report["metrics"] for metric in report["judged_by"]):
        return Finding.UNMEASURED, []
    if not found:
        return Finding.NO_BASELINE, []
    if worse := [each for each in found if each.worse]:
        return Finding.WORSE, worse
    if not any(each.visible for each in found):
        return Finding.BLIND, list(found)
    if any(each.floor is None for each in found):
        return Finding.NO_FLOOR, list(found)
    return _against_the_floor(found)


def _against_the_floor(found: Sequence[Criterion]) -> tuple[Finding, list[Criterion]]:
    visible = [each for each in found if each.visible]
    if all(each.unchanged for each in found):
        return Finding.UNTOUCHED, visible
    outside = [each for each in found if not each.inside]
    if not outside:
        return Finding.INDISTINGUISHABLE, visible
    apart = [each for each in outside if each.apart]
    if not apart:
        return Finding.UNPROVEN, outside
    short = [each for each in apart if each.short]
    return (Finding.TOO_LITTLE, short) if short else (Finding.TOO_MUCH, apart)


def distance(report: Report, role: str, metric: str) -> float:
    """Mean absolute difference to each retrained model's value."""
    value = report["metrics"][f"{role}/{metric}"]
    return fmean(abs(value - each["value"]) for each in report["statistics"][f"retrained/{metric}"]["readings"])


def difference(told: dict[str, Any] | None, value: float | None = None) -> Difference | None:
    """As a report's statistics have it; `value` where those do not."""
    if told is None:
        return None
    low_high = told.get("interval")
    return Difference(told["value"] if value is None else value, (low_high[0], low_high[1]) if low_high else None)


def _known(report: Report, metric: str) -> bool:
    keys = [f"{role}/{metric}" for role in ("original", "retrained", "unlearned", "gap")]
    return all(report["metrics"].get(key) is not None for key in keys)


def reach(values: Sequence[float], least: float = 0.0) -> float | None:
    """How far from the mean of k draws one more lies at 95 % at most: t sqrt(1 + 1 / k) times their deviation, which is
    taken to be `least` at least: a few models that agree do so by chance."""
    k = len(values)
    if k < 2:
        return None
    from scipy.special import stdtrit  # the quantile of Student's t; a run of one retrained model need not load it

    return float(stdtrit(k - 1, 1 - LEVEL / 2)) * math.sqrt(1 + 1 / k) * max(stdev(values), least)


def _criterion(report: Report, metric: str) -> Criterion:
    metrics, statistics = report["metrics"], report["statistics"]
    behind, floor = statistics[f"gap/{metric}"], metrics[f"noise_floor/{metric}"]
    gap, untouched = difference(behind, metrics[f"gap/{metric}"]), difference(behind["original"])
    assert gap is not None
    assert untouched is not None
    return Criterion(
        metric,
        original=metrics[f"original/{metric}"],
        retrained=metrics[f"retrained/{metric}"],
        unlearned=metrics[f"unlearned/{metric}"],
        gap=gap,
        untouched=untouched,
        change=difference(statistics[f"unlearned/{metric}"].get("change")),
        distance=behind["mean_absolute"],
        away=behind["original"]["mean_absolute"],
        floor=None if floor is None else max(floor, 1 / behind["n"]),
        reach=reach([each["value"] for each in statistics[f"retrained/{metric}"]["readings"]], 1 / behind["n"]),
    )
