"""From the readings of a run to its report: means over retrained models, gaps, the noise floor, and where from."""

from __future__ import annotations

import shlex
import sys
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from itertools import permutations
from statistics import fmean, stdev
from typing import Any

from unlearn.errors import UnlearnError, nearest
from unlearn.pipeline import Outcome, Plan
from unlearn.report.notes import general_notes, selection_note
from unlearn.stages.base import Stage, Workshop, inputs
from unlearn.stages.blend import Blended
from unlearn.stages.checkpoint import Checkpoint
from unlearn.stages.files import read_predictions
from unlearn.stages.machine import machine, versions
from unlearn.stages.predict import Predict
from unlearn.stages.score import Score
from unlearn.statistics import confidence
from unlearn.types import Measurement, Role, Subset

SCHEMA_VERSION = 1
ATTACK = "mia_logistic_auc"
BINS = 20  # of the true class's confidence, on 0-1
AVERAGED = ("forget_accuracy", "retain_accuracy", "test_accuracy", ATTACK)
SELECTED = ("forget_accuracy", "retain_accuracy", "validation_accuracy", "selection_auc")  # neither test nor holdout

TIMES = ("/seconds", "/speedup")  # what ends so was timed, not read off a model

Pair = tuple[int, int | None]  # a model's seed, and that of the retrained model it is held against
Readings = dict[Pair, tuple[Measurement, str]]  # with the key of the artefact it comes from
Table = dict[tuple[Role, str], Readings]


@dataclass
class Figures:
    """Numbers under flat keys `role/metric`, what stands behind each, and why some are null."""

    metrics: dict[str, float | None] = field(default_factory=dict)
    statistics: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def add(self, key: str, values: list[float], reason: str, **behind: Any) -> None:
        """The mean of `values`, or null with `reason` where there are none."""
        self.metrics[key] = fmean(values) if values else None
        self.statistics[key] = {"std": stdev(values) if len(values) > 1 else None} | behind
        if not values:
            self.notes[key] = reason


def assemble(outcome: Outcome, config: dict[str, Any], choices: dict[str, str]) -> dict[str, Any]:
    """The report as plain JSON; nothing in it is cached. `choices` names the option taken in each group."""
    table: Table = defaultdict(dict)
    for reading, measured in outcome.measurements:
        for metric, value in measured.items():
            table[reading.role, metric][reading.seed, reading.reference_seed] = (value, reading.stage.key)
    figures = figures_of(table)
    _times(figures, outcome)
    _say_where_attack_is_blind(figures, table)
    chosen = {"objective": selection_note(config["objective"])} if config["objective"] else {}
    return {
        "schema_version": SCHEMA_VERSION,
        "metrics": figures.metrics,
        "statistics": figures.statistics,
        "notes": general_notes(outcome) | chosen | figures.notes,
        **outcome.workshop.need(outcome.plan.unlearned).json("edited.json"),
        **_retain(outcome),
        **_blend(outcome),
        "confidence": _confidence(outcome),
        "artifacts": {
            name: {"key": entry.key, "status": "reused" if entry.reused else "built", "seconds": entry.seconds}
            for name, stage in stages(outcome.plan).items()
            if (entry := outcome.workshop.peek(stage))
        },
        "choices": choices,
        "config": config,
        "seeds": config["seeds"] | {"baseline": config["baseline"]["seeds"]},
        "versions": versions(),
        "hardware": machine(outcome.workshop.hardware),
        "command": shlex.join(["unlearn", *sys.argv[1:]]),
    }


def figures_of(table: Table) -> Figures:
    """All that follows from the readings alone: means, gaps, noise floors, averages."""
    figures = Figures()
    for (role, metric), readings in table.items():
        _summarise(figures, role, metric, readings)
    for metric in dict.fromkeys(metric for _, metric in table):
        _compare(figures, table, metric)
    _average(figures, "", AVERAGED)
    if "gap/selection_auc" in figures.metrics:
        _average(figures, "selection/", SELECTED)
    return figures


