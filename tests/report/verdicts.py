"""Reports made by hand, as far as a verdict reads them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

Report = dict[str, Any]
FORGET = "forget_accuracy"
HALF = 0.01  # half of every interval over images


def report(original: float | None, retrained: Sequence[float], unlearned: float | None, metric: str = FORGET) -> Report:
    """One metric of three models; `retrained` holds one value per model."""
    empty: Report = {
        "metrics": {"unlearned/seconds": 2.0, "retrained/seconds": 10.0, "unlearned/speedup": 5.0},
        "statistics": {"retrained/seconds": {"std": None}, "unlearned/speedup": {"std": 0.5}},
        "notes": {},
        "choices": {},
        "chance": 0.1,
        "seeds": {"baseline": list(range(len(retrained)))},
        "judged_by": [],
    }
    return add(empty, original, retrained, unlearned, metric)


def add(
    found: Report,
    original: float | None,
    retrained: Sequence[float],
    unlearned: float | None,
    metric: str,
    half: float = HALF,
) -> Report:
    """Another metric; None was not measured. Metrics on retain and test are no criteria of forgetting."""
    metrics, statistics = found["metrics"], found["statistics"]
    mean = fmean(retrained) if retrained else None
    for role, value in (("original", original), ("retrained", mean), ("unlearned", unlearned)):
        if value is not None:
            metrics[f"{role}/{metric}"] = value
            statistics[f"{role}/{metric}"] = {"n": 100, "std": None}
    if unlearned is None or original is None:
        return found
    if not metric.startswith(("retain", "test")):
        found["judged_by"].append(metric)
    change = unlearned - original
    statistics[f"unlearned/{metric}"]["change"] = entry(change, half)
    if mean is None:
        return found
    pairs = [abs(a - b) for a, b in combinations(retrained, 2)]
    metrics |= {f"gap/{metric}": unlearned - mean, f"noise_floor/{metric}": fmean(pairs) if pairs else None}
    statistics[f"retrained/{metric}"]["readings"] = [{"value": value} for value in retrained]
    statistics[f"gap/{metric}"] = entry(unlearned - mean, half) | {"n": 1000, "original": entry(original - mean, half)}
    return found


def entry(value: float, half: float = HALF) -> dict[str, Any]:
    """A difference in a report's statistics; one of 0 is on every image."""
    return {"value": value, "interval": [value - half, value + half], "standard_error": half / 2 if value else 0.0}
