"""Evaluates one override: its value in each cell, and its problems."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException

from unlearn.config.override_parser import PATHS
from unlearn.config.schema import GROUPS
from unlearn.config.structured import ARGUMENTS, field_type
from unlearn.config.suggestions import suggest_key
from unlearn.core.errors import first_line


def cell_values(override: Override) -> list[str]:
    """Return the value of the override in each cell; for an interval, from which a search draws, both ends."""
    value = override.value()
    if isinstance(value, IntervalSweep):
        return [str(value.start), str(value.end)]
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    return list(override.sweep_string_iterator())


def cell_overrides(override: Override) -> Iterator[str]:
    """Yield the override of each cell, `key=value`."""
    return (f"{override.get_key_element()}={value}" for value in cell_values(override))


def apply_override(
    override: Override, composed: DictConfig, known: Sequence[str], group_names: Callable[[], Sequence[str]]
) -> Iterator[str]:
    """Set one value in a composed config as Hydra does, and yield what is wrong with the override.

    Args:
        override: An override with one value.
        composed: The config to change.
        known: The dotted keys of the config.
        group_names: Returns the names of all groups; called only to suggest a name.
    """
    key = override.key_or_group
    takes_any_name = f".{ARGUMENTS}." in key
    if key not in known and not takes_any_name:
        suggestion = suggest_key(key, known, group_names(), GROUPS)
        yield f"{key}: expected a key of the config{suggestion}, got {override.input_line!r}"
    elif override.is_delete():
        if not _delete(composed, key):
            yield f"{key}: expected a value, which cannot be left out, got '~{key}'"
    else:
        try:
            OmegaConf.update(composed, key, override.value(), force_add=takes_any_name)
        except OmegaConfBaseException as error:
            got = override.get_value_element_as_str()
            yield f"{key}: expected {_type_name(composed, key)}, got {got!r}: {first_line(error)}"


def describe_unreadable(error: OSError, composed: DictConfig) -> str:
    """Return one line about a file that cannot be read, with the key whose value leads to it."""
    path = str(error.filename or "")
    keys = [key for key in PATHS if (value := OmegaConf.select(composed, key)) and str(value) in path]
    return f"{keys[-1] if keys else 'file'}: expected what can be read, got {path!r}: {error.strerror or error}"


def check_hydra_settings(overrides: Sequence[Override], composed: DictConfig) -> Iterator[str]:
    """Yield overrides of Hydra's own settings that refer to a missing value.

    Args:
        overrides: The overrides of a cell.
        composed: The config of the cell, with the key `hydra`.
    """
    for override in overrides:
        # `${hydra:...}` can be resolved only inside a job
        if override.is_hydra_override() and "${hydra:" not in str(override.input_line):
            try:
                OmegaConf.select(composed, override.key_or_group)
            except InterpolationToMissingValueError as error:
                if not override.key_or_group.startswith("hydra.sweep."):  # may use the number of a cell, set later
                    yield f"{override.key_or_group}: expected a reference that can be resolved, got {first_line(error)}"
            except OmegaConfBaseException as error:
                yield f"{override.key_or_group}: expected a reference that can be resolved, got {first_line(error)}"


def _delete(composed: DictConfig, key: str) -> bool:
    """Delete a key as Hydra does; returns False for a field of a schema, which cannot be deleted."""
    parent, _, name = key.rpartition(".")
    if not parent:
        return False
    try:
        with open_dict(composed):
            del OmegaConf.select(composed, parent)[name]
    except (OmegaConfBaseException, KeyError):
        return False
    return True


def _type_name(composed: DictConfig, key: str) -> str:
    parent, _, name = key.rpartition(".")
    node: Any = OmegaConf.select(composed, parent) if parent else composed
    kind = field_type(node, name)
    return getattr(kind, "__name__", str(kind))