def objective(report: dict[str, Any], key: str) -> float:
    """The number by which a search judges a run.

    Raises:
        UnlearnError: the report has no such number, or it is undefined.
    """
    known = report["metrics"]
    if known.get(key) is None:
        came = report["notes"].get(key, "null") if key in known else "none" + nearest(key, known)
        raise UnlearnError(f"objective: expected a number {key} in the report, came {came}")
    return float(known[key])


def stages(plan: Plan) -> dict[str, Stage]:
    """The stages that make models and data, by their name in the report."""
    named: dict[str, Stage] = {"split": plan.split, "original": plan.original}
    if plan.split.forget.ranking:
        named |= {"proxy": next(inputs(plan.split.forget.ranking))}
    if plan.spd_gan:
        guide = plan.spd_gan.guide
        named |= {"spd_gan": plan.spd_gan} | ({"guide": guide} if guide and guide.role is Role.GUIDE else {})
    if plan.fresh:
        named |= {"fresh": plan.fresh}
    for model in plan.retrained:
        named["retrained" if model is plan.retrained[0] else f"retrained_{model.seed}"] = model
    condensed = {"condensed": plan.unlearned.condensed} if plan.unlearned.condensed else {}
    history = {"history": plan.unlearned.history} if plan.unlearned.history else {}
    blended = {"blended": plan.judged} if isinstance(plan.judged, Blended) else {}
    return named | _named_scores(plan.unlearned.scores) | condensed | history | {"unlearned": plan.unlearned} | blended


def _named_scores(scores: tuple[Score, ...]) -> dict[str, Stage]:
    """`scores`, then `scores_SUBSET`, with its number where that is taken."""
    named: dict[str, Stage] = {}
    for number, score in enumerate(scores, start=1):
        name = f"scores_{score.need.subset}" if named else "scores"
        named[f"{name}_{number}" if name in named else name] = score
    return named


def _retain(outcome: Outcome) -> dict[str, Any]:
    """How many images strategies read in place of the retain set, and how many of them are mixtures."""
    condensed = outcome.plan.unlearned.condensed
    return {"retain": outcome.workshop.need(condensed).json("counts.json")} if condensed else {}


def _blend(outcome: Outcome) -> dict[str, Any]:
    judged = outcome.plan.judged
    return {"blend": outcome.workshop.need(judged).json("blend.json")} if isinstance(judged, Blended) else {}


def _own(role: Role, readings: Readings) -> Readings:
    """Without retrained models held against one another: those make the noise floor."""
    return {
        pair: found
        for pair, found in readings.items()
        if role is not Role.RETRAINED or pair[1] is None or pair[0] == pair[1]
    }


def _summarise(figures: Figures, role: Role, metric: str, readings: Readings) -> None:
    own = _own(role, readings)
    values = _known([found.value for found, _ in own.values()])
    reason = next((found.reason for found, _ in own.values() if found.reason), "")
    figures.add(f"{role}/{metric}", values, reason, **_behind(own))


def _behind(readings: Readings) -> dict[str, Any]:
    """Who was measured how often, and every single value with its own uncertainty and key."""
    return {
        "models": len({seed for seed, _ in readings}),
        "n": max(found.n for found, _ in readings.values()),
        "readings": [
            {"seed": seed, "reference_seed": reference, "key": key} | asdict(found)
            for (seed, reference), (found, key) in readings.items()
        ],
    }


