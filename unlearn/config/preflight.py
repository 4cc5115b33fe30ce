"""Refuse a bad command line before anything runs, every cell of a grid included."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import get_overrides_dirname
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, flag_override, open_dict
from omegaconf.errors import OmegaConfBaseException

from unlearn.clusters import check_installed, lacking
from unlearn.config.command_line import CommandLine
from unlearn.config.grid import Axis, Cell, Grid
from unlearn.config.overriding import apply, keys, lines, values
from unlearn.config.schema import CONF, GROUPS, instantiate
from unlearn.errors import ConfigError, Problem, first_line, nearest
from unlearn.pipeline import plan
from unlearn.run_config import BASELINE, RunConfig, check_here

COMPOSING = (HydraException, OmegaConfBaseException, TypeError, ValueError)  # the last two: an option that is a number
# What Hydra says of an option of a group that the chosen parent does not have, asked for with and without a plus.
ABSENT = re.compile(r"Could not override '(\w+/[\w/]+)'|In 'schema/(\w+/\w+)/\w+': ConfigKeyError")
MISSING = re.compile(r"Could not find '(hydra/\w+)/(\w+)'")
EXTRAS = {"optuna": "optuna", "joblib": "joblib", "submitit_slurm": "slurm", "ray": "ray"}  # by plugin


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
    if command.config_dir is not None and not Path(command.config_dir).is_dir():
        raise ConfigError([Problem("--config-dir", "a folder", command.config_dir)])
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
        configs, first_cell = list[RunConfig](), dict[str, str]()
        for number, cell in enumerate(grid.cells):
            where = f"cell {number} ({' '.join(cell)}): " if len(grid.cells) > 1 else ""
            try:
                composed, config = self._config(cell)
                configs.append(config)
                for problem in check_here(config) if config.cluster.runs_here else ():
                    first_cell.setdefault(str(problem), where)
            except ConfigError as error:
                for problem in error.problems:
                    first_cell.setdefault(problem, where)
        if grid.trials and any(config.objective is None for config in configs):
            told = Problem("objective", "the number of the report to search by, as selection/average_gap", None)
            first_cell.setdefault(str(told), "")
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
        if drawn := sorted(o.get_key_element() for o in parsed if getattr(o.value(), "shuffle", False)):
            raise ConfigError(
                [f"{', '.join(drawn)}: expected an order that repeats, got shuffle(…): Hydra draws another"]
            )
        params = hydra.sweeper.get("params") or {} if multirun and hydra else {}
        by_key = {o.get_key_element(): o for o in self._parse([f"{key}={value}" for key, value in params.items()])}
        by_key.update((o.get_key_element(), o) for o in parsed)
        trials = hydra.sweeper.get("n_trials") if multirun and hydra else None
        return Grid(tuple(Axis(key, tuple(values(o))) for key, o in by_key.items()), multirun, trials)

    def _hydra(self, fixed: list[str]) -> DictConfig:
        """Hydra's own settings, under the options that all cells have."""
        try:
            found: DictConfig = self._compose(self._chosen(self._parse(fixed))).hydra
        except COMPOSING:
            return OmegaConf.create()  # its problems are told cell by cell
        return found

    def _parse(self, overrides: list[str]) -> list[Override]:
        try:
            found: list[Override] = OverridesParser.create(config_loader=self.loader).parse_overrides(overrides)
        except HydraException as error:
            raise ConfigError([first_line(error)]) from error
        nameless = [f"override: expected key=value, got {o.input_line!r}" for o in found if not o.key_or_group]
        if nameless:
            raise ConfigError(nameless)
        return found

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
        if found:
            raise ConfigError(found)
        return _with_hydra(composed, hydra), config

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
            raise ConfigError([*found, _told(error)]) from error
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

    def _compose(self, chosen: tuple[str, ...]) -> DictConfig:
        if chosen not in self.composed:
            self.composed[chosen] = compose("config", [*self.search, *chosen], return_hydra_config=True)
        return copy.deepcopy(self.composed[chosen])

    def _find_options(self, group: str) -> list[str]:
        return sorted({path.stem for folder in self.folders for path in (folder / group).glob("*.yaml")})

    def _groups(self) -> list[str]:
        return [path.name for folder in self.folders for path in folder.iterdir() if path.is_dir()]

    def _chosen(self, parsed: list[Override]) -> tuple[str, ...]:
        """What picks an option of a group, or speaks to Hydra itself, rather than setting one of our values."""
        return tuple(
            str(o.input_line)
            for o in parsed
            if o.is_hydra_override() or any((folder / o.key_or_group).is_dir() for folder in self.folders)
        )

    def _unknown(self, override: Override) -> Iterator[str]:
        group, taken = override.key_or_group, override.value()
        if override.is_delete() or group.startswith("hydra"):
            return
        known = self._options(group)
        for name in taken if isinstance(taken, list) else [taken]:
            if name is not None and not self._has(group, str(name)):
                yield str(Problem(group, f"one of {', '.join(known)}" + nearest(str(name), known), name))
            elif group == "cluster":
                yield from check_installed(str(name))

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


def _told(error: Exception) -> str:
    """A composition's error in one line; a plugin of Hydra's that is not there is told by our extra."""
    absent = ABSENT.search(str(error))
    if absent is not None:
        option = absent[1] or absent[2]
        parent, _, part = option.partition("/")
        return f"{option}: expected a {parent} that has a {part} (see {parent}=NAME --cfg job), got one without"
    missing = MISSING.search(str(error))
    if missing is None or missing[2] not in EXTRAS:
        return " ".join(str(error).split())
    return lacking(missing[1], EXTRAS[missing[2]], missing[2])
