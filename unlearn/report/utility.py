"""Sentences about utility: retain and test accuracy against retrained models."""

from __future__ import annotations

from typing import Any

from unlearn.report.criterion import Interval, RetrainedGap, difference
from unlearn.report.judgement import Retention, Utility, Verdict, find_reduced
from unlearn.report.phrases import capitalize, join_words
from unlearn.report.retained import accuracy_name

Report = dict[str, Any]


def utility_answer(judgement: Verdict) -> str:
    """Return the short answer: `Reduced: test accuracy by 3.1 points (1.2 to 5.0)`."""
    reduced = find_reduced(judgement.retentions)
    if judgement.utility is Utility.DESTROYED:
        tests = [retention for retention in judgement.retentions if "test" in retention.metric]
        return f"Destroyed: {join_words([_describe_fall(retention) for retention in tests])}"
    return {
        Utility.UNMEASURED: "Not measured",
        Utility.KEPT: "Kept: any loss is within the tolerance",
        Utility.REDUCED: f"Reduced: {join_words([_describe_loss(retention) for retention in reduced])}",
        Utility.INCONCLUSIVE: "Inconclusive: a loss is neither shown nor excluded",
    }[judgement.utility]


def utility_lines(report: Report, judgement: Verdict) -> list[str]:
    """Return one sentence per accuracy: original, unlearned, retrained, and the gap with its interval."""
    return [_describe_accuracy(report, retention) for retention in judgement.retentions]


def format_gap(gap: RetrainedGap) -> str:
    """Format a gap and its interval: `+0.012 (-0.003 to 0.027)`."""
    interval = gap.interval()
    return f"{gap.value + 0.0:+.3f}" + (f" ({format_interval(interval)})" if interval else ", without an interval")


def format_interval(interval: Interval) -> str:
    """Format an interval: `-0.003 to 0.027`."""
    return f"{interval[0] + 0.0:.3f} to {interval[1] + 0.0:.3f}"


def _describe_fall(retention: Retention) -> str:
    name = accuracy_name(retention.metric)
    return f"{name} {retention.unlearned:.3f} instead of {retention.reference:.3f}, chance {retention.chance:.3f}"


def _describe_loss(retention: Retention) -> str:
    interval = retention.gap.interval()
    lost = f"{accuracy_name(retention.metric)} by {-100 * retention.gap.value:.1f} points"
    return lost if interval is None else f"{lost} ({-100 * interval[1]:.1f} to {-100 * interval[0]:.1f})"


def _describe_accuracy(report: Report, retention: Retention) -> str:
    name, metrics = retention.metric, report["metrics"]
    change = difference(report["statistics"][f"unlearned/{name}"].get("change"))
    verb = "held" if change is None or not change.is_nonzero else "fell" if change.value < 0 else "rose"
    values = f"{capitalize(accuracy_name(name))} {verb}: {metrics[f'original/{name}']:.3f} → {retention.unlearned:.3f}"
    if not report["seeds"]["baseline"]:
        return f"{values}."
    return f"{values}; retrained {retention.reference:.3f}, gap {format_gap(retention.gap)}."