def _compare(figures: Figures, table: Table, metric: str) -> None:
    """The signed gap of the unlearned model to the retrained ones, and theirs to one another.

    `mean_absolute`, one retrained model at a time, is what compares with the noise floor: the mean over their pairs.
    """
    retrained = table.get((Role.RETRAINED, metric))
    if retrained is None:
        return
    unlearned = table[Role.UNLEARNED, metric]
    seeds = sorted({seed for seed, _ in retrained})

    def at(readings: Readings, seed: int, reference: int) -> float | None:
        found, _ = readings.get((seed, reference)) or readings[seed, None]
        return found.value

    mine = next(iter(unlearned))[0]
    gaps = _known([_minus(at(unlearned, mine, seed), at(retrained, seed, seed)) for seed in seeds])
    floor = _known([_minus(at(retrained, a, b), at(retrained, b, b)) for a, b in permutations(seeds, 2)])
    reason = "undefined for the unlearned or a retrained model"
    behind = {"models": len(seeds), "n": max(found.n for found, _ in unlearned.values())}
    theirs = [key for _, key in retrained.values()]
    keys = [key for _, key in unlearned.values()] + theirs
    absolute = fmean(map(abs, gaps)) if gaps else None
    figures.add(f"gap/{metric}", gaps, reason, **behind, mean_absolute=absolute, keys=keys)
    if len(seeds) < 2:
        reason = "needs two or more baseline.seeds"
    pairs = {"pairs": len(seeds) * (len(seeds) - 1) // 2, "keys": theirs}
    figures.add(f"noise_floor/{metric}", [abs(value) for value in floor], reason, **behind, **pairs)


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _known(values: list[float | None]) -> list[float]:
    """All values, or none at all if one is undefined: no mean over a part."""
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else []


def _average(figures: Figures, prefix: str, averaged: tuple[str, ...]) -> None:
    """Mean absolute gap over three accuracies and the attack's AUC, with its floor."""
    over = [metric for metric in averaged if f"gap/{metric}" in figures.metrics]
    if not over:
        return
    gaps = _known([figures.statistics[f"gap/{metric}"]["mean_absolute"] for metric in over])
    floors = _known([figures.metrics[f"noise_floor/{metric}"] for metric in over])
    for key, values, group in (("average_gap", gaps, "gap"), ("average_noise_floor", floors, "noise_floor")):
        mean = [fmean(values)] if values else []
        figures.add(
            prefix + key, mean, f"one of {', '.join(over)} is undefined", over=[f"{group}/{metric}" for metric in over]
        )


def _times(figures: Figures, outcome: Outcome) -> None:
    """Seconds of each model's own making, and the speed-up over retraining where both can be compared."""
    plan, need = outcome.plan, outcome.workshop.need
    cost = [need(stage) for stage in plan.unlearning]
    retrained = [need(model) for model in plan.retrained]
    original, seconds = need(plan.original), sum(entry.seconds for entry in cost)
    trained = [] if isinstance(plan.original, Checkpoint) else [original.seconds]
    figures.add("original/seconds", trained, "the original was trained elsewhere", keys=[original.key])
    figures.add("unlearned/seconds", [seconds], "", keys=[entry.key for entry in cost])
    if not retrained:
        return
    theirs = [entry.key for entry in retrained]
    figures.add("retrained/seconds", [entry.seconds for entry in retrained], "", keys=theirs)
    same = len({str(entry.meta["hardware"]) for entry in [*cost, *retrained]}) == 1
    speedup = [entry.seconds / seconds for entry in retrained] if same and seconds > 0 else []
    reason = "unlearning and retraining were timed on different hardware or threads"
    figures.add("unlearned/speedup", speedup, reason, keys=[entry.key for entry in cost] + theirs)


def _say_where_attack_is_blind(figures: Figures, table: Table) -> None:
    """A note where the 95 % intervals of the attack overlap on original and retrained."""
    bounds = [
        found.interval
        for role in (Role.ORIGINAL, Role.RETRAINED)
        for found, _ in table.get((role, ATTACK), {}).values()
        if found.interval
    ]
    if len(bounds) > 1 and any(bounds[0][0] <= high and low <= bounds[0][1] for low, high in bounds[1:]):
        figures.notes["attack"] = "The attack cannot tell original and retrained apart: their 95 % intervals overlap."


def _confidence(outcome: Outcome) -> dict[Role, dict[Subset, list[int]]]:
    """How many images have their true class's probability in each of `BINS` equal bins, by role and subset.

    The first retrained model stands for all of them; subsets that no metric reads are left out.
    """
    found: dict[Role, dict[Subset, list[int]]] = defaultdict(dict)
    for reading, _ in outcome.measurements:
        for subset in (Subset.FORGET, Subset.RETAIN, Subset.TEST):
            if subset in reading.stage.subject.predictions and subset not in found[reading.role]:
                found[reading.role][subset] = _counts(reading.stage.subject.predictions[subset], outcome.workshop)
    return dict(found)


def _counts(stage: Predict, workshop: Workshop) -> list[int]:
    found = confidence(read_predictions(workshop.need(stage)))
    return [int(count) for count in found.histc(BINS, 0, 1)]
