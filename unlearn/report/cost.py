"""What a run cost, in words: time, and accuracy where none was to be lost."""

from __future__ import annotations

from typing import Any

from unlearn.report.judgement import difference
from unlearn.report.phrases import capital, listed
from unlearn.report.retained import accuracy_name, graded

Report = dict[str, Any]
LEAST = 0.005  # half a point of accuracy: less is no loss to speak of
SPREAD = 0.2  # of a speed-up, from which on it is told


def price(report: Report) -> str:
    """Time, and points of accuracy that retrained models have and it has not."""
    lost = {metric: _lost(report, metric) for metric in _kept(report)}
    told = [f"{points:.1f} points of {accuracy_name(metric)}" for metric, points in lost.items() if points]
    return _speed(report) + (f"; {listed(told)} lost" if told else "")


def _kept(report: Report) -> tuple[str, ...]:
    """The accuracies that unlearning should not touch; where classes vanish, test accuracy over the retained ones."""
    return graded(("retain_accuracy", "test_accuracy"), lambda metric: f"unlearned/{metric}" in report["metrics"])


def _lost(report: Report, metric: str) -> float:
    """Points below retrained models, or without one below the original; 0 where samples may explain them."""
    gap, behind = report["metrics"].get(f"gap/{metric}"), report["statistics"].get(f"gap/{metric}")
    change = report["statistics"].get(f"unlearned/{metric}", {}).get("change")
    found = difference(behind, gap) if gap is not None else difference(change)
    return -100 * found.value if found and found.sure and found.value <= -LEAST else 0.0


def _speed(report: Report) -> str:
    metrics = report["metrics"]
    seconds, factor = metrics.get("unlearned/seconds"), metrics.get("unlearned/speedup")
    if seconds is None:
        return "Not timed"
    if factor is None:
        return f"{_short(seconds)} of unlearning"
    if factor < 1:
        return f"Slower than retraining ({factor:.2f}×)"
    spread = report["statistics"]["unlearned/speedup"]["std"] or 0.0
    shown = f"{factor:.1f} ± {spread:.1f}" if spread > SPREAD * factor else f"{factor:.1f}"
    return f"{shown} times as fast as retraining"


def account(report: Report) -> list[str]:
    """Seconds, and what accuracy was lost elsewhere."""
    metrics = report["metrics"]
    mine, theirs = (metrics.get(f"{role}/seconds") for role in ("unlearned", "retrained"))
    told = [] if mine is None else [_seconds(report, mine, theirs)]
    return [*told, *(words for metric in _kept(report) if (words := _retention(report, metric)))]


def _seconds(report: Report, mine: float, theirs: float | None) -> str:
    if theirs is None:
        return f"{_short(mine)}; no model was retrained to compare that with."
    why = report["notes"].get("unlearned/speedup")
    return f"{_short(mine)}, retraining {_short(theirs)}" + (f"; no speed-up is given: {why}." if why else ".")


def _retention(report: Report, metric: str) -> str:
    """Accuracy before and after; it fell where the interval of the change is below 0 throughout."""
    before, after, wanted = (
        report["metrics"].get(f"{role}/{metric}") for role in ("original", "unlearned", "retrained")
    )
    if before is None or after is None:
        return ""
    change = difference(report["statistics"][f"unlearned/{metric}"].get("change"))
    verb = "held" if change is None or not change.sure else "fell" if change.value < 0 else "rose"
    beside = "" if wanted is None else f"; retrained {wanted:.3f}"
    return f"{capital(accuracy_name(metric))} {verb}: {before:.3f} → {after:.3f}{beside}."


def _short(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 0.1 else f"{seconds:.3f} s"
