"""The configs of a command line, outside of any job."""

from __future__ import annotations

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from unlearn.config.preflight import CommandLine, _Preflight, preflight
from unlearn.config.schema import CONF, instantiate
from unlearn.run_config import RunConfig


def cells(command: CommandLine) -> list[RunConfig]:
    """The config of every cell that `unlearn` would run, after the same checks.

    Raises:
        ConfigError: with all problems of all cells.
    """
    preflight(command)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        found = _Preflight(command, GlobalHydra.instance().config_loader())
        return [instantiate(compose("config", [*found.search, *cell])) for cell in found._cells()]
