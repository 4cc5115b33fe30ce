"""Finds interpolations, `${...}`, that cannot be resolved."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_origin

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unlearn.config.structured import field_type
from unlearn.config.suggestions import dotted_keys, nearest_key_hint
from unlearn.core.errors import Problem, first_line

# OmegaConf's messages about a missing environment variable, a missing key and an unknown resolver
NO_VARIABLE = re.compile(r"Environment variable '([^']*)' not found")
NO_KEY = re.compile(r"Interpolation key '([^']*)' not found")
NO_RESOLVER = re.compile(r"Unsupported interpolation type (\S+)")


def check_interpolations(composed: DictConfig) -> Iterator[Problem]:
    """Yield each value that refers to itself or to a missing key, environment variable or function.

    A value that only refers to another such value is left out.
    """
    problems = list(_check_all(composed))
    failing_keys = {problem.key for problem in problems}
    causes = [problem for problem in problems if not (_keys_in(str(problem.got)) - {problem.key}) & failing_keys]
    yield from causes or problems[:1]


def _keys_in(text: str) -> set[str]:
    return set(re.findall(r"\$\{([\w.]+)\}", text))


def _check_all(composed: DictConfig) -> Iterator[Problem]:
    for key, parent, name in _interpolations(composed, ""):
        unresolved: Any = OmegaConf.to_container(parent, resolve=False)
        got = unresolved[name]
        try:
            value, kind = parent[name], field_type(parent, str(name))
            if isinstance(value, DictConfig | ListConfig):
                OmegaConf.to_container(value, resolve=True)
            if get_origin(kind) is list and not isinstance(value, ListConfig | None):
                yield Problem(key, "a reference to a list", got)
        except RecursionError:
            yield Problem(key, "a value, which does not refer to itself", got)
        except OmegaConfBaseException as error:
            yield Problem(key, _describe_expected(first_line(error), composed), got)
        except Exception as error:  # a resolver may raise anything
            yield Problem(key, f"arguments that the function takes ({first_line(error)})", got)


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
