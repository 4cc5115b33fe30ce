"""Schemas for Hydra, and the check of a whole command line before anything runs. Only here and in cli.py is Hydra."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import MISSING, Container, DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from unlearn import pipeline
from unlearn.checks import problems
from unlearn.data.datasets.base import Dataset
from unlearn.data.forget import Forget
from unlearn.discovery import options
from unlearn.errors import ConfigError, Problem, nearest
from unlearn.models.base import Model
from unlearn.modules.trainer import TrainerSettings
from unlearn.pipeline import Baseline, Paths, RunConfig
from unlearn.recipe import Recipe
from unlearn.spd_gan.options import SpdGan
from unlearn.strategies.base import Strategy
from unlearn.strategies.selection import Selection
from unlearn.tracking import Logger
from unlearn.types import Metric

# Where the options of a group are found, and what they derive from.
GROUPS: dict[str, tuple[str, type]] = {
    "": ("unlearn.pipeline", RunConfig),
    "dataset": ("unlearn.data.datasets", Dataset),
    "forget": ("unlearn.data.forget", Forget),
    "model": ("unlearn.models", Model),
    "train": ("unlearn.recipe", Recipe),
    "baseline": ("unlearn.pipeline", Baseline),
    "strategy": ("unlearn.strategies", Strategy),
    "strategy/selection": ("unlearn.strategies.selection", Selection),
    "strategy/recipe": ("unlearn.recipe", Recipe),
    "spd_gan": ("unlearn.spd_gan.options", SpdGan),
    "metrics": ("unlearn.metrics", Metric),
    "attacks": ("unlearn.attacks", Metric),
    "trainer": ("unlearn.modules.trainer", TrainerSettings),
    "logger": ("unlearn.tracking", Logger),
    "paths": ("unlearn.pipeline", Paths),
}
PACKAGE = Path(__file__).resolve().parent
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"  # in a wheel; in the repository


def register() -> None:
    """Put every option's schema where `conf/` looks for it: `schema/<group>/<option>`."""
    store = ConfigStore.instance()
    for group, (package, base) in GROUPS.items():
        for name, kind in options(package, base).items():
            store.store(group=f"schema/{group}".rstrip("/"), name=name, node=_open(OmegaConf.structured(kind)))


def _open(node: Any) -> Any:
    """Without the read-only flags that frozen dataclasses bring: Hydra must merge into them.

    A field of an abstract type is left to its own config group: another option could not replace a default here.
    """
    if not isinstance(node, DictConfig):
        return node
    OmegaConf.set_readonly(node, None)
    for name in node:
        child = node._get_node(name)
        if not isinstance(child, Container):
            continue
        OmegaConf.set_readonly(child, None)
        if inspect.isabstract(child._metadata.ref_type):
            node[name] = MISSING
        else:
            _open(child)
    return node


def instantiate(composed: DictConfig) -> RunConfig:
    """The typed, frozen config of one run, checked for everything that can be known beforehand.

    Raises:
        ConfigError: with every problem found.
    """
    try:
        config = OmegaConf.to_object(composed)
    except MissingMandatoryValue as error:
        raise ConfigError([Problem(str(error.full_key), "a value", "none")]) from error
    except OmegaConfBaseException as error:
        raise ConfigError([_first_line(error)]) from error
    assert isinstance(config, RunConfig)
    found: list[Problem | str] = [*problems(config)]
    if not found:  # combinations mean something only once each value does
        found += pipeline.check(config)
    if found:
        raise ConfigError(found)
    return config


def plain(composed: DictConfig) -> dict[str, Any]:
    """The resolved config as JSON takes it, for the report."""
    resolved: Any = OmegaConf.to_container(composed, resolve=True)
    return dict(resolved)


@dataclass(frozen=True)
class CommandLine:
    """What Hydra will be given."""

    overrides: list[str]
    multirun: bool
    config_dir: str | None

    @classmethod
    def parse(cls, arguments: list[str]) -> CommandLine:
        """From the arguments, as Hydra's own parser reads them."""
        found = get_args_parser().parse_args(arguments)
        return cls(found.overrides, found.multirun, found.config_dir)


def preflight(command: CommandLine) -> None:
    """Check every cell of a command line before the first one starts.

    Raises:
        ConfigError: with all problems of all cells, each named by the first cell that has it.
    """
    with initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        search = [f"hydra.searchpath=[file://{Path(command.config_dir).resolve()}]"] if command.config_dir else []
        first_cell: dict[str, str] = {}
        bases: dict[tuple[str, ...], DictConfig] = {}
        cells = list(_cells(command, loader, search))
        for number, cell in enumerate(cells):
            where = f"cell {number} ({' '.join(cell)}): " if len(cells) > 1 else ""
            for problem in _cell_problems(cell, loader, search, bases):
                first_cell.setdefault(problem, where)
    if first_cell:
        raise ConfigError(where + problem for problem, where in first_cell.items())


