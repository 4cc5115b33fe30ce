"""Schemas of dataclasses into which Hydra and OmegaConf can merge settings."""

from __future__ import annotations

import inspect
from dataclasses import is_dataclass
from functools import cache
from types import NoneType
from typing import Any, get_args, get_type_hints

from omegaconf import MISSING, Container, DictConfig, OmegaConf

from unlearn.config.units import StrictBoolean

ARGUMENTS = "arguments"  # of a user-supplied function or class: it may have any names


def make_mergeable(node: Any, has_groups: bool = True) -> Any:
    """Remove the read-only flags that frozen dataclasses bring, so that Hydra can merge into a schema.

    `ARGUMENTS` takes new keys. With `has_groups`, a field of an abstract type becomes missing: its own config group
    sets it, and an option could not replace a default here.
    """
    if not isinstance(node, DictConfig):
        return node
    OmegaConf.set_readonly(node, None)
    kind: Any = OmegaConf.get_type(node)
    if kind is None:  # it has no content
        return node
    for name, child in node.items_ex(resolve=False):
        hint = _field_types(kind).get(str(name))
        if _without_none(hint) is bool:
            node[name] = StrictBoolean(child, is_optional=hint is not bool)
        if not isinstance(child, Container):
            continue
        OmegaConf.set_readonly(child, None)
        if name == ARGUMENTS:
            OmegaConf.set_struct(child, False)
        if has_groups and inspect.isabstract(_without_none(hint)):
            node[name] = MISSING
        else:
            make_mergeable(child, has_groups)
    return node


def field_type(node: Any, name: str) -> Any:
    """Return the declared type of a field, without `None`; `Any` if the node is not of a dataclass with this field."""
    kind: Any = OmegaConf.get_type(node)
    return _without_none(_field_types(kind).get(name, Any))


@cache
def _field_types(kind: type) -> dict[str, Any]:
    return get_type_hints(kind) if is_dataclass(kind) else {}


def _without_none(hint: Any) -> Any:
    """Return `int` for `int | None`."""
    kinds = [kind for kind in get_args(hint) if kind is not NoneType]
    return kinds[0] if len(kinds) == 1 and NoneType in get_args(hint) else hint
