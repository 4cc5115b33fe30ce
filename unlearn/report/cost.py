"""Sentences about time: seconds of unlearning and of retraining."""

from __future__ import annotations

from typing import Any

from unlearn.report.requests import describe_seconds

Report = dict[str, Any]
SPREAD = 0.2  # relative spread of a speed-up from which on it is printed


def cost_answer(report: Report) -> str:
    """Return the short answer: `5.0 times as fast as retraining`."""
    metrics = report["metrics"]
    seconds, factor = metrics.get("unlearned/seconds"), metrics.get("unlearned/speedup")
    if seconds is None:
        return "Not timed"
    if factor is None:
        return f"{_format_seconds(seconds)} of unlearning"
    if factor < 1:
        return f"Slower than retraining ({factor:.2f}×)"
    spread = report["statistics"]["unlearned/speedup"]["std"] or 0.0
    shown = f"{factor:.1f} ± {spread:.1f}" if spread > SPREAD * factor else f"{factor:.1f}"
    return f"{shown} times as fast as retraining"


def cost_lines(report: Report) -> list[str]:
    """Return the seconds of unlearning and of retraining, the reason if there is no speed-up, and all requests."""
    total = describe_seconds(report)
    return [*_this_request(report), *([] if total is None else [total])]


def _this_request(report: Report) -> list[str]:
    unlearning, retraining = (report["metrics"].get(f"{role}/seconds") for role in ("unlearned", "retrained"))
    if unlearning is None:
        return []
    if retraining is None:
        return [f"{_format_seconds(unlearning)}; no model was retrained for comparison."]
    reason = report["notes"].get("unlearned/speedup")
    times = f"{_format_seconds(unlearning)}, retraining {_format_seconds(retraining)}"
    return [f"{times}; no speed-up: {reason}." if reason else f"{times}."]


def _format_seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 0.1 else f"{seconds:.3f} s"