def _cells(command: CommandLine, loader: ConfigLoader, search: list[str]) -> Iterator[list[str]]:
    """The overrides of every cell: the grid on the command line times the one that a `sweep` option holds."""
    parsed = _parse(command.overrides, loader)
    grid = {str(o.input_line): _values(o) for o in parsed}
    swept = {key for o in parsed if o.is_sweep_override() for key in [o.get_key_element()]}
    fixed = [str(o.input_line) for o in parsed if not o.is_sweep_override()]
    try:
        hydra = compose("config", [*search, *fixed], return_hydra_config=True).hydra
    except (HydraException, OmegaConfBaseException):
        hydra = None  # its problems are told cell by cell
    multirun = command.multirun or (hydra is not None and str(hydra.mode or "").endswith("MULTIRUN"))
    if not multirun:
        if swept:
            names = ", ".join(sorted(swept))
            raise ConfigError([f"{names}: expected one value, came several; a grid needs -m (--multirun)"])
        yield fixed
        return
    params = (hydra.sweeper.get("params") or {}) if hydra is not None else {}
    taken = {o.get_key_element() for o in parsed}
    added = _parse([f"{key}={value}" for key, value in params.items() if key not in taken], loader)
    grid |= {str(o.input_line): _values(o) for o in added}
    for combination in product(*grid.values()):
        yield list(combination)


def _parse(overrides: list[str], loader: ConfigLoader) -> list[Override]:
    try:
        return OverridesParser.create(config_loader=loader).parse_overrides(overrides)
    except HydraException as error:
        raise ConfigError([_first_line(error)]) from error


def _values(override: Override) -> list[str]:
    """The override as it stands in each cell."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]


def _cell_problems(
    cell: list[str], loader: ConfigLoader, search: list[str], bases: dict[tuple[str, ...], DictConfig]
) -> Iterator[str]:
    parsed = _parse(cell, loader)
    choices = [o for o in parsed if _is_choice(o, loader)]
    unknown = [problem for o in choices for problem in _unknown_option(o, loader)]
    if unknown:
        yield from unknown
        return
    key = tuple(o.input_line or "" for o in choices)
    try:
        if key not in bases:
            bases[key] = compose("config", [*search, *key])
        composed = copy.deepcopy(bases[key])
    except (HydraException, OmegaConfBaseException) as error:
        yield " ".join(str(error).split())
        return
    wrong = [problem for o in parsed if o not in choices for problem in _apply(o, composed, loader)]
    yield from wrong
    try:
        instantiate(composed)
    except ConfigError as error:
        yield from error.problems


def _is_choice(override: Override, loader: ConfigLoader) -> bool:
    """Whether it picks an option of a group, or speaks to Hydra itself, rather than setting one of our values."""
    key = override.key_or_group
    return key.startswith(("hydra.", "hydra/")) or bool(loader.list_groups(key) or loader.get_group_options(key))


def _unknown_option(override: Override, loader: ConfigLoader) -> Iterator[str]:
    group = override.key_or_group
    if override.is_delete() or group.startswith("hydra"):
        return
    known = loader.get_group_options(group)
    chosen = override.value()
    for name in chosen if isinstance(chosen, list) else [chosen]:
        if name is not None and str(name) not in known:
            yield str(Problem(group, f"one of {', '.join(known)}" + nearest(str(name), known), name))


def _apply(override: Override, composed: DictConfig, loader: ConfigLoader) -> Iterator[str]:
    """Set one value as Hydra will, and say what is wrong with it."""
    key = override.key_or_group
    if override.is_delete():
        return
    keys = list(_keys(composed))
    if key not in keys:
        known = [*keys, *loader.list_groups("")]
        yield f"{key}: expected a key of the config{nearest(key, known)}, came {override.input_line!r}"
        return
    try:
        OmegaConf.update(composed, key, override.value())
    except OmegaConfBaseException as error:
        came = override.get_value_element_as_str()
        yield f"{key}: expected {_type_of(composed, key)}, came {came!r}: {_first_line(error)}"


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    """All dotted keys."""
    for name in map(str, node) if isinstance(node, DictConfig) else ():
        key = prefix + name
        yield key
        if not OmegaConf.is_missing(node, name) and not OmegaConf.is_interpolation(node, name):
            yield from _keys(node[name], f"{key}.")


def _type_of(composed: DictConfig, key: str) -> str:
    parent, _, name = key.rpartition(".")
    node: Any = OmegaConf.select(composed, parent) if parent else composed
    kind = node._get_node(name)._metadata.ref_type
    return getattr(kind, "__name__", str(kind))


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
