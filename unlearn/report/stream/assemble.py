"""Assemble the report of a stream of requests as plain JSON."""

from __future__ import annotations

import shlex
import sys
from collections import defaultdict
from itertools import accumulate
from typing import Any

from unlearn.core.plugins import option_name
from unlearn.core.types import Role
from unlearn.pipeline.config import RunConfig
from unlearn.pipeline.run_evaluations import Measured
from unlearn.pipeline.stream import StepOutcome, StreamOutcome
from unlearn.pipeline.stream_plan import PolicyStep
from unlearn.report.attacks import find_invalid_attacks
from unlearn.report.figures import Evaluations, Figures, Table, compute_figures
from unlearn.stages.machine import describe_machine, installed_versions

SCHEMA_VERSION = 1
OWN_REFERENCE = (
    "A policy that retrains serves the retrained model of the first baseline seed. Its gap is that to the others, of "
    "other seeds"
)
Report = dict[str, Any]


def assemble_stream(outcome: StreamOutcome, run: RunConfig, config: dict[str, Any], choices: dict[str, str]) -> Report:
    """Assemble the report of a finished stream.

    `steps` has one entry for each request. In it, `models` has the original and the model that each policy serves, and
    `retrained` the mean of the retrained models. `so_far` has the numbers with all records so far as the forget set,
    `request` those with this request alone. `seconds` are those of the stages that the request needed.

    Args:
        outcome: the finished stream.
        run: its config.
        config: the same, resolved, as plain JSON.
        choices: name of the selected option of each group.
    """
    strategy = option_name(type(run.strategy))
    invalid = find_invalid_attacks(strategy, config["attacks"])
    return {
        "schema_version": SCHEMA_VERSION,
        "members": outcome.members,
        "policies": {answer.policy.name: answer.policy.interval for answer in outcome.steps[0].step.answers},
        "requests": [
            {"number": step.step.number, "name": step.step.request.name, "records": len(step.step.request.records)}
            for step in outcome.steps
        ],
        "steps": _add_totals([_describe_step(step, outcome, strategy, invalid) for step in outcome.steps]),
        "notes": _notes(run),
        "choices": choices | {"strategy": strategy},
        "config": config,
        "seeds": config["seeds"] | {"baseline": config["baseline"]["seeds"]},
        "versions": installed_versions(),
        "hardware": describe_machine(outcome.context.hardware),
        "command": shlex.join(["unlearn", *sys.argv[1:]]),
    }


def _notes(run: RunConfig) -> list[str]:
    if not any(policy.startswith("retrain") for policy in run.requests.policies):
        return []
    one_seed = "" if len(run.baseline.seeds) > 1 else ": with one baseline seed, there is none"
    return [f"{OWN_REFERENCE}{one_seed}."]


def _describe_step(
    outcome: StepOutcome, stream: StreamOutcome, strategy: str, invalid: tuple[str, ...]
) -> dict[str, Any]:
    step, get = outcome.step, stream.context.get
    served = {"original": stream.plan.original.key} | {a.policy.name: a.model.key for a in step.answers}
    seeds = {model.key: model.seed for model in step.retrained}
    parts = {name: Readings(measured, seeds) for name, measured in outcome.parts.items()}
    models: dict[str, dict[str, Any]] = {
        name: {"key": key} | {part: of.describe(key, strategy, invalid) for part, of in parts.items()}
        for name, key in served.items()
    }
    for answer in step.answers:
        models[answer.policy.name] |= {"waiting": answer.waiting, "seconds": _seconds(answer, stream)}
    retrained = {part: of.describe_retrained(strategy, invalid) for part, of in parts.items()}
    return {
        "request": step.number,
        "splits": list(dict.fromkeys(split.key for split in step.all_splits)),
        "models": models,
        "retrained": {"keys": [model.key for model in step.retrained]}
        | retrained
        | {"seconds": get(step.retrained[0]).seconds},
    }


def _seconds(answer: PolicyStep, stream: StreamOutcome) -> float:
    return sum(stream.context.get(stage).seconds for stage in answer.stages)


def _add_totals(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add the seconds up to each request, of every policy and of retraining at each request."""
    timed = [name for name, model in steps[0]["models"].items() if "seconds" in model] if steps else []
    for entries in (*([step["models"][name] for step in steps] for name in timed), [s["retrained"] for s in steps]):
        for entry, total in zip(entries, accumulate(entry["seconds"] for entry in entries), strict=True):
            entry["total_seconds"] = total
    return steps


class Readings:
    """The measurements after one request, by model.

    Args:
        measured: the measurements.
        retrained: seeds of the models that were retrained without all records so far, by key.
    """

    def __init__(self, measured: Measured, retrained: dict[str, int]) -> None:
        self.by_model: dict[str, dict[str, Evaluations]] = defaultdict(lambda: defaultdict(dict))  # by key and metric
        self.retrained = retrained
        for evaluation, measurements in measured:
            seeds = (evaluation.seed, evaluation.reference_seed)
            for metric, measurement in measurements.items():
                self.by_model[evaluation.stage.model.key][metric][seeds] = (measurement, evaluation.stage.key)

    def describe(self, key: str, strategy: str, invalid: tuple[str, ...]) -> dict[str, Any]:
        """Return the metrics of a model, and its gaps to the retrained models that it is not itself."""
        figures = self._figures(key, strategy, invalid)
        return {
            "metrics": _select(figures, "unlearned/"),
            "gaps": _select(figures, "gap/"),
            "average_gap": figures.metrics.get("average_gap"),
        }

    def describe_retrained(self, strategy: str, invalid: tuple[str, ...]) -> dict[str, Any]:
        """Return the mean metrics of the retrained models, and their noise floors."""
        figures = self._figures(next(iter(self.by_model)), strategy, invalid)
        return {
            "metrics": _select(figures, "retrained/"),
            "noise_floor": _select(figures, "noise_floor/"),
            "average_noise_floor": figures.metrics.get("average_noise_floor"),
        }

    def _figures(self, key: str, strategy: str, invalid: tuple[str, ...]) -> Figures:
        own_seed, table = self.retrained.get(key), Table()
        for metric, evaluations in self.by_model[key].items():
            others = {seeds: value for seeds, value in evaluations.items() if seeds[1] is None or seeds[1] != own_seed}
            table[Role.UNLEARNED, metric] = others or evaluations
        for other in self.retrained.keys() - {key}:
            for metric, evaluations in self.by_model[other].items():
                kept = {
                    seeds: value for seeds, value in evaluations.items() if seeds[1] is None or seeds[1] != own_seed
                }
                table.setdefault((Role.RETRAINED, metric), {}).update(kept)
        return compute_figures(table, strategy, invalid)


def _select(figures: Figures, prefix: str) -> dict[str, float | None]:
    return {key.removeprefix(prefix): value for key, value in figures.metrics.items() if key.startswith(prefix)}
