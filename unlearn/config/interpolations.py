"""Values that stand for others, `${...}`, and do not say for which."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unlearn.config.near import keys, nearest_key
from unlearn.core.errors import Problem, first_line

VARIABLE = re.compile(r"Environment variable '([^']*)' not found")
ABSENT = re.compile(r"Interpolation key '([^']*)' not found")
RESOLVER = re.compile(r"Unsupported interpolation type (\S+)")


def unresolved(composed: DictConfig) -> Iterator[Problem]:
    """Each value that refers to a key, a variable or a function that is not there, or to itself; values that only
    refer to one of those are left out."""
    found = list(_failing(composed))
    keys_of = {problem.key for problem in found}
    roots = [problem for problem in found if not (_referred(str(problem.got)) - {problem.key}) & keys_of]
    yield from roots or found[:1]


def _referred(text: str) -> set[str]:
    return set(re.findall(r"\$\{([\w.]+)\}", text))


def _failing(composed: DictConfig) -> Iterator[Problem]:
    for key, parent, name in _references(composed, ""):
        raw: Any = OmegaConf.to_container(parent, resolve=False)
        got = raw[name]
        try:
            value, typed = parent[name], parent._get_node(name)
            if isinstance(value, DictConfig | ListConfig):
                OmegaConf.to_container(value, resolve=True)
            if isinstance(typed, ListConfig) and not isinstance(value, ListConfig | None):
                yield Problem(key, "a reference to a list", got)
        except RecursionError:
            yield Problem(key, "a value, which does not refer to itself", got)
        except OmegaConfBaseException as error:
            yield Problem(key, _expected(first_line(error), composed), got)
        except Exception as error:  # whatever a resolver raises
            yield Problem(key, f"arguments that the function takes ({first_line(error)})", got)


def _references(node: Any, prefix: str) -> Iterator[tuple[str, DictConfig | ListConfig, Any]]:
    """Dotted key, parent and name of every value that is written as a reference."""
    if not isinstance(node, DictConfig | ListConfig) or node._is_none() or node._is_missing():
        return
    for name in range(len(node)) if isinstance(node, ListConfig) else list(node):
        key, child = f"{prefix}{name}", node._get_node(name)
        if child is not None and child._is_interpolation():  # type: ignore[union-attr]
            yield key, node, name
        else:
            yield from _references(child, f"{key}.")


def _expected(said: str, composed: DictConfig) -> str:
    if variable := VARIABLE.search(said):
        return f"an environment variable {variable[1]}, which is not set, or ${{oc.env:{variable[1]},DEFAULT}}"
    if absent := ABSENT.search(said):
        return f"a reference to a key of the config{nearest_key(absent[1], list(keys(composed)))}"
    if resolver := RESOLVER.search(said):
        return f"a reference to a key, or a function that OmegaConf knows, which {resolver[1]} is not"
    if "Recursive" in said:
        return "a value, which does not refer to itself"
    return f"a reference to a value of its type ({said})"
