"""Composes the config of each cell of a grid."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra import compose
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, flag_override, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from unlearn.config.composition_errors import describe_composition_error
from unlearn.config.grid import Cell
from unlearn.config.option_folders import OptionFolders
from unlearn.config.override_parser import parse_overrides
from unlearn.config.overriding import apply_override
from unlearn.config.suggestions import dotted_keys
from unlearn.core.errors import ConfigError

# What composing may raise. TypeError and ValueError: an option whose name is a number. Second line: a user's files.
COMPOSING: tuple[type[Exception], ...] = (
    *(HydraException, OmegaConfBaseException, TypeError, ValueError),
    *(OSError, AttributeError, KeyError, AssertionError, RecursionError, YAMLError),
)


@dataclass
class ComposedCell:
    """The config of a cell, in two parts, with its overrides and what is wrong with them."""

    overrides: list[Override]
    config: DictConfig  # without the key `hydra`
    hydra: DictConfig  # Hydra's own settings
    problems: list[str]

    def with_hydra(self) -> DictConfig:
        """Return the config with the key `hydra`, as Hydra composes it."""
        with open_dict(self.config):
            self.config.hydra = self.hydra
        return self.config


class CellComposer:
    """Lets Hydra compose once for each combination of options, and sets the values of each cell itself.

    So every cell can be checked before the first one runs. Hydra alone composes a cell when its turn comes, stops at
    the first bad one, and does not name it.
    """

    def __init__(self, loader: ConfigLoader, config_dir: str | None) -> None:
        self.loader = loader
        self.folders = OptionFolders(Path(config_dir) if config_dir else None)
        self._searchpath = [f"hydra.searchpath=[file://{folder}]" for folder in self.folders.users]
        self._by_options: dict[tuple[str, ...], DictConfig] = {}
        self._keys: dict[tuple[str, ...], list[str]] = {}

    def parse(self, words: Sequence[str]) -> list[Override]:
        """Parse overrides.

        Raises:
            ConfigError: Lists every word that is not an override.
        """
        return parse_overrides(words, self.loader)

    def hydra_settings(self, overrides: Sequence[str]) -> DictConfig:
        """Return Hydra's own settings under these overrides; an empty config if they do not compose."""
        try:
            settings: DictConfig = self._compose(self._choices(self.parse(overrides))).hydra
        except COMPOSING:
            return OmegaConf.create()  # the checks of the cells report it
        return settings

    def compose(self, cell: Cell) -> ComposedCell:
        """Compose the config of a cell. Overrides that are wrong are left out and listed.

        Raises:
            ConfigError: The options of the cell do not compose; with all problems found until then.
        """
        overrides = self.parse(cell)
        choices = self._choices(overrides)
        wrong = {
            line: problems
            for override in overrides
            if (line := str(override.input_line)) in choices and (problems := [*self.folders.check_choice(override)])
        }
        problems = [problem for line in wrong.values() for problem in line]
        valid = tuple(line for line in choices if line not in wrong)
        try:
            composed = self._compose(valid)
        except COMPOSING as error:
            reasons = self.folders.describe_user_files() or [describe_composition_error(error)]
            raise ConfigError([*problems, *reasons]) from error
        hydra = _take_hydra(composed, overrides)
        if valid not in self._keys:
            self._keys[valid] = list(dotted_keys(composed))
        for override in overrides:
            if str(override.input_line) not in choices:
                problems += apply_override(override, composed, self._keys[valid], self.folders.group_names)
        return ComposedCell(overrides, composed, hydra, problems)

    def recompose(self, cells: Mapping[Cell, Cell], overrides: Sequence[str]) -> DictConfig | None:
        """Compose a cell that has passed the checks once more.

        Args:
            cells: The cells by the overrides with which they are launched.
            overrides: The overrides with which a cell is launched.

        Returns:
            The config as Hydra composes it, or None if no cell has these overrides.
        """
        cell = cells.get(tuple(overrides))
        return None if cell is None else self.compose(cell).with_hydra()

    def _compose(self, choices: tuple[str, ...]) -> DictConfig:
        if choices not in self._by_options:
            overrides = [*self._searchpath, *choices]
            self._by_options[choices] = compose("config", overrides, return_hydra_config=True)
        return copy.deepcopy(self._by_options[choices])

    def _choices(self, overrides: Sequence[Override]) -> tuple[str, ...]:
        """Return the overrides that choose an option or set something of Hydra's, which Hydra must compose."""
        return tuple(
            str(override.input_line)
            for override in overrides
            if override.is_hydra_override() or self.folders.is_group(override.key_or_group)
        )


def _take_hydra(composed: DictConfig, overrides: Sequence[Override]) -> DictConfig:
    """Remove Hydra's own settings from a config, and set in them what depends on the overrides of the cell."""
    with flag_override(composed, ["struct", "readonly"], False):
        hydra: DictConfig = composed.pop("hydra")
    task = [override for override in overrides if not override.is_hydra_override()]
    hydra.overrides.task = [str(override.input_line) for override in task]
    hydra.job.override_dirname = _override_dirname(task, **hydra.job.config.override_dirname)
    return hydra


def _override_dirname(overrides: Sequence[Override], kv_sep: str, item_sep: str, exclude_keys: Sequence[str]) -> str:
    """Return what `${hydra.job.override_dirname}` stands for, as Hydra's documentation defines it."""
    lines = [str(override.input_line) for override in overrides if override.key_or_group not in exclude_keys]
    return item_sep.join(sorted(lines)).replace("=", kv_sep)
