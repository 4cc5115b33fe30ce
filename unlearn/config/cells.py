"""The configs of a command line, outside of any job."""

from __future__ import annotations

from pathlib import Path

from hydra import compose, initialize_config_dir

from unlearn.config.preflight import CommandLine, preflight
from unlearn.config.schema import CONF, instantiate
from unlearn.run_config import RunConfig


def cells(command: CommandLine) -> list[RunConfig]:
    """The config of every cell that `unlearn` would run, after the same checks.

    Raises:
        ConfigError: with all problems of all cells.
    """
    _, grid = preflight(command)
    folder = command.config_dir
    search = [f"hydra.searchpath=[file://{Path(folder).resolve()}]"] if folder else []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return [instantiate(compose("config", [*search, *cell])) for cell in grid.cells]
