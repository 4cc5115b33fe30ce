"""Schemas of dataclasses into which Hydra and OmegaConf can merge settings."""

from __future__ import annotations

import inspect
from typing import Any

from omegaconf import MISSING, BooleanNode, Container, DictConfig, OmegaConf

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
    for name in node:
        child = node._get_node(name)
        if isinstance(child, BooleanNode):
            content: Any = node._content
            content[name] = StrictBoolean.copy_of(child)
        if not isinstance(child, Container):
            continue
        OmegaConf.set_readonly(child, None)
        if name == ARGUMENTS:
            OmegaConf.set_struct(child, False)
        if has_groups and inspect.isabstract(child._metadata.ref_type):
            node[name] = MISSING
        else:
            make_mergeable(child, has_groups)
    return node
