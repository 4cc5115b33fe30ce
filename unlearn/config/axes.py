"""Builds the axes of a grid from its overrides, and refuses axes that are empty, infinite or too long."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from hydra.core.override_parser.types import Glob, IntervalSweep, Override, RangeSweep
from omegaconf import DictConfig

from unlearn.config.grid import Axis
from unlearn.config.overriding import cell_values
from unlearn.config.search import check_intervals, check_search
from unlearn.core.errors import ConfigError

MAX_CELLS = 10_000  # each cell is checked before the first one runs, which takes hundredths of a second per cell


def build_axes(overrides: Mapping[str, Override], sweeper: DictConfig | None) -> tuple[Axis, ...]:
    """Build one axis for each override. The values of a range are counted before they are made.

    Args:
        overrides: Overrides by their key, in the order of the axes.
        sweeper: The settings of the sweeper if it is a search, else None.

    Returns:
        The axes, in the order of `overrides`.

    Raises:
        ConfigError: An override has no value, infinitely many values, or values in an order that does not repeat; the
            grid has too many cells; or a setting of the search is invalid. All such problems are listed.
    """
    problems = [problem for key, override in overrides.items() for problem in _check_override(key, override)]
    problems += check_intervals(overrides, sweeper is not None)
    problems += check_search(sweeper) if sweeper is not None else ()
    if problems:
        raise ConfigError(problems)
    counts = {key: _count_values(override) for key, override in overrides.items()}
    cells = math.prod(counts.values())
    if cells > MAX_CELLS:
        factors = " × ".join(f"{count:,} of {key}" for key, count in counts.items() if count > 1)
        raise ConfigError([f"-m: expected at most {MAX_CELLS:,} cells, got {cells:,} ({factors})"])
    return tuple(Axis(key, tuple(cell_values(override))) for key, override in overrides.items())


def _check_override(key: str, override: Override) -> Iterator[str]:
    value, typed = override.value(), str(override.input_line).partition("=")[2]
    if getattr(value, "shuffle", False):
        yield f"{key}: expected an order that repeats, got shuffle(…): Hydra draws a new one each time"
    elif isinstance(value, RangeSweep) and not _is_finite(value):
        yield f"{key}: expected a range with finite ends and a step other than 0, got {typed!r}"
    elif override.is_sweep_override() and not isinstance(value, IntervalSweep) and _count_values(override) == 0:
        yield f"{key}: expected at least one value, got {typed!r}, which has none{_suggest_options(override)}"


def _is_finite(value: RangeSweep) -> bool:
    numbers = (value.start, value.stop, value.step)
    return bool(value.step) and all(math.isfinite(float(number or 0)) for number in numbers)


def _count_values(override: Override) -> int:
    """Count the cells along an axis, without making the values of a range."""
    value: Any = override.value()
    if isinstance(value, RangeSweep):
        return max(0, math.ceil((float(value.stop or 0) - float(value.start or 0)) / float(value.step)))
    return len(cell_values(override))


def _suggest_options(override: Override) -> str:
    """Name the options that a pattern without matches may have meant."""
    pattern = override.value()
    if not isinstance(pattern, Glob) or override.config_loader is None:
        return ""
    options: Sequence[str] = override.config_loader.get_group_options(override.key_or_group)
    names = (name.strip("*") for name in pattern.include)
    close = [match for name in names for match in get_close_matches(name, options, n=1, cutoff=0.5)]
    if close:
        return f" (nearest: {', '.join(close)})"
    return f": the options are {', '.join(options)}" if options else ""
