"""Resolves interpolations, `${...}`, and reports those that cannot be resolved."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any, get_origin

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unlearn.config.structured import field_type
from unlearn.config.suggestions import dotted_keys, nearest_key_hint
from unlearn.core.errors import ConfigError, Problem, first_line

# OmegaConf's messages about a missing environment variable, a missing key and an unknown resolver
NO_VARIABLE = re.compile(r"Environment variable '([^']*)' not found")
NO_KEY = re.compile(r"Interpolation key '([^']*)' not found")
NO_RESOLVER = re.compile(r"Unsupported interpolation type (\S+)")


def resolve(composed: DictConfig) -> DictConfig:
    """Return a copy with values in place of interpolations. Each is resolved once: OmegaConf parses it every time.

    Raises:
        ConfigError: Lists each value that refers to itself or to a missing key, environment variable or function. A
            value that only refers to another such value is left out.
    """
    resolved = copy.deepcopy(composed)
    problems = list(_resolve_all(resolved))
    failing_keys = {problem.key for problem in problems}
    causes = [problem for problem in problems if not (_keys_in(str(problem.got)) - {problem.key}) & failing_keys]
    if problems:
        raise ConfigError(causes or problems[:1])
    return resolved


def _keys_in(text: str) -> set[str]:
    return set(re.findall(r"\$\{([\w.]+)\}", text))


def _resolve_all(composed: DictConfig) -> Iterator[Problem]:
    """Resolve all interpolations of a config in place, and yield those that cannot be resolved."""
    for key, parent, name in _interpolations(composed, ""):
        try:
            expected = _resolve_one(parent, name)
        except RecursionError:
            expected = "a value, which does not refer to itself"
        except OmegaConfBaseException as error:
            expected = _describe_expected(first_line(error), composed)
        except Exception as error:  # a resolver may raise anything
            expected = f"arguments that the function takes ({first_line(error)})"
        if expected:
            unresolved: Any = OmegaConf.to_container(parent, resolve=False)
            yield Problem(key, expected, unresolved[name])


def _resolve_one(parent: DictConfig | ListConfig, name: Any) -> str:
    """Put the value in place of an interpolation; returns what was expected if it is of another kind."""
    value = parent[name]
    if get_origin(field_type(parent, str(name))) is list and not isinstance(value, ListConfig | None):
        return "a reference to a list"
    if isinstance(value, DictConfig | ListConfig):
        value = copy.deepcopy(value)
        OmegaConf.resolve(value)
    if not (isinstance(value, str) and "${" in value):  # this text would be resolved again
        parent[name] = value
    return ""


def _interpolations(node: Any, prefix: str) -> Iterator[tuple[str, DictConfig | ListConfig, Any]]:
    """Yield dotted key, parent and name of every value that is an interpolation."""
    if not isinstance(node, DictConfig | ListConfig):
        return
    names: Any = range(len(node)) if isinstance(node, ListConfig) else list(node)
    for name in names:
        if OmegaConf.is_interpolation(node, name):
            yield f"{prefix}{name}", node, name
        elif not OmegaConf.is_missing(node, name):
            yield from _interpolations(node[name], f"{prefix}{name}.")


def _describe_expected(message: str, composed: DictConfig) -> str:
    """Say what was expected in place of the value about which OmegaConf gives this message."""
    if variable := NO_VARIABLE.search(message):
        return f"an environment variable {variable[1]}, which is not set, or ${{oc.env:{variable[1]},DEFAULT}}"
    if key := NO_KEY.search(message):
        return f"a reference to a key of the config{nearest_key_hint(key[1], list(dotted_keys(composed)))}"
    if resolver := NO_RESOLVER.search(message):
        return f"a reference to a key, or a function that OmegaConf knows, which {resolver[1]} is not"
    if "Recursive" in message:
        return "a value, which does not refer to itself"
    return f"a reference to a value of its type ({message})"
