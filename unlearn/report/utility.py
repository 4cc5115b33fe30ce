"""Sentences about utility: retain and test accuracy against retrained models."""

from __future__ import annotations

from typing import Any

from unlearn.report.criterion import Interval, RetrainedGap, difference
from unlearn.report.judgement import Retention, Utility, Verdict, reduced
from unlearn.report.phrases import capital, listed
from unlearn.report.retained import accuracy_name

Report = dict[str, Any]


def utility_answer(judgement: Verdict) -> str:
    """`Reduced: test accuracy by 3.1 points (1.2 to 5.0)`"""
    lost = reduced(judgement.retentions)
    if judgement.utility is Utility.DESTROYED:
        tests = [retention for retention in judgement.retentions if "test" in retention.metric]
        return f"Destroyed: {listed([_fall(retention) for retention in tests])}"
    return {
        Utility.UNMEASURED: "Not measured",
        Utility.KEPT: "Kept: nothing lost beyond the tolerance",
        Utility.REDUCED: f"Reduced: {listed([_points(retention) for retention in lost])}",
        Utility.INCONCLUSIVE: "Inconclusive: neither a loss nor its absence is shown",
    }[judgement.utility]


def utility_lines(report: Report, judgement: Verdict) -> list[str]:
    """One sentence for each accuracy: before, after, retrained, and the gap with its interval."""
    return [_line(report, retention) for retention in judgement.retentions]


def with_interval(gap: RetrainedGap) -> str:
    """`+0.012 (-0.003 to 0.027)`"""
    interval = gap.interval()
    return f"{gap.value + 0.0:+.3f}" + (f" ({ends(interval)})" if interval else ", without an interval")


def ends(interval: Interval) -> str:
    """`-0.003 to 0.027`"""
    return f"{interval[0] + 0.0:.3f} to {interval[1] + 0.0:.3f}"


def _fall(retention: Retention) -> str:
    name = accuracy_name(retention.metric)
    return f"{name} {retention.unlearned:.3f} instead of {retention.reference:.3f}, chance {retention.chance:.3f}"


def _points(retention: Retention) -> str:
    interval = retention.gap.interval()
    lost = f"{accuracy_name(retention.metric)} by {-100 * retention.gap.value:.1f} points"
    return lost if interval is None else f"{lost} ({-100 * interval[1]:.1f} to {-100 * interval[0]:.1f})"


def _line(report: Report, retention: Retention) -> str:
    name, metrics = retention.metric, report["metrics"]
    change = difference(report["statistics"][f"unlearned/{name}"].get("change"))
    verb = "held" if change is None or not change.is_nonzero else "fell" if change.value < 0 else "rose"
    moved = f"{capital(accuracy_name(name))} {verb}: {metrics[f'original/{name}']:.3f} → {retention.unlearned:.3f}"
    if not report["seeds"]["baseline"]:
        return f"{moved}."
    return f"{moved}; retrained {retention.reference:.3f}, gap {with_interval(retention.gap)}."
