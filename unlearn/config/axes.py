"""The values that overrides have in the cells of a grid, counted before any of them is made."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from hydra.core.override_parser.types import Glob, IntervalSweep, Override, RangeSweep
from omegaconf import DictConfig

from unlearn.config.grid import Axis
from unlearn.config.overriding import values
from unlearn.config.search import interval_problems, search_problems
from unlearn.core.errors import ConfigError

LARGEST = 10_000  # cells of a grid: each is checked before the first one runs, in hundredths of a second


def axes(overrides: Mapping[str, Override], sweeper: DictConfig | None) -> tuple[Axis, ...]:
    """One axis for each override by its key; `sweeper` are the settings of a search, if it is one.

    Raises:
        ConfigError: naming every override that has no value, values without end or in no order that repeats, and the
            number of cells of a grid that is too large; settings that a search does not take.
    """
    wrong = [problem for key, override in overrides.items() for problem in _problems(key, override)]
    wrong += interval_problems(overrides, sweeper is not None)
    wrong += search_problems(sweeper) if sweeper is not None else ()
    if wrong:
        raise ConfigError(wrong)
    counts = {key: _count(override) for key, override in overrides.items()}
    cells = math.prod(counts.values())
    if cells > LARGEST:
        several = " × ".join(f"{count:,} of {key}" for key, count in counts.items() if count > 1)
        raise ConfigError([f"-m: expected at most {LARGEST:,} cells, got {cells:,} ({several})"])
    return tuple(Axis(key, tuple(values(override))) for key, override in overrides.items())


def _problems(key: str, override: Override) -> Iterator[str]:
    value, typed = override.value(), str(override.input_line).partition("=")[2]
    if getattr(value, "shuffle", False):
        yield f"{key}: expected an order that repeats, got shuffle(…): Hydra draws another"
    elif isinstance(value, RangeSweep) and not _ends(value):
        yield f"{key}: expected a range with finite ends and a step other than 0, got {typed!r}"
    elif override.is_sweep_override() and not isinstance(value, IntervalSweep) and _count(override) == 0:
        yield f"{key}: expected at least one value, got {typed!r}, which has none{_almost(override)}"


def _ends(value: RangeSweep) -> bool:
    return bool(value.step) and all(math.isfinite(float(each or 0)) for each in (value.start, value.stop, value.step))


def _count(override: Override) -> int:
    """Cells along it: of a range without making it."""
    value: Any = override.value()
    if isinstance(value, RangeSweep):
        return max(0, math.ceil((float(value.stop or 0) - float(value.start or 0)) / float(value.step)))
    return len(values(override))


def _almost(override: Override) -> str:
    """The option that a pattern without matches may have meant."""
    pattern = override.value()
    if not isinstance(pattern, Glob) or override.config_loader is None:
        return ""
    known: Sequence[str] = override.config_loader.get_group_options(override.key_or_group)
    asked = (each.strip("*") for each in pattern.include)
    close = [match for each in asked for match in get_close_matches(each, known, n=1, cutoff=0.5)]
    return f" (nearest: {', '.join(close)})" if close else f": the options are {', '.join(known)}" if known else ""
