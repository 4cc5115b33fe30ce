"""From evaluations to figures: means over retrained models, gaps, the noise floor, averages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import permutations
from statistics import fmean, stdev
from typing import Any

from unlearn.core.types import Measurement, Role
from unlearn.report.attacks import ATTACK, GRADER, OTHER, SELECTED, SELECTED_OTHER, SELECTOR, grading, judges
from unlearn.report.retained import graded

AVERAGED = ("forget_accuracy", "retain_accuracy", "test_accuracy", ATTACK)
SELECTION = ("forget_accuracy", "retain_accuracy", "validation_accuracy", SELECTED)  # neither test nor holdout

Pair = tuple[int, int | None]  # a model's seed, and that of the retrained model it is held against
Readings = dict[Pair, tuple[Measurement, str]]  # with the key of the artefact it comes from
Table = dict[tuple[Role, str], Readings]


@dataclass
class Figures:
    """Numbers under flat keys `role/metric`, what stands behind each, and why some are null."""

    metrics: dict[str, float | None] = field(default_factory=dict)
    statistics: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    judged_by: list[str] = field(default_factory=list)  # what says whether something was forgotten

    def add(self, key: str, values: list[float], reason: str, **behind: Any) -> None:
        """The mean of `values`, or null with `reason` where there are none."""
        self.metrics[key] = fmean(values) if values else None
        self.statistics[key] = {"std": stdev(values) if len(values) > 1 else None} | behind
        if not values:
            self.notes[key] = reason


@dataclass(frozen=True)
class Paired:
    """Differences of two models over the same samples, by metric: what gives gaps their intervals."""

    gap: Mapping[str, Measurement] = field(default_factory=dict)  # unlearned minus retrained
    original: Mapping[str, Measurement] = field(default_factory=dict)  # minus retrained
    change: Mapping[str, Measurement] = field(default_factory=dict)  # unlearned minus original


def figures_of(table: Table, strategy: str, unfit: tuple[str, ...], paired: Paired | None = None) -> Figures:
    """All that follows from the evaluations: means, gaps, noise floors, averages.

    `unfit` attacks do not grade the strategy.
    """
    paired = paired or Paired()
    figures = Figures()
    for (role, metric), evaluations in table.items():
        _summarise(figures, role, metric, evaluations)
    for metric in dict.fromkeys(metric for _, metric in table):
        _compare(figures, table, metric, paired)
    for metric, found in paired.change.items():
        figures.statistics[f"unlearned/{metric}"]["change"] = {"value": found.value} | _sure(found)
    figures.judged_by = judges((metric for _, metric in table), unfit)
    _grade(figures, strategy, unfit)
    return figures


def _own(role: Role, evaluations: Readings) -> Readings:
    """Without retrained models held against one another: those make the noise floor."""
    return {
        pair: found
        for pair, found in evaluations.items()
        if role is not Role.RETRAINED or pair[1] is None or pair[0] == pair[1]
    }


def _summarise(figures: Figures, role: Role, metric: str, evaluations: Readings) -> None:
    own = _own(role, evaluations)
    values = _known([found.value for found, _ in own.values()])
    reason = next((found.reason for found, _ in own.values() if found.reason), "")
    figures.add(f"{role}/{metric}", values, reason, **_behind(own))


def _behind(evaluations: Readings) -> dict[str, Any]:
    """Who was measured how often, and every single value with its own uncertainty and key."""
    return {
        "models": len({seed for seed, _ in evaluations}),
        "n": max(found.n for found, _ in evaluations.values()),
        "readings": [
            {"seed": seed, "reference_seed": reference, "key": key} | asdict(found)
            for (seed, reference), (found, key) in evaluations.items()
        ],
    }


def _compare(figures: Figures, table: Table, metric: str, paired: Paired) -> None:
    """The signed gap of the unlearned model to the retrained ones, and theirs to one another.

    `mean_absolute`, one retrained model at a time, is what compares with the noise floor: the mean over their pairs.
    `interval` is of the gap, where samples can be paired (`paired`); `original` has the same of the original's gap.
    """
    retrained = table.get((Role.RETRAINED, metric))
    if retrained is None:
        return
    unlearned = table[Role.UNLEARNED, metric]
    seeds = sorted({seed for seed, _ in retrained})

    gaps = _gaps(unlearned, retrained)
    floor = _known([_minus(_at(retrained, a, b), _at(retrained, b, b)) for a, b in permutations(seeds, 2)])
    reason = "undefined for the unlearned or a retrained model"
    behind = {"models": len(seeds), "n": max(found.n for found, _ in unlearned.values())}
    theirs = [key for _, key in retrained.values()]
    keys = [key for _, key in unlearned.values()] + theirs
    told = {"mean_absolute": _absolute(gaps), "keys": keys, "original": _untouched(table, metric, paired)}
    figures.add(f"gap/{metric}", gaps, reason, **behind, **told, **_sure(paired.gap.get(metric)))
    if len(seeds) < 2:
        reason = "needs two or more baseline.seeds, and a number of single models"
    pairs = {"pairs": len(seeds) * (len(seeds) - 1) // 2, "keys": theirs}
    figures.add(f"noise_floor/{metric}", [abs(value) for value in floor], reason, **behind, **pairs)


def _untouched(table: Table, metric: str, paired: Paired) -> dict[str, Any] | None:
    """The original's own gap: what it is to do nothing. None where it was not measured."""
    original = table.get((Role.ORIGINAL, metric))
    if original is None:
        return None
    gaps = _gaps(original, table[Role.RETRAINED, metric])
    found = {"value": fmean(gaps) if gaps else None, "mean_absolute": _absolute(gaps)}
    return found | _sure(paired.original.get(metric))


