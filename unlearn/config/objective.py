"""Whether a search's objective is a number that the report will have: told before the search, not after it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

from unlearn.core.errors import Problem, nearest
from unlearn.core.types import Role
from unlearn.metrics.evidence import Metric
from unlearn.pipeline.config import RunConfig
from unlearn.spd_gan.options import Probe

SECONDS = ("original/seconds", "retrained/seconds", "unlearned/seconds")
TIMED = (*SECONDS, "unlearned/speedup")
GAP, FLOOR = "gap", "noise_floor"  # before the slash, as roles are
REPORTED = (*map(str, (Role.ORIGINAL, Role.RETRAINED, Role.UNLEARNED, Role.FRESH)), GAP, FLOOR)
AVERAGES = ("selection/average_gap", "selection/average_noise_floor", "average_gap", "average_noise_floor")


def objective_problems(config: RunConfig) -> Iterator[Problem]:
    """An objective that no metric or attack of the run measures, by what their docstrings call their numbers, or that
    needs models which the run has not."""
    objective = config.objective
    if objective is None:
        return
    if objective in (*AVERAGES, *TIMED) or any(_measures(metric, objective) for metric in config.measures.values()):
        yield from _lacking(config, objective)
        return
    patterns = [pattern for metric in config.measures.values() for pattern in numbers(type(metric))]
    plain = [pattern for pattern in patterns if pattern.isidentifier()]
    known = [f"unlearned/{each}" for each in plain] + [f"gap/{each}" for each in plain]
    expected = f"a number of the report, as selection/average_gap or unlearned/METRIC{nearest(objective, known)}"
    yield Problem("objective", expected, objective)


def _measures(metric: Metric, objective: str) -> bool:
    """Whether a report with all models that can be has that number by this metric."""
    model, _, name = objective.partition("/")
    absent = (model == Role.FRESH and not metric.needs_spd_gan) or (model == FLOOR and len(metric.siblings) > 0)
    return model in REPORTED and not absent and any(re.fullmatch(each, name) for each in numbers(type(metric)))


def _lacking(config: RunConfig, objective: str) -> Iterator[Problem]:
    """What the number is made of and the run has not."""
    seeds, model = config.baseline.seeds, objective.partition("/")[0]
    if (model == FLOOR or objective.endswith(f"average_{FLOOR}")) and len(seeds) < 2:
        yield Problem("objective", f"two or more baseline.seeds for {objective}", f"baseline.seeds={seeds}")
    of_retrained = model in (GAP, Role.RETRAINED) or objective in (*AVERAGES, "unlearned/speedup")
    if of_retrained and not seeds and FLOOR not in objective:
        expected = f"a retrained model for {objective}: baseline=retrain, or another number, as unlearned/METRIC"
        yield Problem("objective", expected, "baseline.seeds=[]")
    if objective == "original/seconds" and config.trained_on is not None:
        yield Problem("objective", f"an original that is trained here for {objective}", "a checkpoint")
    if model == Role.FRESH and not (isinstance(config.spd_gan, Probe) and config.spd_gan.fresh):
        yield Problem("objective", f"spd_gan=probe with spd_gan.fresh=true for {objective}", "no such control")


def numbers(kind: type[Metric]) -> list[str]:
    """Patterns of the names of a metric's values, from `Numbers: ...` of its docstring; any name without one."""
    told = re.search(r"^Numbers: (.*?)(?=^[A-Z]\w+: |\Z)", inspect.getdoc(kind) or "", re.MULTILINE | re.DOTALL)
    if told is None:  # of a user's own, or of Python without docstrings
        return [r".+"]
    return [_pattern(name) for name in re.findall(r"`([\w.]+)`", told[1])]


def _pattern(name: str) -> str:
    return re.sub(r"\.\.\.|NAME|LAYER", r"[\\w.]+", name)
