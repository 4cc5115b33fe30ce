"""Sentences about time: seconds of unlearning against seconds of retraining."""

from __future__ import annotations

from typing import Any

Report = dict[str, Any]
SPREAD = 0.2  # of a speed-up, relative: from here on it is shown


def price(report: Report) -> str:
    """`5.0 times as fast as retraining`"""
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
    """Seconds of unlearning and of retraining; why there is no speed-up, if there is none."""
    mine, theirs = (report["metrics"].get(f"{role}/seconds") for role in ("unlearned", "retrained"))
    if mine is None:
        return []
    if theirs is None:
        return [f"{_short(mine)}; no model was retrained to compare that with."]
    why = report["notes"].get("unlearned/speedup")
    return [f"{_short(mine)}, retraining {_short(theirs)}" + (f"; no speed-up is given: {why}." if why else ".")]


def _short(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 0.1 else f"{seconds:.3f} s"
