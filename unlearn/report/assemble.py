"""From the readings of a run to its report: means over retrained models, gaps, the noise floor, and where from."""

from __future__ import annotations

import shlex
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import permutations
from statistics import fmean, stdev
from typing import Any

from unlearn.pipeline import Outcome
from unlearn.spd_gan.options import Noise
from unlearn.stages.base import Stage
from unlearn.stages.machine import machine, versions
from unlearn.types import Measurement, Role

SCHEMA_VERSION = 1
AVERAGED = ("forget_accuracy", "retain_accuracy", "test_accuracy", "mia_logistic_auc")

Pair = tuple[int, int | None]  # a model's seed, and that of the retrained model it is held against
Table = dict[tuple[Role, str], dict[Pair, Measurement]]


@dataclass
class Figures:
    """Numbers under flat keys `role/metric`, what stands behind each, and why some are null."""

    metrics: dict[str, float | None] = field(default_factory=dict)
    statistics: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def add(self, key: str, values: list[float], reason: str, **behind: Any) -> None:
        """The mean of `values` over models, or null with `reason` where there are none."""
        self.metrics[key] = fmean(values) if values else None
        spread = stdev(values) if len(values) > 1 else None
        self.statistics[key] = {"models": len(values), "std": spread} | behind
        if not values:
            self.notes[key] = reason


def assemble(outcome: Outcome, config: dict[str, Any], choices: dict[str, str]) -> dict[str, Any]:
    """The report as plain JSON; nothing in it is cached. `choices` names the option taken in each group."""
    table, keys = _tabulate(outcome)
    figures = Figures()
    for (role, metric), readings in table.items():
        _summarise(figures, role, metric, readings, keys[role, metric])
    for metric in dict.fromkeys(metric for _, metric in table):
        _compare(figures, table, metric, keys)
    _average(figures)
    _times(figures, outcome)
    return {
        "schema_version": SCHEMA_VERSION,
        "metrics": figures.metrics,
        "statistics": figures.statistics,
        "notes": _general_notes(outcome) | figures.notes,
        **outcome.workshop.need(outcome.plan.unlearned).json("edited.json"),
        "artifacts": {name: _artifact(stage, outcome) for name, stage in stages(outcome).items()},
        "choices": choices,
        "config": config,
        "seeds": config["seeds"] | {"baseline": config["baseline"]["seeds"]},
        "versions": versions(),
        "hardware": machine(outcome.workshop.hardware),
        "command": shlex.join(["unlearn", *sys.argv[1:]]),
    }


def stages(outcome: Outcome) -> dict[str, Stage]:
    """The stages that make models and data, by their name in the report."""
    plan = outcome.plan
    named: dict[str, Stage] = {"original": plan.original}
    if plan.mark:
        named |= {"spd_gan": plan.mark} | ({"guide": plan.mark.guide} if plan.mark.guide else {})
    for model in plan.retrained:
        named["retrained" if model is plan.retrained[0] else f"retrained_{model.seed}"] = model
    for score in plan.unlearned.scores:
        named["scores"] = score
    return named | {"unlearned": plan.unlearned}


def _tabulate(outcome: Outcome) -> tuple[Table, dict[tuple[Role, str], list[str]]]:
    table: Table = defaultdict(dict)
    keys: dict[tuple[Role, str], list[str]] = defaultdict(list)
    for reading, measured in outcome.measurements:
        for metric, value in measured.items():
            table[reading.role, metric][reading.seed, reading.reference_seed] = value
            keys[reading.role, metric].append(reading.stage.key)
    return dict(table), keys


def _own(role: Role, readings: dict[Pair, Measurement]) -> dict[Pair, Measurement]:
    """Without retrained models held against one another: those make the noise floor."""
    return {
        pair: value
        for pair, value in readings.items()
        if role is not Role.RETRAINED or pair[1] is None or pair[0] == pair[1]
    }


