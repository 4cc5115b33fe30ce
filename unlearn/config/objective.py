"""Whether a search's objective is a number that the report will have: told before the search, not after it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

from unlearn.errors import Problem, nearest
from unlearn.evidence import Metric
from unlearn.run_config import RunConfig
from unlearn.types import Role

OF_A_MODEL = (*map(str, Role), "gap", "noise_floor")  # before the slash
TIMED = ("seconds", "speedup")
AVERAGES = ("selection/average_gap", "selection/average_noise_floor", "average_gap", "average_noise_floor")


def objective_problems(config: RunConfig) -> Iterator[Problem]:
    """An objective that no metric or attack of the run measures, by what their docstrings call their numbers."""
    objective = config.objective
    if objective is None or objective in AVERAGES:
        return
    patterns = [pattern for metric in config.measures.values() for pattern in numbers(type(metric))]
    model, _, name = objective.partition("/")
    if model in OF_A_MODEL and any(re.fullmatch(pattern, name) for pattern in (*patterns, *TIMED)):
        return
    plain = [pattern for pattern in patterns if pattern.isidentifier()]
    known = [f"unlearned/{each}" for each in plain] + [f"gap/{each}" for each in plain]
    expected = f"a number of the report, as selection/average_gap or unlearned/METRIC{nearest(objective, known)}"
    yield Problem("objective", expected, objective)


def numbers(kind: type[Metric]) -> list[str]:
    """Patterns of the names of a metric's values, from `Numbers: ...` of its docstring; any name without one."""
    told = re.search(r"^Numbers: (.*?)(?=^[A-Z]\w+: |\Z)", inspect.getdoc(kind) or "", re.MULTILINE | re.DOTALL)
    if told is None:  # of a user's own, or of Python without docstrings
        return [r".+"]
    return [_pattern(name) for name in re.findall(r"`([\w.]+)`", told[1])]


def _pattern(name: str) -> str:
    return re.sub(r"\.\.\.|NAME|LAYER", r"[\\w.]+", name)
