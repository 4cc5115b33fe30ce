"""Schemas for Hydra, and the typed config that comes out of it."""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigNode, ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import MISSING, BooleanNode, Container, DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from unlearn.config.clusters import Cluster, processes
from unlearn.config.interpolations import unresolved
from unlearn.config.objective import objective_problems
from unlearn.config.units import Boolean, unit_problems
from unlearn.config.words import PATHS
from unlearn.core.errors import ConfigError, Problem, first_line
from unlearn.core.plugins import option
from unlearn.core.recipe import Recipe
from unlearn.core.validation import problems
from unlearn.data.datasets.base import Dataset
from unlearn.data.requests.base import Forget
from unlearn.data.trained_on import Origin
from unlearn.metrics.evidence import Metric
from unlearn.models.base import Model
from unlearn.pipeline import config as run_config
from unlearn.pipeline.config import Baseline, Paths, RunConfig
from unlearn.spd_gan.options import SpdGan
from unlearn.strategies.base import Strategy
from unlearn.strategies.blend import Blend
from unlearn.strategies.retain_set import Retain
from unlearn.strategies.selection import Selection
from unlearn.tracking.base import Logger
from unlearn.training.trainer import TrainerSettings

# Where the options of a group are found, and what they derive from.
GROUPS: dict[str, tuple[str, type]] = {
    "": ("unlearn.pipeline.config", RunConfig),
    "dataset": ("unlearn.data.datasets", Dataset),
    "forget": ("unlearn.data.requests", Forget),
    "model": ("unlearn.models", Model),
    "checkpoint": ("unlearn.data.trained_on", Origin),
    "train": ("unlearn.core.recipe", Recipe),
    "baseline": ("unlearn.pipeline.config", Baseline),
    "strategy": ("unlearn.strategies", Strategy),
    "strategy/selection": ("unlearn.strategies.selection", Selection),
    "strategy/recipe": ("unlearn.core.recipe", Recipe),
    "retain": ("unlearn.strategies.retain_set", Retain),
    "blend": ("unlearn.strategies.blend", Blend),
    "spd_gan": ("unlearn.spd_gan", SpdGan),
    "metrics": ("unlearn.metrics", Metric),
    "attacks": ("unlearn.attacks", Metric),
    "trainer": ("unlearn.training.trainer", TrainerSettings),
    "logger": ("unlearn.tracking", Logger),
    "paths": ("unlearn.pipeline.config", Paths),
    "cluster": ("unlearn.config.clusters", Cluster),
}
VARIABLES = {"paths.store": "UNLEARN_STORE", "paths.data": "UNLEARN_DATA"}  # that conf/paths reads
MEASURES = ("metrics", "attacks")
ARGUMENTS = "arguments"  # of a function of the user's own: any names may be set in it
PACKAGE = Path(__file__).resolve().parents[1]
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"  # in a wheel; in the repository


class Schemas(dict[str, Any]):
    """Options of a group by file name, as Hydra's store holds them, each made when it is first asked for: to import
    and make all of them takes longer than to compose a config of some."""

    def __init__(self, group: str, package: str, base: type) -> None:
        super().__init__()
        self.group, self.package, self.base = group, package, base

    def __missing__(self, file: str) -> ConfigNode:
        kind = option(self.package, self.base, file.removesuffix(".yaml"))
        if kind is None:
            raise KeyError(file)
        made = ConfigNode(file, _open(OmegaConf.structured(kind)), self.group, package=None, provider=None)
        self[file] = made
        return made

    def __contains__(self, file: object) -> bool:
        try:
            return self[str(file)] is not None
        except KeyError:
            return False


def part_of(epochs: int, fraction: float) -> int:
    """`${part_of:${train.epochs},0.15}`: so many whole epochs, at least one of a training that has any."""
    return min(epochs, max(1, int(epochs * fraction + 1e-9)))  # 100 * 0.29 is 28.999...


def register() -> None:
    """Put every option's schema where `conf/` looks for it, `schema/<group>/<option>`, and name the resolvers."""
    OmegaConf.register_new_resolver("part_of", part_of, replace=True)
    OmegaConf.register_new_resolver("scaled", lambda value, factor: value * factor, replace=True)
    OmegaConf.register_new_resolver("processes", processes, replace=True)
    store = ConfigStore.instance()
    # Hydra copies its sources, and with them all of the store, for each of its caches: half of what composing takes.
    # What is loaded from the store is a copy already.
    store.__deepcopy__ = lambda memo: store  # type: ignore[attr-defined]
    for group, (package, base) in GROUPS.items():  # a group stands before those within it
        *above, last = path = ["schema", *group.split("/")] if group else ["schema"]
        reduce(getitem, above, store.repo)[last] = Schemas("/".join(path), package, base)