def _summarise(figures: Figures, role: Role, metric: str, readings: dict[Pair, Measurement], keys: list[str]) -> None:
    own = _own(role, readings)
    known = [m.value for m in own.values() if m.value is not None]
    first = next(iter(own.values()))
    behind: dict[str, Any] = {"n": first.n, "seeds": sorted({seed for seed, _ in own}), "keys": keys}
    if len(own) == 1:  # one model: what its samples say of the uncertainty
        behind |= {"standard_error": first.standard_error, "interval": first.interval}
    undefined = next((m.reason for m in own.values() if m.reason), "")
    figures.add(f"{role}/{metric}", known if not undefined else [], undefined, **behind)


def _compare(figures: Figures, table: Table, metric: str, keys: dict[tuple[Role, str], list[str]]) -> None:
    """The signed gap of the unlearned model to the retrained ones, and theirs to one another."""
    retrained = table.get((Role.RETRAINED, metric))
    if retrained is None:
        return
    unlearned = table[Role.UNLEARNED, metric]
    seeds = sorted({seed for seed, _ in retrained})

    def at(readings: dict[Pair, Measurement], seed: int, reference: int) -> float | None:
        found = readings.get((seed, reference)) or readings[seed, None]
        return found.value

    mine = next(iter(unlearned))[0]
    gaps = [_minus(at(unlearned, mine, seed), at(retrained, seed, seed)) for seed in seeds]
    floor = [_minus(at(retrained, a, b), at(retrained, b, b)) for a, b in permutations(seeds, 2)]
    behind = {"n": next(iter(unlearned.values())).n, "seeds": seeds}
    theirs = keys[Role.RETRAINED, metric]
    reason = "undefined for the unlearned or the retrained model"
    figures.add(f"gap/{metric}", _known(gaps), reason, **behind, keys=[*keys[Role.UNLEARNED, metric], *theirs])
    reason = "undefined for a retrained model" if len(seeds) > 1 else "needs two or more baseline.seeds"
    figures.add(f"noise_floor/{metric}", [abs(value) for value in _known(floor)], reason, **behind, keys=theirs)


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _known(values: list[float | None]) -> list[float]:
    """All values, or none at all if one is undefined: no mean over a part."""
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else []


def _average(figures: Figures) -> None:
    """Mean absolute gap over forget, retain and test accuracy and the attack's AUC, with its floor."""
    wanted = [metric for metric in AVERAGED if f"gap/{metric}" in figures.metrics]
    if not wanted:
        return
    for key, group in (("average_gap", "gap"), ("average_noise_floor", "noise_floor")):
        values = _known([figures.metrics[f"{group}/{metric}"] for metric in wanted])
        total = [fmean(abs(value) for value in values)] if values else []
        figures.add(key, total, f"one of {', '.join(wanted)} is undefined", over=wanted)


def _times(figures: Figures, outcome: Outcome) -> None:
    """Seconds of each model's own making, and the speed-up over retraining where both can be compared."""
    plan, need = outcome.plan, outcome.workshop.need
    cost = [need(stage) for stage in (*plan.unlearned.scores, plan.unlearned)]
    retrained = [need(model) for model in plan.retrained]
    seconds = sum(entry.seconds for entry in cost)
    figures.add("original/seconds", [need(plan.original).seconds], "")
    figures.add(
        "unlearned/seconds",
        [seconds],
        "",
        counted=["scores", "unlearn"] if plan.unlearned.scores else ["unlearn"],
    )
    if not retrained:
        return
    figures.add("retrained/seconds", [entry.seconds for entry in retrained], "")
    same = len({str(entry.meta["hardware"]) for entry in [*cost, *retrained]}) == 1
    speedup = [entry.seconds / seconds for entry in retrained] if same and seconds > 0 else []
    figures.add("unlearned/speedup", speedup, "unlearning and retraining were timed on different hardware or threads")


def _general_notes(outcome: Outcome) -> dict[str, str]:
    mark = outcome.plan.mark
    if mark is None:
        return {}
    how = "random noise" if isinstance(mark.settings, Noise) else "SPD-GAN"
    return {
        "spd_gan": f"The forget set was marked by {how} before training: forget accuracy, gaps and attacks speak of "
        "marked data and are not comparable with unmarked runs."
    }


def _artifact(stage: Stage, outcome: Outcome) -> dict[str, Any]:
    entry = outcome.workshop.need(stage)
    return {"key": entry.key, "status": "reused" if entry.reused else "built", "seconds": entry.seconds}
