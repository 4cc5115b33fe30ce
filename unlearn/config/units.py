"""Ranges of what several values say together: lists, and fields that count in the same unit.

They stand here because keys hold the code of the classes that they are about: to check more must not change a key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from itertools import pairwise
from typing import Any

from omegaconf import BooleanNode
from omegaconf.errors import ValidationError

from unlearn.core.errors import Problem
from unlearn.core.recipe import Recipe


@dataclass(frozen=True)
class Rule:
    """What a field of a `kind` must fulfil: `expected` in words, which may name other fields, and as a predicate."""

    kind: type
    field: str
    expected: str
    accepts: Callable[[Any], bool]  # of the whole object


def _seeds(name: str) -> Rule:
    return Rule(object, name, "integers >= 0", lambda owner: all(seed >= 0 for seed in getattr(owner, name)))


def _increasing(recipe: Recipe) -> bool:
    return all(before < after for before, after in pairwise([0, *recipe.milestones]))


RULES = (
    _seeds("seeds"),
    _seeds("unlearn_seeds"),
    Rule(Recipe, "milestones", "epochs >= 1, each later than the one before", _increasing),
    Rule(Recipe, "warmup", "at most the {epochs} epochs of the fit", lambda r: r.epochs < 0 or r.warmup <= r.epochs),
)


def unit_problems(value: Any, key: str = "") -> Iterator[Problem]:
    """What breaks a rule in a config and in everything nested in it, named by dotted key."""
    if isinstance(value, Mapping):
        parts = {str(name): item for name, item in value.items()}
    elif is_dataclass(value):
        parts = {spec.name: getattr(value, spec.name) for spec in fields(value)}
        for rule in RULES:
            if isinstance(value, rule.kind) and isinstance(parts.get(rule.field), int | float | list):
                yield from _broken(rule, value, f"{key}.{rule.field}".lstrip("."))
    else:
        return
    for name, item in parts.items():
        yield from unit_problems(item, f"{key}.{name}".lstrip("."))


def _broken(rule: Rule, owner: Any, key: str) -> Iterator[Problem]:
    if not rule.accepts(owner):
        yield Problem(key, rule.expected.format(**vars(owner)), getattr(owner, rule.field))


class Boolean(BooleanNode):
    """A boolean that refuses numbers: OmegaConf takes 0 and 1, which in `trainer.channels_last=1` are a mistake."""

    @classmethod
    def of(cls, node: BooleanNode) -> Boolean:
        """The same value under the same name."""
        strict = cls(is_optional=True)
        node._deepcopy_impl(strict, {})
        strict._set_parent(node._get_parent())
        return strict

    def _validate_and_convert_impl(self, value: Any) -> bool:
        if not isinstance(value, bool) and re.fullmatch(r"\s*[+-]?[\d_]+\s*", str(value)):
            raise ValidationError("'$VALUE' is a number, not true or false")
        return super()._validate_and_convert_impl(value)

    def __deepcopy__(self, memo: dict[int, Any]) -> Boolean:
        copied = Boolean()
        self._deepcopy_impl(copied, memo)
        return copied
