"""Registers the dataclasses as Hydra's schemas, and turns a composed config into the typed one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigNode
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from unlearn.config.clusters import Cluster, resolve_processes
from unlearn.config.interpolations import resolve
from unlearn.config.objective import check_objective
from unlearn.config.override_parser import PATHS
from unlearn.config.private_hooks import share_schemas
from unlearn.config.structured import make_mergeable
from unlearn.config.units import check_units
from unlearn.config.user_supplied import PYTHON, USER_GROUPS, UserSupplied, build_user_supplied, plugin_options
from unlearn.core.errors import ConfigError, Problem, first_line
from unlearn.core.plugins import find_option
from unlearn.core.recipe import Recipe
from unlearn.core.validation import problems as validate
from unlearn.data.datasets.base import Dataset
from unlearn.data.request_streams.base import Requests
from unlearn.data.requests.base import Forget
from unlearn.data.trained_on import Origin
from unlearn.metrics.evidence import Metric
from unlearn.models.base import Model
from unlearn.pipeline.checks import check_config
from unlearn.pipeline.config import Baseline, Paths, RunConfig
from unlearn.pipeline.empty_net import set_thread_count
from unlearn.pipeline.history import add_history, find_history
from unlearn.pipeline.metric_checks import check_metrics
from unlearn.spd_gan.options import SpdGan
from unlearn.strategies.base import Strategy
from unlearn.strategies.blend import Blend
from unlearn.strategies.retain_set import Retain
from unlearn.strategies.selection import Selection
from unlearn.tracking.base import Logger
from unlearn.training.trainer import TrainerSettings

# For each group, the package that defines its options and their base class.
GROUPS: dict[str, tuple[str, type]] = {
    "": ("unlearn.pipeline.config", RunConfig),
    "dataset": ("unlearn.data.datasets", Dataset),
    "forget": ("unlearn.data.requests", Forget),
    "requests": ("unlearn.data.request_streams", Requests),
    "model": ("unlearn.models", Model),
    "checkpoint": ("unlearn.data.trained_on", Origin),
    "train": ("unlearn.core", Recipe),
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
VARIABLES = {"paths.store": "UNLEARN_STORE", "paths.data": "UNLEARN_DATA"}  # which conf/paths reads
MEASURES = ("metrics", "attacks")
PACKAGE = Path(__file__).resolve().parents[1]
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"  # in a wheel; in the repository


class LazySchemas(dict[str, Any]):
    """The schemas of a group by file name, as Hydra's store holds them, each made on first access.

    To import and make all of them takes longer than to compose a config that uses some.
    """

    def __init__(self, group: str, package: str, base: type) -> None:
        super().__init__()
        self.group, self.package, self.base = group, package, base

    def __missing__(self, file: str) -> ConfigNode:
        name = file.removesuffix(".yaml")
        group = self.group.removeprefix("schema/")
        is_user_supplied = name == PYTHON and group in USER_GROUPS
        kind = UserSupplied if is_user_supplied else find_option(self.package, self.base, name)
        if kind is None:
            raise KeyError(file)
        schema = make_mergeable(OmegaConf.structured(kind))
        self[file] = node = ConfigNode(file, schema, self.group, package=None, provider=None)
        return node

    def __contains__(self, file: object) -> bool:
        try:
            return self[str(file)] is not None
        except KeyError:
            return False


class PluginOptions(dict[str, Any]):
    """The options of a group that installed packages add, by file name, as Hydra's store holds them.

    Hydra asks for one only if `conf/` has no such file.
    """

    def __init__(self, group: str) -> None:
        super().__init__()
        self.group = group

    def __missing__(self, file: str) -> ConfigNode:
        name = file.removesuffix(".yaml")
        kind = plugin_options(self.group).get(name) if name != file else None
        if kind is None:
            raise KeyError(file)
        settings = make_mergeable(OmegaConf.structured(kind))
        node = settings if self.group == "strategy" else OmegaConf.create({name: settings})
        self[file] = config = ConfigNode(file, node, self.group, package=None, provider=None)
        return config

    def __contains__(self, file: object) -> bool:
        try:
            return self[str(file)] is not None
        except KeyError:
            return False


def part_of(epochs: int, fraction: float) -> int:
    """Resolve `${part_of:${train.epochs},0.15}`.

    Returns:
        That fraction of the epochs, rounded down, but at least 1 if `epochs` is not 0.
    """
    return min(epochs, max(1, int(epochs * fraction + 1e-9)))  # 100 * 0.29 is 28.999...


def register() -> None:
    """Register the resolvers, and every option's schema as `schema/<group>/<option>`, where `conf/` looks for it."""
    OmegaConf.register_new_resolver("part_of", part_of, replace=True)
    OmegaConf.register_new_resolver("scaled", lambda value, factor: value * factor, replace=True)
    OmegaConf.register_new_resolver("processes", resolve_processes, replace=True)
    names = {group: f"schema/{group}".rstrip("/") for group in GROUPS}
    schemas: dict[str, dict[str, Any]] = {group: PluginOptions(group) for group in USER_GROUPS}
    for group, (package, base) in GROUPS.items():
        schemas[names[group]] = LazySchemas(names[group], package, base)
    share_schemas(schemas)


