"""Composes and checks the config of one run for the library, outside of a Hydra job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

from hydra.core.global_hydra import GlobalHydra
from omegaconf import open_dict

from unlearn.config.command_line import CommandLine
from unlearn.config.environment_checks import check_surroundings
from unlearn.config.path_arguments import quote_paths
from unlearn.config.preflight import preflight
from unlearn.config.schema import register, to_plain_dict
from unlearn.core.errors import ConfigError
from unlearn.pipeline.config import RunConfig

_register_once = cache(register)


class OneRun(NamedTuple):
    """A checked run: its config, the same as plain JSON, and the chosen option of each group."""

    config: RunConfig
    plain: dict[str, Any]
    choices: dict[str, str]


def compose_run(arguments: Sequence[str]) -> OneRun:
    """Compose one run from the arguments of the command `unlearn`, after the same checks.

    Raises:
        ConfigError: With all problems, or if the arguments describe more than one run.
    """
    _register_once()
    command = CommandLine.parse(quote_paths(arguments))
    if command.multirun:
        raise ConfigError(["overrides: expected one run, got a grid; use the command unlearn -m"])
    with _without_other_hydra():
        checked = preflight(command)
    if checked.grid.multirun:
        raise ConfigError(["overrides: expected one run, got a grid; use the command unlearn -m"])
    check_surroundings(checked.configs)
    composed = checked.composed
    choices = composed.hydra.runtime.choices
    with open_dict(composed):
        del composed["hydra"]
    names = {str(group): str(name) for group, name in choices.items() if not str(group).startswith("hydra/")}
    return OneRun(checked.configs[0], to_plain_dict(composed), names)


@contextmanager
def _without_other_hydra() -> Iterator[None]:
    """Set aside the state of a Hydra application that calls the library: Hydra allows one at a time."""
    instance = GlobalHydra.instance()
    other = instance.hydra
    instance.clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = other