def _open(node: Any) -> Any:
    """Without the read-only flags that frozen dataclasses bring: Hydra must merge into them, and into `ARGUMENTS` anew.

    A field of an abstract type is left to its own config group: another option could not replace a default here.
    """
    if not isinstance(node, DictConfig):
        return node
    OmegaConf.set_readonly(node, None)
    for name in node:
        child = node._get_node(name)
        if isinstance(child, BooleanNode):
            content: Any = node._content
            content[name] = Boolean.of(child)
        if not isinstance(child, Container):
            continue
        OmegaConf.set_readonly(child, None)
        if name == ARGUMENTS:
            OmegaConf.set_struct(child, False)
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
    found: list[Problem | str] = [*unresolved(composed)] or [*_no_settings(composed), *_blank(composed)]
    if found:
        raise ConfigError(found)
    missing = sorted(OmegaConf.missing_keys(composed))
    found = [f"{key}: expected a value, got none" for key in missing]
    if any("." not in key for key in missing):  # a whole group, which the other checks ask
        raise ConfigError(found)
    try:
        filled = copy.deepcopy(composed)
        _leave_out(filled)
        for key in missing:  # so that the other problems are told as well
            OmegaConf.update(filled, key, "")
        config = OmegaConf.to_object(filled)
    except OmegaConfBaseException as error:
        raise ConfigError([*found, first_line(error)]) from error
    assert isinstance(config, RunConfig)
    found += problems(config)
    found += unit_problems(config)
    found += run_config.check_metrics(config)
    found += objective_problems(config)
    if not found:  # other combinations mean something only once each value does
        found += run_config.check(config)
    if found:
        raise ConfigError(found)
    config = run_config.settled(config)
    return replace(config, forget=config.forget.resolved(config.dataset))


def _blank(composed: DictConfig) -> Iterator[Problem]:
    """Paths without a name: what should lie in a folder would lie in the current one."""
    for key in PATHS:
        value = OmegaConf.select(composed, key, throw_on_missing=False)
        if isinstance(value, str) and (not value.strip() or "\0" in value):
            variable = VARIABLES.get(key, "")
            hint = f" (the variable {variable} is set, and blank)" if os.environ.get(variable, "x") == value else ""
            yield Problem(key, f"a path{hint}", value)


def _no_settings(composed: DictConfig) -> Iterator[Problem]:
    """Metrics and attacks that are set to something else than their settings or nothing."""
    for group in MEASURES:
        for name, value in composed[group].items_ex(resolve=False):
            node = None if OmegaConf.is_missing(composed[group], name) else composed[group][name]
            mine = isinstance(node, DictConfig) and _is_metric(OmegaConf.get_type(node))
            if not mine and not _is_off(value):
                yield Problem(f"{group}.{name}", "null or false, which switch it off, or settings of its own", value)


def _is_metric(kind: type | None) -> bool:
    return kind is not None and issubclass(kind, Metric)


def _is_off(value: object) -> bool:
    return value is None or value is False


def _leave_out(composed: DictConfig) -> None:
    """Without the metrics and attacks that are switched off: `metrics.loss=null`."""
    with open_dict(composed):
        for group in MEASURES:
            for name in [name for name, value in composed[group].items() if _is_off(value)]:
                del composed[group][name]


def plain(composed: DictConfig) -> dict[str, Any]:
    """The resolved config as JSON takes it, for the report; without what is switched off."""
    left = copy.deepcopy(composed)
    _leave_out(left)
    resolved: Any = OmegaConf.to_container(left, resolve=True)
    return dict(resolved)


def choices() -> dict[str, str]:
    """The option taken in each of our groups, inside a running job."""
    taken = HydraConfig.get().runtime.choices
    return {str(group): str(name) for group, name in taken.items() if not str(group).startswith("hydra/")}


def group() -> str | None:
    """What a running job shares with others of its question: experiment and sweep, else the multirun's folder."""
    hydra, taken = HydraConfig.get(), choices()
    named = [taken[each] for each in ("experiment", "sweep") if each in taken]
    if named or hydra.mode != RunMode.MULTIRUN:
        return " ".join(named) or None
    folder = Path(hydra.sweep.dir)
    return folder.name if folder.is_absolute() else str(folder)
