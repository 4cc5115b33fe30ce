"""The settings that separate comparison groups, and those that separate rows within a group."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from unlearn.report.attacks import GRADER
from unlearn.report.sweep.read import Cell

Settings = dict[str, Any]  # values by dotted key

# Settings that do not change results, and seeds. The numerics of the trainer are an exception.
RUNTIME = {
    "paths",
    "logger",
    "trainer",
    "cluster",
    "report",
    "rebuild_damaged",
    "until",
    "requests",  # none in every report of a run
    "objective",
    "seed",
    "seeds",
    "baseline",
}
NUMERICS = {"trainer.precision", "trainer.tf32", "trainer.channels_last", "trainer.deterministic", "trainer.devices"}
NUMERICS_IF_SET = {"trainer.callbacks"}  # older reports lack them
IGNORED = {"dataset.download", "dataset.memory_limit", "dataset.workers", "spd_gan.fresh"}
OPTION_GROUPS = {
    "dataset",
    "forget",
    "model",
    "checkpoint",
    "spd_gan",
    "attacks",
    "strategy",
    "strategy.selection",
    "blend",
    "retain",
}  # the name of the selected option is a setting
DIGITS = 8  # a float with more characters was drawn by a search, and is rounded for display
DEFAULTS = {"blend": "none", "retain": "full"}  # of groups that separate rows; older reports lack these groups
ROW_GROUPS = {"strategy", *DEFAULTS}
METRICS = {"metrics"}  # which metrics were measured does not change the comparison


def group_settings(cell: Cell) -> Settings:
    """Return the settings that two runs must share to be comparable, and the number of retrained models."""
    retrained = {"retrained models": len(cell.report["seeds"].get("baseline", []))}
    return {key: value for key, value in cell.leaves.items() if _separates_groups(key, cell)} | retrained


def row_settings(cell: Cell) -> Settings:
    """Return the settings of the strategy, of its selection, and of the groups that separate rows like it."""
    settings = {key: value for key, value in cell.leaves.items() if key.startswith("strategy.")}
    settings |= DEFAULTS | {key: value for key, value in cell.leaves.items() if key.partition(".")[0] in DEFAULTS}
    return {key: value for key, value in settings.items() if key in OPTION_GROUPS or not _is_option_name(key, cell)}


def _separates_groups(key: str, cell: Cell) -> bool:
    top = key.partition(".")[0]
    if top == "attacks" and key != top and not key.startswith(f"attacks.{GRADER}."):
        return False  # for the same reason as METRICS
    if key in NUMERICS_IF_SET:
        return bool(cell.leaves[key])
    if key in NUMERICS or (key in OPTION_GROUPS and top not in ROW_GROUPS):
        return True
    is_download = key == "dataset.root" and "dataset.download" in cell.leaves  # downloads are equal in every folder
    return not (_is_option_name(key, cell) or is_download or key in IGNORED or top in RUNTIME | METRICS | ROW_GROUPS)


def _is_option_name(key: str, cell: Cell) -> bool:
    """Whether the setting is the name of an option; the settings below it contain the option's fields."""
    return key.replace(".", "/") in cell.report["choices"]


def find_distinguishing(settings: Settings, groups: Sequence[Settings]) -> Settings:
    """Return the settings of one group that differ from other groups.

    Fields of an option are compared only with groups that use the same option.
    """

    def differs(key: str) -> bool:
        option = key.partition(".")[0]
        comparable = [other for other in groups if option == key or other.get(option) == settings.get(option)]
        return len({as_text(other.get(key)) for other in comparable}) > 1

    return {key: value for key, value in settings.items() if differs(key)}


def find_varied(cells: Sequence[Cell]) -> set[str]:
    """Return the keys in which runs of one strategy differ.

    Rows of other strategies show these keys too, since a search may have tried only one value there.
    """
    by_strategy: dict[str, list[Settings]] = defaultdict(list)
    for cell in cells:
        by_strategy[cell.strategy].append(row_settings(cell))
    return {key for settings in by_strategy.values() for key in distinct_names(settings) if _varies(key, settings)}


def _varies(key: str, settings: Sequence[Settings]) -> bool:
    """Whether a setting differs; a field of an option, whether it differs between runs with the same option."""
    option = key.partition(".")[0]
    values = {(None if option == key else as_text(row.get(option)), as_text(row.get(key))) for row in settings}
    return len(values) > len({value for value, _ in values})


def shorten_keys(cell: Cell, keys: set[str]) -> Settings:
    """Return the row settings of a run under `keys`, each by its last part if that is unambiguous."""
    settings = row_settings(cell)
    varied = [key for key in settings if key in keys]
    last_parts = [key.rpartition(".")[2] for key in varied]
    names = [
        last if last_parts.count(last) == 1 else key.removeprefix("strategy.")
        for last, key in zip(last_parts, varied, strict=True)
    ]
    return {name: settings[key] for name, key in zip(names, varied, strict=True)}


def format_value(value: Any) -> str:
    """Format a setting as on the command line; a number that was drawn has four digits."""
    if isinstance(value, float) and len(repr(value)) > DIGITS:
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def distinct_names(mappings: Iterable[Settings]) -> list[str]:
    """Return the keys of all mappings, each once, in order."""
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))


def as_text(value: Any) -> str:
    """Return a text that is equal for equal values; lists and dicts cannot be in a set."""
    return json.dumps(value, sort_keys=True)
