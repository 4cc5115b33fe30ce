"""Refuse a bad command line before anything runs, every cell of a grid included."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import get_overrides_dirname
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, flag_override, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from unlearn.config.axes import axes
from unlearn.config.clusters import check_installed
from unlearn.config.command_line import CommandLine
from unlearn.config.composing import in_words
from unlearn.config.folders import cell_folder, job_problems, shared
from unlearn.config.grid import Cell, Grid
from unlearn.config.near import keys
from unlearn.config.overriding import apply, lines, unreadable, unresolved_of_hydra
from unlearn.config.own_options import ACROSS, explained, refuse_misread, refuse_primary
from unlearn.config.schema import CONF, GROUPS, instantiate
from unlearn.config.words import parse
from unlearn.core.errors import ConfigError, Problem, nearest
from unlearn.pipeline.config import BASELINE, RunConfig, check_here
from unlearn.pipeline.plan import plan

# The two after Hydra's own: an option that is a number. The rest: files of a user's.
COMPOSING: tuple[type[Exception], ...] = (
    *(HydraException, OmegaConfBaseException, TypeError, ValueError),
    *(OSError, AttributeError, KeyError, AssertionError, RecursionError, YAMLError),
)
TOP = sorted(path.name for path in CONF.iterdir() if path.is_dir())  # groups


class Checked(NamedTuple):
    """A command line in which nothing is wrong."""

    whole: Grid
    part: Grid  # of it, to run: all of it, but with `until=baseline` cells that share all their stages are one
    configs: list[RunConfig]  # of each cell of the whole
    composed: DictConfig  # the last cell's, as Hydra composes it
    compose: Callable[[Sequence[str]], DictConfig | None]  # the same of any cell, by its overrides; None: of no cell


def preflight(command: CommandLine) -> Checked:
    """Check every cell of a command line before the first one starts.

    Raises:
        ConfigError: with all problems of all cells, each named by the first cell that has it.
    """
    if command.config_dir is not None:
        if not os.path.isdir(command.config_dir):  # noqa: PTH112  # Path's raises for some names
            raise ConfigError([Problem("--config-dir", "a folder", command.config_dir)])
        refuse_primary(Path(command.config_dir), CONF)
        refuse_misread(Path(command.config_dir), TOP)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        checks = _Preflight(command, GlobalHydra.instance().config_loader())
        grid, configs, composed = checks.checked()
    part = grid
    if all(config.until == BASELINE for config in configs):
        marks = [frozenset(stage.key for stage in plan(config).shared) for config in configs]
        part = grid.narrowed(marks)
    return Checked(grid, part, configs, composed, partial(checks.again, grid.launched))


def cells(command: CommandLine) -> list[RunConfig]:
    """The config of every cell that `unlearn` would run, after the same checks.

    Raises:
        ConfigError: with all problems of all cells.
    """
    found = preflight(command)
    by_cell = dict(zip(found.whole.cells, found.configs, strict=True))
    return [by_cell[cell] for cell in found.part.cells]


class _Preflight:
    """Composes once per combination of options, then merges values cell by cell: Hydra alone stops at the first
    bad cell of a grid, when it gets there, and does not name it."""

    def __init__(self, command: CommandLine, loader: ConfigLoader) -> None:
        self.command = command
        self.loader = loader
        own = [Path(command.config_dir).resolve()] if command.config_dir else []
        self.folders = [CONF, *own]  # read here: Hydra copies its whole list of sources to answer what they hold
        self.search = [f"hydra.searchpath=[file://{folder}]" for folder in own]
        self.composed: dict[tuple[str, ...], DictConfig] = {}
        self.keys: dict[tuple[str, ...], list[str]] = {}
        self._options = cache(self._find_options)

    def checked(self) -> tuple[Grid, list[RunConfig], DictConfig]:
        """The cells, their configs, and the last one as Hydra composes it; a problem is told once, with the first cell
        that has it."""
        grid, composed = self._axes(), OmegaConf.create()
        configs, first_cell, folders = list[RunConfig](), dict[str, str](), dict[int, str]()
        for number, cell in enumerate(grid.cells):
            where = f"cell {number} ({' '.join(cell)}): " if len(grid.cells) > 1 else ""
            try:
                composed, config = self._config(cell)
                configs.append(config)
                if grid.multirun and (folder := cell_folder(composed, number)) is not None:
                    folders[number] = folder
                for problem in check_here(config) if config.cluster.runs_here else ():
                    first_cell.setdefault(str(problem), where)
            except ConfigError as error:
                for problem in error.problems:
                    first_cell.setdefault(problem, where)
        if grid.trials and any(config.objective is None for config in configs):
            told = Problem("objective", "the number of the report to search by, as selection/average_gap", None)
            first_cell.setdefault(str(told), "")
        if grid.trials:  # what these will draw is not known: as few cells as there are stand for them
            if len(grid.cells) == 1 and folders:
                folders[1] = cell_folder(composed, 1) or ""
            folders = {number: folder for number, folder in folders.items() if number < grid.trials}
        first_cell |= dict.fromkeys(shared(folders), "")
        if first_cell:
            raise ConfigError([where + problem for problem, where in first_cell.items()])
        return grid, configs, composed

    def _axes(self) -> Grid:
        """The grid on the command line times the one that a `sweep` option holds, in the order of Hydra's sweeper."""
        parsed = self._parse(self.command.overrides)
        hydra = self._hydra([line for o in parsed if not o.is_sweep_override() for line in lines(o)])
        multirun = self.command.multirun or str(hydra.get("mode")).endswith("MULTIRUN")
        swept = sorted(o.get_key_element() for o in parsed if o.is_sweep_override())
        if swept and not multirun:
            raise ConfigError([f"{', '.join(swept)}: expected one value, got several; a grid needs -m"])
        params = hydra.sweeper.get("params") or {} if multirun and hydra else {}
        by_key = {o.get_key_element(): o for o in self._parse([f"{key}={value}" for key, value in params.items()])}
        by_key.update((o.get_key_element(), o) for o in parsed)
        sweeper = hydra.sweeper if multirun and hydra and hydra.sweeper.get("n_trials") is not None else None
        return Grid(axes(by_key, sweeper), multirun, sweeper and sweeper.n_trials)

    def _hydra(self, fixed: list[str]) -> DictConfig:
        """Hydra's own settings, under the options that all cells have."""
        try:
            found: DictConfig = self._compose(self._chosen(self._parse(fixed))).hydra
        except COMPOSING:
            return OmegaConf.create()  # its problems are told cell by cell
        return found

    def _parse(self, overrides: list[str]) -> list[Override]:
        return parse(overrides, self.loader)

    def _config(self, cell: Cell) -> tuple[DictConfig, RunConfig]:
        """What a cell is told, as Hydra composes it and as we read it.

        Raises:
            ConfigError: with all its problems.
        """
        composed, hydra, found = self._merged(cell)
        try:
            config = instantiate(composed)
        except ConfigError as error:
            raise ConfigError([*found, *error.problems]) from error
        except OSError as error:
            raise ConfigError([*found, unreadable(error, composed)]) from error
        whole = _with_hydra(composed, hydra)
        found += unresolved_of_hydra(self._parse(list(cell)), whole)
        found += job_problems(whole)
        if found:
            raise ConfigError(found)
        return whole, config

    def again(self, cells: Mapping[Cell, Cell], overrides: Sequence[str]) -> DictConfig | None:
        """A cell as Hydra composes it, by the overrides that it is launched with; None if it is not one of `cells`,
        which have passed."""
        cell = cells.get(tuple(overrides))
        return None if cell is None else _with_hydra(*self._merged(cell)[:2])

    def _merged(self, cell: Cell) -> tuple[DictConfig, DictConfig, list[str]]:
        """A cell's config, Hydra's own settings for it, and what is wrong with its overrides."""
        parsed = self._parse(list(cell))
        chosen = self._chosen(parsed)
        wrong = {
            line: told for o in parsed if (line := str(o.input_line)) in chosen and (told := list(self._unknown(o)))
        }
        found = list(chain.from_iterable(wrong.values()))
        right = tuple(line for line in chosen if line not in wrong)
        try:
            composed = self._compose(right)
        except COMPOSING as error:
            raise ConfigError([*found, *self._why(error)]) from error
        hydra = _without_hydra(composed)
        mine = [o for o in parsed if not o.is_hydra_override()]
        hydra.overrides.task = [str(o.input_line) for o in mine]
        if right not in self.keys:
            self.keys[right] = list(keys(composed))
        hydra.job.override_dirname = get_overrides_dirname(mine, **hydra.job.config.override_dirname)
        for override in parsed:
            if str(override.input_line) not in chosen:
                found += apply(override, composed, self.keys[right], self._groups)
        return composed, hydra, found

    def _why(self, error: Exception) -> list[str]:
        """What is wrong with a user's files, where that is why a composition failed; else what Hydra says."""
        faults = [fault for folder in self.folders[1:] for fault in explained(folder, TOP)]
        return faults or [in_words(error)]

    def _compose(self, chosen: tuple[str, ...]) -> DictConfig:
        if chosen not in self.composed:
            self.composed[chosen] = compose("config", [*self.search, *chosen], return_hydra_config=True)
        return copy.deepcopy(self.composed[chosen])

    def _find_options(self, group: str) -> list[str]:
        return sorted({path.stem for folder in self.folders for path in (folder / group).glob("*.yaml")})

    def _renamed(self, group: str, name: str) -> str:
        """A file that was meant, and that Hydra passes over."""
        file = f"{name.removesuffix('.yml')}.yml"
        there = any((folder / group / file).exists() for folder in self.folders[1:])
        return f", which {file} would be, were it named {file[:-4]}.yaml" if there else ""

    def _groups(self) -> list[str]:
        return [path.name for folder in self.folders for path in folder.iterdir() if path.is_dir()]

    def _chosen(self, parsed: list[Override]) -> tuple[str, ...]:
        """What picks an option of a group, or speaks to Hydra itself, rather than setting one of our values."""
        return tuple(
            str(o.input_line)
            for o in parsed
            if o.is_hydra_override() or any(os.path.isdir(folder / o.key_or_group) for folder in self.folders)  # noqa: PTH112
        )

    def _unknown(self, override: Override) -> Iterator[str]:
        group, taken = override.key_or_group, override.value()
        if override.is_delete() or group.startswith("hydra"):
            return
        names: list[Any] = taken if isinstance(taken, list) else [taken]
        if not all(isinstance(name, str) for name in names):
            off = " (nearest: off)" if taken is False and self._has(group, "off") else ""
            yield str(Problem(group, f"one of {', '.join(self._options(group))}{off}", taken))
            return
        if group in ACROSS and not (override.is_add() or override.is_force_add()):
            yield f"{group}: expected +{group}=NAME, which no run has by itself, got {override.input_line!r}"
            return
        for name in names:
            if not self._has(group, name):
                known = self._options(group)
                renamed = self._renamed(group, name) or nearest(name, known)
                yield str(Problem(group, f"one of {', '.join(known)}{renamed}", name))
            elif group == "cluster":
                yield from check_installed(name)

    def _has(self, group: str, name: str) -> bool:
        """Whether that is an option of the group, or of a folder in it; folders with a schema are groups themselves."""
        folder, _, option = name.rpartition("/")
        inner = f"{group}/{folder}".rstrip("/")
        return option in self._options(inner) and not (folder and inner in GROUPS)


def _without_hydra(composed: DictConfig) -> DictConfig:
    """Take Hydra's own settings out."""
    with flag_override(composed, ["struct", "readonly"], False):
        found: DictConfig = composed.pop("hydra")
    return found


def _with_hydra(composed: DictConfig, hydra: DictConfig) -> DictConfig:
    """Put them back."""
    with open_dict(composed):
        composed.hydra = hydra
    return composed
