"""Create a strategy from its name and settings, as Python values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from unlearn.core.errors import ConfigError, Problem, nearest
from unlearn.core.plugins import find_option, find_options
from unlearn.core.validation import problems
from unlearn.strategies.base import Strategy
from unlearn.strategies.selection import Selection

Option = TypeVar("Option")
NUMBERS = (int, float)


def make_strategy(strategy: str | Strategy, epochs: int | None, settings: Mapping[str, Any]) -> Strategy:
    """Create a strategy.

    Args:
        strategy: the name of a strategy, or a strategy whose fields are the defaults.
        epochs: short for `recipe={"epochs": epochs}`; None: the default of the strategy.
        settings: values of its fields. A mapping changes some fields of a nested group, such as `recipe`; the name of a
            selection is a value for `selection`.

    Raises:
        ConfigError: a name is unknown, or a value is not valid.
    """
    default = strategy if isinstance(strategy, Strategy) else make_option("strategy", "unlearn.strategies", strategy)
    if epochs is not None:
        if not hasattr(default, "recipe"):
            got = f"{epochs} with a strategy that trains nothing"
            raise ConfigError([f"epochs: expected None, got {got}"])
        settings = {**settings, "recipe": {**settings.get("recipe", {}), "epochs": epochs}}
    chosen = apply_settings(default, settings)
    assert isinstance(chosen, Strategy)
    refuse(chosen)
    return chosen


def make_option(argument: str, package: str, name: str, base: type[Any] = Strategy) -> Any:
    """Create an option with its default settings.

    Raises:
        ConfigError: there is no option of that name.
    """
    kind = find_option(package, base, name) if isinstance(name, str) else None
    if kind is None:
        names = find_options(package, base)
        raise ConfigError([f"{argument}: expected one of {', '.join(names)}{nearest(str(name), names)}, got {name!r}"])
    return kind()


def apply_settings(option: Option, settings: Mapping[str, Any], prefix: str = "") -> Option:
    """Return a copy of an option, a dataclass, with other values in some fields.

    Raises:
        ConfigError: there is no such field, or a value has another type.
    """
    names = [spec.name for spec in fields(option)]  # type: ignore[arg-type]  # a dataclass
    values: dict[str, Any] = {}
    for name, value in settings.items():
        key = f"{prefix}{name}"
        if name not in names:
            raise ConfigError([f"{key}: expected a setting of it ({', '.join(names)}){nearest(name, names)}, got none"])
        values[name] = _convert(getattr(option, name), value, key)
    changed: Option = replace(option, **values)  # type: ignore[type-var]
    return changed


def _convert(default: Any, value: Any, key: str) -> Any:
    if is_dataclass(default) and isinstance(value, Mapping):
        return apply_settings(default, value, f"{key}.")
    if isinstance(default, Selection) and isinstance(value, str):
        return make_option(key, "unlearn.strategies.selection", value, Selection)
    is_number = isinstance(value, NUMBERS) and not isinstance(value, bool)
    if isinstance(default, bool) or not isinstance(default, NUMBERS):
        accepted = default is None or isinstance(value, type(default))
    else:
        accepted = is_number and (isinstance(default, float) or isinstance(value, int))
    if not accepted and value is not None:
        raise ConfigError([Problem(key, f"a value like the default {default!r}", value)])
    return value


def refuse(option: Any, prefix: str = "strategy.") -> None:
    """Raise if a value of an option is out of its range.

    Raises:
        ConfigError: with every problem.
    """
    try:
        messages = [str(problem).removeprefix(prefix) for problem in problems(option, prefix.rstrip("."))]
    except TypeError as error:  # a check compares a number with something else
        raise ConfigError([f"{prefix.rstrip('.')}: expected values of the right types, got {error}"]) from error
    if messages:
        raise ConfigError(messages)
