"""Compute figures from evaluations: means over retrained models, gaps, noise floors and averages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import permutations
from statistics import fmean, stdev
from typing import Any

from unlearn.core.types import Measurement, Role
from unlearn.report.attacks import (
    ATTACK,
    ENTROPY_ATTACK,
    GRADER,
    SELECTION_ATTACK,
    SELECTION_ENTROPY_ATTACK,
    SELECTOR,
    grading_note,
    select_criteria,
)
from unlearn.report.retained import graded

AVERAGED = ("forget_accuracy", "retain_accuracy", "test_accuracy", ATTACK)
SELECTION = ("forget_accuracy", "retain_accuracy", "validation_accuracy", SELECTION_ATTACK)  # no test, no holdout

SeedPair = tuple[int, int | None]  # seeds of a model and of the retrained model it is compared with
Evaluations = dict[SeedPair, tuple[Measurement, str]]  # with the key of the measurement's artifact
Table = dict[tuple[Role, str], Evaluations]  # by role and metric


@dataclass
class Figures:
    """The numbers of a report.

    Args:
        metrics: numbers under flat keys `role/metric`; None if undefined.
        statistics: spread, counts and evaluations behind each number, under the same keys.
        notes: the reason why a number is undefined, under the same keys.
        judged_by: the metrics that decide whether the forget set was forgotten.
    """

    metrics: dict[str, float | None] = field(default_factory=dict)
    statistics: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    judged_by: list[str] = field(default_factory=list)

    def add(self, key: str, values: list[float], reason: str, **statistics: Any) -> None:
        """Add the mean of `values`, or null with `reason` if there are none."""
        self.metrics[key] = fmean(values) if values else None
        self.statistics[key] = {"std": stdev(values) if len(values) > 1 else None} | statistics
        if not values:
            self.notes[key] = reason


@dataclass(frozen=True)
class PairedDifferences:
    """Differences between two models on the same samples, by metric; the intervals of gaps come from them.

    Args:
        gap: unlearned minus retrained.
        original: original minus retrained.
        change: unlearned minus original.
    """

    gap: Mapping[str, Measurement] = field(default_factory=dict)
    original: Mapping[str, Measurement] = field(default_factory=dict)
    change: Mapping[str, Measurement] = field(default_factory=dict)


def compute_figures(
    table: Table, strategy: str, invalid: tuple[str, ...], differences: PairedDifferences | None = None
) -> Figures:
    """Compute all means, gaps, noise floors and averages.

    Args:
        table: the evaluations.
        strategy: name of the strategy.
        invalid: attacks that must not grade the strategy, since it trained on what they rank by.
        differences: differences on the same samples; without them gaps have no interval.
    """
    differences = differences or PairedDifferences()
    figures = Figures()
    for (role, metric), evaluations in table.items():
        _add_mean(figures, role, metric, evaluations)
    for metric in dict.fromkeys(metric for _, metric in table):
        _add_gap(figures, table, metric, differences)
    for metric, change in differences.change.items():
        figures.statistics[f"unlearned/{metric}"]["change"] = {"value": change.value} | _uncertainty(change)
    figures.judged_by = select_criteria((metric for _, metric in table), invalid)
    _add_averages(figures, strategy, invalid)
    return figures


def _add_mean(figures: Figures, role: Role, metric: str, evaluations: Evaluations) -> None:
    evaluations = _without_pairs_of_retrained(role, evaluations)
    values = _all_or_none([measurement.value for measurement, _ in evaluations.values()])
    reason = next((measurement.reason for measurement, _ in evaluations.values() if measurement.reason), "")
    figures.add(f"{role}/{metric}", values, reason, **_evaluation_statistics(evaluations))


def _without_pairs_of_retrained(role: Role, evaluations: Evaluations) -> Evaluations:
    """Drop evaluations of one retrained model against another: they belong to the noise floor."""
    return {
        seeds: evaluation
        for seeds, evaluation in evaluations.items()
        if role is not Role.RETRAINED or seeds[1] is None or seeds[0] == seeds[1]
    }


def _evaluation_statistics(evaluations: Evaluations) -> dict[str, Any]:
    """The number of models, the number of samples, and every single value with its uncertainty and key."""
    return {
        "models": len({seed for seed, _ in evaluations}),
        "n": max(measurement.n for measurement, _ in evaluations.values()),
        "readings": [
            {"seed": seed, "reference_seed": reference, "key": key} | asdict(measurement)
            for (seed, reference), (measurement, key) in evaluations.items()
        ],
    }


def _add_gap(figures: Figures, table: Table, metric: str, differences: PairedDifferences) -> None:
    """Add the signed gap of the unlearned model to the retrained models, and the noise floor among these.

    `mean_absolute`, the mean over single retrained models, compares with the noise floor, the mean over their pairs.
    """
    retrained = table.get((Role.RETRAINED, metric))
    if retrained is None:
        return
    unlearned = table[Role.UNLEARNED, metric]
    seeds = sorted({seed for seed, _ in retrained})

    gaps = _gaps(unlearned, retrained)
    floor = _all_or_none([_minus(_value(retrained, a, b), _value(retrained, b, b)) for a, b in permutations(seeds, 2)])
    reason = "undefined for the unlearned or a retrained model"
    counts = {"models": len(seeds), "n": max(measurement.n for measurement, _ in unlearned.values())}
    retrained_keys = [key for _, key in retrained.values()]
    statistics = {
        "mean_absolute": _mean_absolute(gaps),
        "keys": [key for _, key in unlearned.values()] + retrained_keys,
        "original": _original_gap(table, metric, differences),
    }
    figures.add(f"gap/{metric}", gaps, reason, **counts, **statistics, **_uncertainty(differences.gap.get(metric)))
    if len(seeds) < 2:
        reason = "needs two or more retrained models (baseline.seeds), and a metric of single models"
    pairs = {"pairs": len(seeds) * (len(seeds) - 1) // 2, "keys": retrained_keys}
    figures.add(f"noise_floor/{metric}", [abs(value) for value in floor], reason, **counts, **pairs)


def _original_gap(table: Table, metric: str, differences: PairedDifferences) -> dict[str, Any] | None:
    """The gap of the original model, which no unlearning changed; None if it was not measured."""
    original = table.get((Role.ORIGINAL, metric))
    if original is None:
        return None
    gaps = _gaps(original, table[Role.RETRAINED, metric])
    gap = {"value": fmean(gaps) if gaps else None, "mean_absolute": _mean_absolute(gaps)}
    return gap | _uncertainty(differences.original.get(metric))


def _gaps(evaluations: Evaluations, retrained: Evaluations) -> list[float]:
    """The signed gap of one model to each retrained model."""
    seed = next(iter(evaluations))[0]
    references = sorted({reference for reference, _ in retrained})
    return _all_or_none(
        [_minus(_value(evaluations, seed, other), _value(retrained, other, other)) for other in references]
    )


def _value(evaluations: Evaluations, seed: int, reference: int) -> float | None:
    measurement, _ = evaluations.get((seed, reference)) or evaluations[seed, None]
    return measurement.value


def _mean_absolute(gaps: list[float]) -> float | None:
    return fmean(map(abs, gaps)) if gaps else None


def _uncertainty(difference: Measurement | None) -> dict[str, Any]:
    if difference is None:
        return {}
    interval = difference.interval and list(difference.interval)
    return {"standard_error": difference.standard_error, "interval": interval}


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _all_or_none(values: list[float | None]) -> list[float]:
    """Return all values, or none if one is undefined: a mean over a part of them would mislead."""
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else []


def _add_averages(figures: Figures, strategy: str, invalid: tuple[str, ...]) -> None:
    """Add the average gaps; where the strategy trained on what the usual attack ranks by, with another attack or null.

    A gap for selection is added only if its attack was measured.
    """
    grades = (
        ("", AVERAGED, GRADER, ENTROPY_ATTACK),
        ("selection/", SELECTION, SELECTOR, SELECTION_ENTROPY_ATTACK),
    )
    replaced = [grade for grade in grades if grade[2] in invalid and f"gap/{grade[1][-1]}" in figures.metrics]
    if replaced:
        sentences = [
            _describe_replacement(figures, prefix, metrics[-1], other) for prefix, metrics, _, other in replaced
        ]
        figures.notes["grading"] = grading_note(strategy, invalid, sentences)
    for grade in grades:
        prefix, metrics, _, other = grade
        if prefix and f"gap/{metrics[-1]}" not in figures.metrics:
            continue
        is_refused = grade in replaced and f"gap/{other}" not in figures.metrics
        attack = other if grade in replaced else metrics[-1]
        averaged = graded((*metrics[:-1], attack), lambda metric: f"gap/{metric}" in figures.metrics)
        _add_average(figures, prefix, averaged, figures.notes["grading"] if is_refused else "")


def _describe_replacement(figures: Figures, prefix: str, usual: str, other: str) -> str:
    if f"gap/{other}" in figures.metrics:
        return f"its {prefix}average_gap uses {other} instead of {usual}"
    return f"it has no {prefix}average_gap (attacks=full adds one that uses {other} instead of {usual})"


def _add_average(figures: Figures, prefix: str, metrics: tuple[str, ...], refusal: str = "") -> None:
    """Add the mean absolute gap over three accuracies and the attack's AUC, and its noise floor.

    Both are null if there is a `refusal`. Where classes vanish, test and validation accuracy are those over the
    retained classes.
    """
    averaged = [metric for metric in metrics if f"gap/{metric}" in figures.metrics]
    if not averaged:
        return
    gaps = _all_or_none([figures.statistics[f"gap/{metric}"]["mean_absolute"] for metric in averaged])
    floors = _all_or_none([figures.metrics[f"noise_floor/{metric}"] for metric in averaged])
    for key, values, group in (("average_gap", gaps, "gap"), ("average_noise_floor", floors, "noise_floor")):
        mean = [fmean(values)] if values and not refusal else []
        reason = refusal or f"one of {', '.join(averaged)} is undefined"
        figures.add(prefix + key, mean, reason, over=[f"{group}/{metric}" for metric in averaged])