def _gaps(mine: Readings, retrained: Readings) -> list[float]:
    """Of one model to each retrained one, signed."""
    own = next(iter(mine))[0]
    seeds = sorted({seed for seed, _ in retrained})
    return _known([_minus(_at(mine, own, seed), _at(retrained, seed, seed)) for seed in seeds])


def _at(evaluations: Readings, seed: int, reference: int) -> float | None:
    found, _ = evaluations.get((seed, reference)) or evaluations[seed, None]
    return found.value


def _absolute(gaps: list[float]) -> float | None:
    return fmean(map(abs, gaps)) if gaps else None


def _sure(difference: Measurement | None) -> dict[str, Any]:
    """What is known of a difference besides its value."""
    if difference is None:
        return {}
    interval = difference.interval and list(difference.interval)
    return {"standard_error": difference.standard_error, "interval": interval}


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _known(values: list[float | None]) -> list[float]:
    """All values, or none at all if one is undefined: no mean over a part."""
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else []


def _grade(figures: Figures, strategy: str, unfit: tuple[str, ...]) -> None:
    """The average gaps, by another attack where the strategy trained on what the usual one ranks by, or by none."""
    grades = (("", AVERAGED, GRADER, OTHER), ("selection/", SELECTION, SELECTOR, SELECTED_OTHER))
    replaced = [grade for grade in grades if grade[2] in unfit and f"gap/{grade[1][-1]}" in figures.metrics]
    told = [_instead(figures, prefix, averaged[-1], other) for prefix, averaged, _, other in replaced]
    if told:
        figures.notes["grading"] = grading(strategy, unfit, told)
    for grade in grades:
        prefix, averaged, _, other = grade
        if prefix and f"gap/{averaged[-1]}" not in figures.metrics:
            continue
        refused = grade in replaced and f"gap/{other}" not in figures.metrics
        attack = other if grade in replaced else averaged[-1]
        over = graded((*averaged[:-1], attack), lambda metric: f"gap/{metric}" in figures.metrics)
        _average(figures, prefix, over, figures.notes["grading"] if refused else "")


def _instead(figures: Figures, prefix: str, usual: str, other: str) -> str:
    """What grades a strategy in place of the usual attack."""
    if f"gap/{other}" in figures.metrics:
        return f"its {prefix}average_gap holds {other} in place of {usual}"
    return f"it has no {prefix}average_gap, which with attacks=full holds {other} in place of {usual}"


def _average(figures: Figures, prefix: str, averaged: tuple[str, ...], refusal: str = "") -> None:
    """Mean absolute gap over three accuracies and the attack's AUC, with its floor; null if there is a `refusal`.

    Where classes vanish, test and validation accuracy are those over the retained classes.
    """
    over = [metric for metric in averaged if f"gap/{metric}" in figures.metrics]
    if not over:
        return
    gaps = _known([figures.statistics[f"gap/{metric}"]["mean_absolute"] for metric in over])
    floors = _known([figures.metrics[f"noise_floor/{metric}"] for metric in over])
    for key, values, group in (("average_gap", gaps, "gap"), ("average_noise_floor", floors, "noise_floor")):
        mean = [fmean(values)] if values and not refusal else []
        reason = refusal or f"one of {', '.join(over)} is undefined"
        figures.add(prefix + key, mean, reason, over=[f"{group}/{metric}" for metric in over])
