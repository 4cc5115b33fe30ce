"""What a search is told beside its objective: from where it draws, how often, and which way is better."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override
from omegaconf import DictConfig, ListConfig

DIRECTIONS = ("minimize", "maximize")


def search_problems(sweeper: DictConfig) -> Iterator[str]:
    """Settings of Optuna's sweeper that it would only trip over, as each was set."""
    for name in ("n_trials", "n_jobs"):
        value = sweeper.get(name, 1)
        if type(value) is not int or value < 1:
            yield f"hydra.sweeper.{name}: expected an integer >= 1, got {value!r}"
    direction: Any = sweeper.get("direction", DIRECTIONS[0])
    several = isinstance(direction, ListConfig) and len(direction) != 1
    only = direction[0] if isinstance(direction, ListConfig) and not several else direction
    if several or getattr(only, "name", only) not in DIRECTIONS:
        yield f"hydra.sweeper.direction: expected {' or '.join(DIRECTIONS)}, got {direction!r}"


def interval_problems(overrides: Mapping[str, Override], is_search: bool) -> Iterator[str]:
    """Intervals that nothing draws from, or that hold nothing."""
    for key, override in overrides.items():
        value = override.value()
        if not isinstance(value, IntervalSweep):
            continue
        typed = str(override.input_line).partition("=")[2]
        low, high = float(value.start or 0), float(value.end or 0)
        if not is_search:
            yield f"{key}: expected values, as 1,2,3, or a search with +sweep=study, which draws them, got {typed!r}"
        elif not (math.isfinite(low) and math.isfinite(high) and low <= high):
            yield f"{key}: expected interval(LOW,HIGH) of finite numbers, LOW at most HIGH, got {typed!r}"
        elif "log" in value.tags and low <= 0:
            yield f"{key}: expected an interval above 0 with tag log, got {typed!r}"
