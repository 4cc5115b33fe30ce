"""User-supplied strategies, metrics and attacks: classes outside this package, named `package.module:name`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unlearn.attacks.base import Attack
from unlearn.config.structured import ARGUMENTS, field_type, make_mergeable
from unlearn.core.errors import ConfigError, Problem, first_line, nearest
from unlearn.core.plugins import find_option, find_options, find_plugins
from unlearn.core.user_code import argument_problems, error_location, load_function
from unlearn.core.validation import problems as validate
from unlearn.metrics.evidence import Metric
from unlearn.pipeline.config import RunConfig
from unlearn.stages.keys import canonicalize
from unlearn.strategies.base import Strategy
from unlearn.strategies.selection import Selection

PYTHON = "python"  # the option of a group that names a user-supplied class
USER_GROUPS: dict[str, type] = {"strategy": Strategy, "metrics": Metric, "attacks": Attack}
SELECTIONS = "unlearn.strategies.selection"


def plugin_options(group: str) -> dict[str, type]:
    """Find the options that installed packages add to a group; none for a group that cannot be extended."""
    options = find_plugins(USER_GROUPS[group]) if group in USER_GROUPS else {}
    return {name: kind for name, kind in options.items() if group != "metrics" or not issubclass(kind, Attack)}


@dataclass(frozen=True)
class UserSupplied:
    """`factory(**arguments)` is the option: a class that derives from the group's base, or a function.

    The module is installed or in the current directory. The class is a frozen dataclass, and its fields are its
    settings: `arguments` is checked against them, as the settings of a built-in option are. A key holds the fields and
    a hash of the source of the class's module and of the local modules that it imports.
    """

    factory: str = ""  # package.module:name, installed or in the current directory
    arguments: dict[str, Any] = field(default_factory=dict)


def build_user_supplied(config: RunConfig) -> tuple[RunConfig, list[Problem | str]]:
    """Replace each `UserSupplied` of a config by the object that its factory makes.

    Returns:
        The config, and all problems; what could not be made stays as it is.
    """
    problems: list[Problem | str] = []
    strategy = _build(config.strategy, "strategy", Strategy, problems)
    metrics = {name: _build(metric, f"metrics.{name}", Metric, problems) for name, metric in config.metrics.items()}
    attacks = {name: _build(attack, f"attacks.{name}", Attack, problems) for name, attack in config.attacks.items()}
    return replace(config, strategy=strategy, metrics=metrics, attacks=attacks), problems


def _build(option: Any, key: str, base: type, problems: list[Problem | str]) -> Any:
    if not isinstance(option, UserSupplied):
        return option
    try:
        built = _call_factory(option, key, base)
        if new := [*_check_state(built, option, key), *validate(built, f"{key}.{ARGUMENTS}")]:
            raise ConfigError(new)
    except ConfigError as error:
        problems += error.problems
        return option
    return built


def _call_factory(option: UserSupplied, key: str, base: type) -> Any:
    """Make the object.

    Raises:
        ConfigError: there is no such factory, the arguments do not fit it, or it returns something else.
    """
    factory = load_function(option.factory, f"{key}.factory")
    if isinstance(factory, type):
        if expected := _describe_class(factory, base):
            raise ConfigError([Problem(f"{key}.factory", expected, option.factory)])
        return _build_dataclass(factory, option.arguments, f"{key}.{ARGUMENTS}")
    if wrong := [*argument_problems(option.arguments, f"{key}.{ARGUMENTS}")]:
        raise ConfigError(wrong)
    try:
        built = factory(**option.arguments)
    except Exception as error:  # a user's function may raise anything
        problem = Problem(f"{key}.factory", f"{_kinds_of(base)} ({error_location(error)})", option.factory)
        raise ConfigError([problem]) from error
    if not isinstance(built, base):
        expected = f"{_kinds_of(base)} (it returned {type(built).__name__})"
        raise ConfigError([Problem(f"{key}.factory", expected, option.factory)])
    return built


def _kinds_of(base: type) -> str:
    article = "an" if base.__name__[0] in "AEIOU" else "a"
    name = f"{article} {base.__name__}"
    return f"{name} class, or a function that returns {name}"


def _describe_class(kind: type, base: type) -> str:
    """Return what is expected of a class that cannot be used, or an empty string."""
    if not issubclass(kind, base):
        return _kinds_of(base)
    if inspect.isabstract(kind):
        missing = sorted(getattr(kind, "__abstractmethods__", ()))
        return f"a class that defines {', '.join(missing)}"
    is_dataclass = "__dataclass_params__" in vars(kind)
    return "" if is_dataclass or not vars(kind).get("__annotations__") else "a class under @dataclass(frozen=True)"


def _build_dataclass(kind: type, arguments: Mapping[str, Any], key: str) -> Any:
    """Make an object of a dataclass, with the types of its fields checked, and fields of nested dataclasses merged.

    Raises:
        ConfigError: an argument is not a field, has another type, or is missing.
    """
    names = [spec.name for spec in fields(kind)]
    if unknown := [name for name in arguments if name not in names]:
        expected = {name: f"a setting of {kind.__name__}{nearest(name, names)}" for name in unknown}
        raise ConfigError([Problem(f"{key}.{name}", expected[name], arguments[name]) for name in unknown])
    try:
        schema: Any = make_mergeable(OmegaConf.structured(kind), has_groups=False)
        for name, value in arguments.items():
            has_options = field_type(schema, name) is Selection
            settings = _choose_selection(schema, name, value, f"{key}.{name}") if has_options else value
            OmegaConf.update(schema, name, settings, merge=True)
        if missing := sorted(OmegaConf.missing_keys(schema)):
            raise ConfigError([f"{key}.{name}: expected a value, got none" for name in missing])
        return OmegaConf.to_object(schema)
    except OmegaConfBaseException as error:
        location = f"{key}.{error.full_key}" if error.full_key else key
        expected_setting = f"expected a valid setting of {kind.__name__}, got {first_line(error)}"
        raise ConfigError([f"{location}: {expected_setting}"]) from error


def _choose_selection(schema: DictConfig, field_name: str, value: Any, key: str) -> dict[str, Any]:
    """Set a field to the default settings of the selection that `value` names, as text or under `name`.

    Returns:
        The other settings of `value`.

    Raises:
        ConfigError: there is no selection of that name.
    """
    settings = {"name": value} if isinstance(value, str) else dict(value)
    if "name" in settings:
        name = str(settings.pop("name"))
        kind = find_option(SELECTIONS, Selection, name)
        if kind is None:
            names = find_options(SELECTIONS, Selection)
            raise ConfigError([Problem(key, f"one of {', '.join(names)}{nearest(name, names)}", name)])
        schema[field_name] = make_mergeable(OmegaConf.structured(kind), has_groups=False)
    return settings


def _check_state(built: Any, option: UserSupplied, key: str) -> Iterator[Problem]:
    """Report state that a key cannot hold: attributes that are not fields, and values without a canonical form."""
    if extra := sorted(vars(built).keys() - {spec.name for spec in fields(built)}):
        yield Problem(f"{key}.factory", f"a dataclass with {', '.join(extra)} among its fields", option.factory)
    try:
        canonicalize(built)
    except TypeError as error:
        yield Problem(f"{key}.factory", f"fields of plain values ({first_line(error)})", option.factory)
