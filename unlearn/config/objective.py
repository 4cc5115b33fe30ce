"""Checks before a search that the report will have the number to search by."""

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
TIMES = (*SECONDS, "unlearned/speedup")
GAP, FLOOR = "gap", "noise_floor"  # stand before the slash, like a role
PREFIXES = (*map(str, (Role.ORIGINAL, Role.RETRAINED, Role.UNLEARNED, Role.FRESH)), GAP, FLOOR)
AVERAGES = ("selection/average_gap", "selection/average_noise_floor", "average_gap", "average_noise_floor")


def check_objective(config: RunConfig) -> Iterator[Problem]:
    """Yield a problem if no metric or attack of the run measures `objective`, or if it needs a model the run lacks.

    Which numbers a metric measures is read from `Numbers:` in its docstring.
    """
    objective = config.objective
    if objective is None:
        return
    if objective in (*AVERAGES, *TIMES) or any(_measures(metric, objective) for metric in config.all_metrics.values()):
        yield from _check_models(config, objective)
        return
    patterns = [pattern for metric in config.all_metrics.values() for pattern in number_patterns(type(metric))]
    names = [pattern for pattern in patterns if pattern.isidentifier()]
    known = [f"unlearned/{name}" for name in names] + [f"gap/{name}" for name in names]
    expected = f"a number of the report, as selection/average_gap or unlearned/METRIC{nearest(objective, known)}"
    yield Problem("objective", expected, objective)


def _measures(metric: Metric, objective: str) -> bool:
    """Whether this metric measures the objective, if the run has every model that it can have."""
    prefix, _, name = objective.partition("/")
    has_no_fresh = prefix == Role.FRESH and not metric.needs_spd_gan
    has_no_floor = prefix == FLOOR and len(metric.replica_seeds) > 0
    if prefix not in PREFIXES or has_no_fresh or has_no_floor:
        return False
    return any(re.fullmatch(pattern, name) for pattern in number_patterns(type(metric)))


def _check_models(config: RunConfig, objective: str) -> Iterator[Problem]:
    """Yield the models that the objective is computed from and the run lacks."""
    seeds, prefix = config.baseline.seeds, objective.partition("/")[0]
    if (prefix == FLOOR or objective.endswith(f"average_{FLOOR}")) and len(seeds) < 2:
        yield Problem("objective", f"two or more baseline.seeds for {objective}", f"baseline.seeds={seeds}")
    needs_retrained = prefix in (GAP, Role.RETRAINED) or objective in (*AVERAGES, "unlearned/speedup")
    if needs_retrained and not seeds and FLOOR not in objective:
        expected = f"a retrained model for {objective}: baseline=retrain, or another number, as unlearned/METRIC"
        yield Problem("objective", expected, "baseline.seeds=[]")
    if objective == "original/seconds" and config.trained_on is not None:
        yield Problem("objective", f"an original that is trained here for {objective}", "a checkpoint")
    if prefix == Role.FRESH and not (isinstance(config.spd_gan, Probe) and config.spd_gan.fresh):
        yield Problem("objective", f"spd_gan=probe with spd_gan.fresh=true for {objective}", "no such control")


def number_patterns(metric: type[Metric]) -> list[str]:
    """Return regular expressions for the names of a metric's numbers, read from `Numbers:` in its docstring.

    Without such a docstring (a user's metric, or `python -OO`), the one pattern matches any name.
    """
    numbers = re.search(r"^Numbers: (.*?)(?=^[A-Z]\w+: |\Z)", inspect.getdoc(metric) or "", re.MULTILINE | re.DOTALL)
    if numbers is None:
        return [r".+"]
    return [re.sub(r"\.\.\.|NAME|LAYER", r"[\\w.]+", name) for name in re.findall(r"`([\w.]+)`", numbers[1])]