def instantiate(composed: DictConfig) -> RunConfig:
    """Build the typed, frozen config of one run, and check everything that can be known before the run.

    Args:
        composed: The composed config, without the key `hydra`.

    Raises:
        ConfigError: With every problem.
    """
    return instantiate_resolved(resolve(composed))


def instantiate_resolved(resolved: DictConfig) -> RunConfig:
    """Build the typed config as `instantiate` does, from a config without interpolations.

    Args:
        resolved: The result of `resolve`; metrics and attacks that are switched off are removed from it.

    Raises:
        ConfigError: With every problem.
    """
    problems: list[Problem | str] = [*_check_measures(resolved), *_check_paths(resolved)]
    if problems:
        raise ConfigError(problems)
    missing = sorted(OmegaConf.missing_keys(resolved))
    problems = [f"{key}: expected a value, got none" for key in missing]
    if any("." not in key for key in missing):  # a whole group is missing, and the other checks need it
        raise ConfigError(problems)
    try:
        config = _to_object(resolved, missing)
    except OmegaConfBaseException as error:
        raise ConfigError([*problems, first_line(error)]) from error
    config, user_problems = build_user_supplied(config)
    if user_problems:  # the other checks need the objects
        raise ConfigError([*problems, *user_problems])
    lineage = find_history(config)
    config = add_history(config, lineage)  # before the checks, which read what it fills in
    problems += [*validate(config), *check_units(config), *check_metrics(config), *check_objective(config)]
    if not problems:  # combinations of values mean something only if each value does
        problems += check_config(config, lineage)
    if problems:
        raise ConfigError(problems)
    config = set_thread_count(config)
    return replace(config, forget=config.forget.resolved(config.dataset))


def _to_object(resolved: DictConfig, missing: list[str]) -> RunConfig:
    """Convert to dataclasses; missing values become empty strings, so that the other problems are found as well."""
    _remove_disabled(resolved)
    for key in missing:
        OmegaConf.update(resolved, key, "")
    config = OmegaConf.to_object(resolved)
    assert isinstance(config, RunConfig)
    return config


def _check_paths(composed: DictConfig) -> Iterator[Problem]:
    """Yield blank paths: files that belong into such a folder would land in the current one."""
    for key in PATHS:
        value = OmegaConf.select(composed, key, throw_on_missing=False)
        if isinstance(value, str) and (not value.strip() or "\0" in value):
            variable = VARIABLES.get(key, "")
            hint = f" (the variable {variable} is set, and blank)" if os.environ.get(variable, "x") == value else ""
            yield Problem(key, f"a path{hint}", value)


def _check_measures(composed: DictConfig) -> Iterator[Problem]:
    """Yield metrics and attacks whose value is neither their settings nor null or false."""
    for group in MEASURES:
        for name, value in composed[group].items_ex(resolve=False):
            node = None if OmegaConf.is_missing(composed[group], name) else composed[group][name]
            has_settings = isinstance(node, DictConfig) and _is_metric(OmegaConf.get_type(node))
            if not has_settings and not _is_disabled(value):
                yield Problem(f"{group}.{name}", "null or false, which switch it off, or its settings", value)


def _is_metric(kind: type | None) -> bool:
    return kind is not None and issubclass(kind, Metric | UserSupplied)


def _is_disabled(value: object) -> bool:
    return value is None or value is False


def _remove_disabled(composed: DictConfig) -> None:
    """Delete the metrics and attacks that are switched off, as with `metrics.loss=null`."""
    with open_dict(composed):
        for group in MEASURES:
            for name in [name for name, value in composed[group].items() if _is_disabled(value)]:
                del composed[group][name]


def to_plain_dict(composed: DictConfig) -> dict[str, Any]:
    """Return the resolved config as JSON types for the report, without metrics and attacks that are switched off."""
    plain: Any = OmegaConf.to_container(composed, resolve=True)
    enabled = {
        group: {name: settings for name, settings in plain[group].items() if not _is_disabled(settings)}
        for group in MEASURES
    }
    return dict(plain | enabled)


def chosen_options() -> dict[str, str]:
    """Return the chosen option of each of our groups. Works inside a running job only."""
    choices = HydraConfig.get().runtime.choices
    return {str(group): str(name) for group, name in choices.items() if not str(group).startswith("hydra/")}


def run_group() -> str | None:
    """Return a name that a running job shares with the other jobs of its experiment.

    Returns:
        The options `experiment` and `sweep`; without them, the folder of the multirun; None for a single run.
    """
    hydra, choices = HydraConfig.get(), chosen_options()
    names = [choices[group] for group in ("experiment", "sweep") if group in choices]
    if names or hydra.mode != RunMode.MULTIRUN:
        return " ".join(names) or None
    folder = Path(hydra.sweep.dir)
    return folder.name if folder.is_absolute() else str(folder)
