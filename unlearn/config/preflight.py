"""Checks every cell of a command line before anything runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from unlearn.config.axes import build_axes
from unlearn.config.cell_composer import CellComposer
from unlearn.config.command_line import CommandLine
from unlearn.config.folders import check_distinct_folders, check_job_name, resolve_cell_folder
from unlearn.config.grid import Cell, Grid
from unlearn.config.option_folders import TOP_GROUPS
from unlearn.config.overriding import cell_overrides, check_hydra_settings, describe_unreadable
from unlearn.config.own_options import refuse_misread, refuse_primary
from unlearn.config.schema import CONF, instantiate
from unlearn.core.errors import ConfigError, Problem
from unlearn.pipeline.checks import check_machine
from unlearn.pipeline.config import BASELINE, RunConfig
from unlearn.pipeline.plan import make_plan


@dataclass(frozen=True)
class CheckedCommand:
    """A command line that has passed all checks."""

    full_grid: Grid
    grid: Grid  # the cells to run: all, but only one for each set of shared stages with `until=baseline`
    configs: list[RunConfig]  # of each cell of the full grid
    composed: DictConfig  # of the last cell, as Hydra composes it
    compose: Callable[[Sequence[str]], DictConfig | None]  # composes any cell from the overrides of its launch


def preflight(command: CommandLine) -> CheckedCommand:
    """Check every cell of a command line before the first one starts.

    Raises:
        ConfigError: With all problems of all cells, each named by the first cell that has it.
    """
    if command.config_dir is not None:
        _check_config_dir(command.config_dir)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composer = CellComposer(GlobalHydra.instance().config_loader(), command.config_dir)
        full_grid = build_grid(command, composer)
        configs, composed = CellChecks(composer, full_grid).run()
    grid = full_grid
    if all(config.until == BASELINE for config in configs):
        grid = full_grid.narrow(
            [frozenset(stage.key for stage in make_plan(config).shared_stages) for config in configs]
        )
    compose = partial(composer.recompose, full_grid.cells_by_launch_overrides)
    return CheckedCommand(full_grid, grid, configs, composed, compose)


def cell_configs(command: CommandLine) -> list[RunConfig]:
    """Return the config of every cell that `unlearn` would run, after the same checks.

    Raises:
        ConfigError: With all problems of all cells.
    """
    checked = preflight(command)
    by_cell = dict(zip(checked.full_grid.cells, checked.configs, strict=True))
    return [by_cell[cell] for cell in checked.grid.cells]


def _check_config_dir(config_dir: str) -> None:
    if not os.path.isdir(config_dir):  # noqa: PTH112  # Path's raises for some names
        raise ConfigError([Problem("--config-dir", "a folder", config_dir)])
    refuse_primary(Path(config_dir), CONF)
    refuse_misread(Path(config_dir), TOP_GROUPS)


def build_grid(command: CommandLine, composer: CellComposer) -> Grid:
    """Build the product of the grid on the command line and the grid of a `sweep` option, in the order of Hydra.

    Raises:
        ConfigError: Lists every override that cannot be parsed, or whose values are no axis.
    """
    overrides = composer.parse(command.overrides)
    fixed = [line for override in overrides if not override.is_sweep_override() for line in cell_overrides(override)]
    hydra = composer.hydra_settings(fixed)
    multirun = command.multirun or str(hydra.get("mode")).endswith("MULTIRUN")
    swept = sorted(override.get_key_element() for override in overrides if override.is_sweep_override())
    if swept and not multirun:
        raise ConfigError([f"{', '.join(swept)}: expected one value, got several; a grid needs -m"])
    params = hydra.sweeper.get("params") or {} if multirun and hydra else {}
    by_key = {o.get_key_element(): o for o in composer.parse([f"{key}={value}" for key, value in params.items()])}
    by_key.update((override.get_key_element(), override) for override in overrides)
    is_search = multirun and hydra and hydra.sweeper.get("n_trials") is not None
    sweeper = hydra.sweeper if is_search else None
    return Grid(build_axes(by_key, sweeper), multirun, sweeper and sweeper.n_trials)


class CellChecks:
    """Checks every cell of a grid and collects the problems, each with the first cell that has it."""

    def __init__(self, composer: CellComposer, grid: Grid) -> None:
        self.composer = composer
        self.grid = grid
        self._problems: dict[str, str] = {}  # the cell by the problem
        self._folders: dict[int, str] = {}  # by the number of the cell

    def run(self) -> tuple[list[RunConfig], DictConfig]:
        """Check all cells.

        Returns:
            The config of each cell, and the config of the last cell as Hydra composes it.

        Raises:
            ConfigError: With all problems.
        """
        configs, composed = list[RunConfig](), OmegaConf.create()
        for number, cell in enumerate(self.grid.cells):
            label = f"cell {number} ({' '.join(cell)}): " if len(self.grid.cells) > 1 else ""
            try:
                composed, config = self._check_cell(cell)
                configs.append(config)
                if self.grid.multirun and (folder := resolve_cell_folder(composed, number)) is not None:
                    self._folders[number] = folder
                for problem in check_machine(config) if config.cluster.runs_here else ():
                    self._problems.setdefault(str(problem), label)
            except ConfigError as error:
                for line in error.problems:
                    self._problems.setdefault(line, label)
        if self.grid.trials:
            self._check_search(configs, composed)
        self._problems |= dict.fromkeys(check_distinct_folders(self._folders), "")
        if self._problems:
            raise ConfigError([label + problem for problem, label in self._problems.items()])
        return configs, composed

    def _check_cell(self, cell: Cell) -> tuple[DictConfig, RunConfig]:
        """Return the config of a cell, as Hydra composes it and as a typed config.

        Raises:
            ConfigError: With all problems of the cell.
        """
        parts = self.composer.compose(cell)
        try:
            config = instantiate(parts.config)
        except ConfigError as error:
            raise ConfigError([*parts.problems, *error.problems]) from error
        except OSError as error:
            raise ConfigError([*parts.problems, describe_unreadable(error, parts.config)]) from error
        composed = parts.with_hydra()
        hydra_problems = check_hydra_settings(parts.overrides, composed)
        if problems := [*parts.problems, *hydra_problems, *check_job_name(composed)]:
            raise ConfigError(problems)
        return composed, config

    def _check_search(self, configs: Sequence[RunConfig], composed: DictConfig) -> None:
        """Check the objective. The cells to come are unknown; as few as possible stand for them in the folder check."""
        if any(config.objective is None for config in configs):
            problem = Problem("objective", "the number of the report to search by, as selection/average_gap", None)
            self._problems.setdefault(str(problem), "")
        if len(self.grid.cells) == 1 and self._folders:
            self._folders[1] = resolve_cell_folder(composed, 1) or ""
        trials = self.grid.trials or 0
        self._folders = {number: folder for number, folder in self._folders.items() if number < trials}
