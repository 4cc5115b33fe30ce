"""Checks of values that depend on other values: lists, and fields that count in the same unit.

They are not methods of the classes that they check, because artifact keys hash the code of these classes: another check
would change the keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from itertools import pairwise
from typing import Any, cast

from omegaconf import BooleanNode
from omegaconf.errors import ValidationError

from unlearn.core.errors import Problem
from unlearn.core.recipe import Recipe


@dataclass(frozen=True)
class Rule:
    """A condition on a field of every object of type `kind`."""

    kind: type
    field: str
    expected: str  # the condition in words; `{name}` stands for the value of another field
    accepts: Callable[[Any], bool]  # gets the whole object


def _non_negative_seeds(field: str) -> Rule:
    return Rule(object, field, "integers >= 0", lambda owner: all(seed >= 0 for seed in getattr(owner, field)))


def _has_increasing_milestones(recipe: Recipe) -> bool:
    return all(before < after for before, after in pairwise([0, *recipe.milestones]))


RULES = (
    _non_negative_seeds("seeds"),
    _non_negative_seeds("unlearn_seeds"),
    Rule(Recipe, "milestones", "epochs >= 1, each later than the one before", _has_increasing_milestones),
    Rule(Recipe, "warmup", "at most the {epochs} epochs of the fit", lambda r: r.epochs < 0 or r.warmup <= r.epochs),
)


def check_units(value: Any, key: str = "") -> Iterator[Problem]:
    """Yield every rule that a config, or an object nested in it, breaks.

    Args:
        value: A dataclass, a mapping, or a value in one of them.
        key: The dotted key of `value`.
    """
    if isinstance(value, Mapping):
        children = {str(name): child for name, child in value.items()}
    elif is_dataclass(value):
        children = {field.name: getattr(value, field.name) for field in fields(value)}
        for rule in RULES:
            if isinstance(value, rule.kind) and isinstance(children.get(rule.field), int | float | list):
                yield from _check_rule(rule, value, f"{key}.{rule.field}".lstrip("."))
    else:
        return
    for name, child in children.items():
        yield from check_units(child, f"{key}.{name}".lstrip("."))


def _check_rule(rule: Rule, owner: Any, key: str) -> Iterator[Problem]:
    if not rule.accepts(owner):
        yield Problem(key, rule.expected.format(**vars(owner)), getattr(owner, rule.field))


class StrictBoolean(BooleanNode):
    """A boolean that refuses numbers. OmegaConf accepts 0 and 1, which are a mistake in `trainer.channels_last=1`."""

    def validate_and_convert(self, value: Any) -> Any:
        """Return true, false or, where it is optional, None.

        Raises:
            ValidationError: the value is something else, or a number.
        """
        if not isinstance(value, bool) and re.fullmatch(r"\s*[+-]?[\d_]+\s*", str(value)):
            raise ValidationError("'$VALUE' is a number, not true or false")
        return super().validate_and_convert(value)

    def __deepcopy__(self, memo: dict[int, Any]) -> StrictBoolean:
        copied: Any = super().__deepcopy__(memo)
        copied.__class__ = StrictBoolean  # the base class always makes one of its own
        return cast(StrictBoolean, copied)
