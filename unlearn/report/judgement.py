"""Judge forgetting and utility from the numbers of a run, with one word each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from unlearn.functional.estimates import LEVEL, adjust_by_holm
from unlearn.report.criterion import Criterion, RetrainedGap, criteria, difference
from unlearn.report.retained import graded

Report = dict[str, Any]
TOLERANCE = 0.02  # of accuracy or AUC, for reports without `report.tolerance`
ACCURACIES = ("retain_accuracy", "test_accuracy")  # unlearning should not change these
HALF = 0.5  # of the accuracy above chance: a model that loses more is destroyed


class Forgetting(StrEnum):
    """Whether the forget set was forgotten."""

    UNMEASURED = "unmeasured"
    NO_BASELINE = "no_baseline"  # no model was retrained
    NOT_JUDGED = "not_judged"  # the model is destroyed
    NOT_MEASURABLE = "not_measurable"  # the original does not differ from retrained models
    FORGOTTEN = "forgotten"  # equivalent to retrained models
    NOT_FORGOTTEN = "not_forgotten"  # differs from retrained models on the original's side
    OVER_FORGOTTEN = "over_forgotten"  # differs on the other side
    CONTRADICTORY = "contradictory"  # criteria differ in both directions
    INCONCLUSIVE = "inconclusive"


class Utility(StrEnum):
    """Whether retain and test accuracy equal those of retrained models."""

    UNMEASURED = "unmeasured"
    KEPT = "kept"
    REDUCED = "reduced"
    DESTROYED = "destroyed"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Retention:
    """One accuracy of the unlearned model against a reference: retrained models, or the original if there are none.

    Args:
        metric: its name without a role.
        gap: unlearned minus reference.
        chance: accuracy of the best constant answer.
    """

    metric: str
    reference: float
    unlearned: float
    gap: RetrainedGap
    chance: float

    def is_destroyed(self, tolerance: float) -> bool:
        """Whether the model lost more than half of the reference's accuracy above chance.

        The loss must exceed what the images explain. A reference within `tolerance` of chance has nothing to lose.
        """
        above_chance = self.reference - self.chance
        lost = self.reference - self.unlearned
        return above_chance > tolerance and lost > HALF * above_chance and self.gap.difference.is_nonzero


@dataclass(frozen=True)
class Verdict:
    """The two words, and the criteria that they rest on.

    Args:
        forgetting: the word for forgetting.
        reasons: the criteria that decide it.
        criteria: all criteria measured.
        utility: the word for utility.
        retentions: the accuracies that decide utility.
        tolerance: differences up to this size count as equal, in accuracy or AUC.
    """

    forgetting: Forgetting
    reasons: tuple[Criterion, ...]
    criteria: tuple[Criterion, ...]
    utility: Utility
    retentions: tuple[Retention, ...]
    tolerance: float


def judge(report: Report) -> Verdict:
    """Compare the unlearned model with retrained models [ours].

    `forgotten` and `kept` claim equivalence: each 95 % interval, over images and retrained models, lies within the
    tolerance (for `kept`: above its lower end). All intervals must, so several criteria need no correction (Berger
    1982). `not_forgotten`, `over_forgotten` and `reduced` claim a difference larger than images and retraining explain,
    with Holm's correction over the criteria: at most 5 % of perfectly retrained models get one of these words.

    Args:
        report: a report's JSON.

    Example:
        >>> judge(json.load(open("report.json"))).forgetting  # doctest: +SKIP
        <Forgetting.INCONCLUSIVE: 'inconclusive'>
    """
    tolerance = report.get("config", {}).get("report", {}).get("tolerance", TOLERANCE)
    measured, retentions = criteria(report, report["judged_by"]), _retentions(report)
    utility = _utility(retentions, tolerance)
    forgetting, reasons = _forgetting(report, measured, tolerance)
    if utility is Utility.DESTROYED and measured:
        forgetting, reasons = Forgetting.NOT_JUDGED, measured
    return Verdict(forgetting, tuple(reasons), tuple(measured), utility, tuple(retentions), tolerance)


def are_different(gaps: Sequence[RetrainedGap]) -> list[bool]:
    """Test whether each gap is too large for a further retrained model, at 5 % over all gaps together (Holm)."""
    return [p_value < LEVEL for p_value in adjust_by_holm([gap.p_value for gap in gaps])]


def _forgetting(
    report: Report, measured: Sequence[Criterion], tolerance: float
) -> tuple[Forgetting, Sequence[Criterion]]:
    if not any(f"unlearned/{metric}" in report["metrics"] for metric in report["judged_by"]):
        return Forgetting.UNMEASURED, ()
    if not measured:
        return Forgetting.UNMEASURED if report["seeds"]["baseline"] else Forgetting.NO_BASELINE, ()
    is_measurable = any(are_different([criterion.untouched for criterion in measured]))
    if is_measurable and all(criterion.gap.is_within(tolerance) for criterion in measured):
        return Forgetting.FORGOTTEN, measured
    is_apart = are_different([criterion.gap for criterion in measured])
    if any(is_apart):
        apart = [criterion for criterion, differs in zip(measured, is_apart, strict=True) if differs]
        return _direction(apart), apart
    has_one_model = measured[0].gap.models < 2
    return Forgetting.INCONCLUSIVE if is_measurable or has_one_model else Forgetting.NOT_MEASURABLE, measured


def _direction(apart: Sequence[Criterion]) -> Forgetting:
    sides = {criterion.is_on_the_original_side for criterion in apart}
    if len(sides) > 1:
        return Forgetting.CONTRADICTORY
    return Forgetting.NOT_FORGOTTEN if sides == {True} else Forgetting.OVER_FORGOTTEN


def _utility(retentions: Sequence[Retention], tolerance: float) -> Utility:
    if not retentions:
        return Utility.UNMEASURED
    if any(retention.is_destroyed(tolerance) for retention in retentions if "test" in retention.metric):
        return Utility.DESTROYED
    intervals = [retention.gap.interval() for retention in retentions]
    if all(interval is not None and interval[0] >= -tolerance for interval in intervals):
        return Utility.KEPT
    return Utility.REDUCED if find_reduced(retentions) else Utility.INCONCLUSIVE


def find_reduced(retentions: Sequence[Retention]) -> list[Retention]:
    """Return the accuracies that are lower than images and retrained models explain."""
    is_apart = are_different([retention.gap for retention in retentions])
    return [r for r, differs in zip(retentions, is_apart, strict=True) if differs and r.gap.value < 0]


def _retentions(report: Report) -> list[Retention]:
    """Retain and test accuracy; if a request removes whole classes, test accuracy over the retained classes."""
    names = graded(ACCURACIES, lambda metric: f"unlearned/{metric}" in report["metrics"])
    chance = report.get("chance", 0.0)
    if not report["seeds"]["baseline"]:
        return _compare_with_original(report, names, chance)
    return [Retention(c.metric, c.retrained, c.unlearned, c.gap, chance) for c in criteria(report, names)]


def _compare_with_original(report: Report, names: Sequence[str], chance: float) -> list[Retention]:
    """Compare with the original; without the spread of retrained models only a destroyed model can be recognised."""
    metrics, retentions = report["metrics"], []
    for name in names:
        change = difference(report["statistics"].get(f"unlearned/{name}", {}).get("change"))
        if change is not None:
            before, after = metrics[f"original/{name}"], metrics[f"unlearned/{name}"]
            retentions.append(Retention(name, before, after, RetrainedGap(change, 0, None), chance))
    return retentions
