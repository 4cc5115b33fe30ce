"""One override: the values it has in cells, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException

from unlearn.config.near import hint
from unlearn.config.schema import ARGUMENTS, GROUPS
from unlearn.config.words import PATHS
from unlearn.core.errors import first_line


def values(override: Override) -> list[str]:
    """The override's value in each cell; of an interval, which a search draws from, its ends."""
    value = override.value()
    if isinstance(value, IntervalSweep):
        return [str(value.start), str(value.end)]
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    return list(override.sweep_string_iterator())


def lines(override: Override) -> Iterator[str]:
    """It, for each cell."""
    return (f"{override.get_key_element()}={value}" for value in values(override))


def apply(
    override: Override, composed: DictConfig, known: Sequence[str], groups: Callable[[], Sequence[str]]
) -> Iterator[str]:
    """Set one value as Hydra will, and say what is wrong with it; `known` are the config's keys."""
    key = override.key_or_group
    free = key.rpartition(".")[0].endswith(f".{ARGUMENTS}")
    if key not in known and not free:
        yield f"{key}: expected a key of the config{hint(key, known, groups(), GROUPS)}, got {override.input_line!r}"
    elif override.is_delete():
        if not _delete(composed, key):
            yield f"{key}: expected a value, which cannot be left out, got '~{key}'"
    else:
        try:
            OmegaConf.update(composed, key, override.value(), force_add=free)
        except OmegaConfBaseException as error:
            got = override.get_value_element_as_str()
            yield f"{key}: expected {_type_of(composed, key)}, got {got!r}: {first_line(error)}"


def unreadable(error: OSError, composed: DictConfig) -> str:
    """Which key led to a file or folder that cannot be read, and why not."""
    place = str(error.filename or "")
    led = [key for key in PATHS if (value := OmegaConf.select(composed, key)) and str(value) in place]
    return f"{led[-1] if led else 'file'}: expected what can be read, got {place!r}: {error.strerror or error}"


def unresolved_of_hydra(overrides: Sequence[Override], whole: DictConfig) -> Iterator[str]:
    """Settings of Hydra's own that refer to nothing; its `hydra:` is known when it runs."""
    for override in overrides:
        if override.is_hydra_override() and "${hydra:" not in str(override.input_line):
            try:
                OmegaConf.select(whole, override.key_or_group)
            except InterpolationToMissingValueError as error:
                if not override.key_or_group.startswith("hydra.sweep."):  # where a cell's number is known in time
                    yield f"{override.key_or_group}: expected a value that is there, got {first_line(error)}"
            except OmegaConfBaseException as error:
                yield f"{override.key_or_group}: expected a value that is there, got {first_line(error)}"


def _delete(composed: DictConfig, key: str) -> bool:
    """Leave a key out as Hydra will, and tell whether that can be: fields of a schema stay."""
    parent, _, name = key.rpartition(".")
    if not parent:
        return False
    try:
        with open_dict(composed):
            del OmegaConf.select(composed, parent)[name]
    except (OmegaConfBaseException, KeyError):
        return False
    return True


def _type_of(composed: DictConfig, key: str) -> str:
    parent, _, name = key.rpartition(".")
    node: Any = OmegaConf.select(composed, parent) if parent else composed
    kind = node._get_node(name)._metadata.ref_type
    return getattr(kind, "__name__", str(kind))
