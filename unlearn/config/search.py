"""Checks the settings of a search: its intervals, its number of trials and its direction."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override
from omegaconf import DictConfig, ListConfig

DIRECTIONS = ("minimize", "maximize")


def check_search(sweeper: DictConfig) -> Iterator[str]:
    """Yield settings that Optuna's sweeper would accept and then fail on."""
    for name in ("n_trials", "n_jobs"):
        value = sweeper.get(name, 1)
        if type(value) is not int or value < 1:
            yield f"hydra.sweeper.{name}: expected an integer >= 1, got {value!r}"
    direction: Any = sweeper.get("direction", DIRECTIONS[0])
    is_one = not isinstance(direction, ListConfig) or len(direction) == 1
    single = direction[0] if isinstance(direction, ListConfig) and is_one else direction
    if not is_one or getattr(single, "name", single) not in DIRECTIONS:
        yield f"hydra.sweeper.direction: expected {' or '.join(DIRECTIONS)}, got {direction!r}"


def check_intervals(overrides: Mapping[str, Override], is_search: bool) -> Iterator[str]:
    """Yield intervals that are empty, or that stand on the command line of a grid."""
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
