"""Fields that know their range."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

import pytest

from unlearn.core.errors import Problem
from unlearn.core.validation import ADDED, added, at_least, checked, fraction, one_of, positive, problems, runtime

NAN, INF = float("nan"), float("inf")


@dataclass(frozen=True)
class Numbers:
    above_zero: float = positive(1.0)
    from_two: float = at_least(2, 2)
    part: float = fraction(0.5)
    some_part: float = fraction(0.5, zero=False)
    optional: int | None = at_least(1, None)
    even: int = checked(0, "an even number", lambda v: v % 2 == 0)


@dataclass(frozen=True)
class Choice:
    form: str = one_of("mixture", "mean_kl")


@dataclass(frozen=True)
class Ordered:
    low: int = 0
    high: int = at_least(0, 1)
    choice: Choice = field(default_factory=Choice)

    def problems(self, key: str) -> Iterator[Problem]:
        if self.low > self.high:
            yield Problem(f"{key}.low", "at most high", self.low)


@dataclass(frozen=True)
class Root:
    ordered: Ordered = field(default_factory=Ordered)
    options: dict[str, Any] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("above_zero", [1e-9, 1, 1e9], [0, -1, NAN, INF, -INF]),
        ("from_two", [2, 2.0, 1e9], [1, 1.999, -5, NAN, INF, -INF]),
        ("part", [0, 0.0, 0.5, 0.999], [-1e-9, 1, 1.5, NAN, INF, -INF]),
        ("some_part", [1e-9, 0.999], [0, 0.0, 1, NAN, INF, -INF]),
        ("optional", [None, 1, 7], [0, -1, NAN, INF]),
        ("even", [0, 4], [3]),
    ],
)
def test_ranges(name: str, good: list[Any], bad: list[Any]) -> None:
    assert [value for value in good if [*problems(Numbers(**{name: value}))]] == []
    for value in bad:
        (problem,) = problems(Numbers(**{name: value}))
        assert problem.key == name
        assert problem.got is value


def test_defaults_are_the_given_ones() -> None:
    assert Numbers() == Numbers(1.0, 2, 0.5, 0.5, None, 0)
    assert Choice().form == "mixture"


def test_a_choice_is_refused_with_the_nearest_name() -> None:
    (problem,) = problems(Choice("mixtur"), "strategy")
    assert str(problem) == "strategy.form: expected one of mixture, mean_kl (nearest: mixture), got 'mixtur'"


def test_keys_are_dotted_through_dataclasses_and_mappings() -> None:
    root = Root(Ordered(choice=Choice("x")), {"a": Numbers(above_zero=0), "b": {"c": Choice("y")}, "d": 5})
    keys = [problem.key for problem in problems(root)]
    assert keys == ["ordered.choice.form", "options.a.above_zero", "options.b.c.form"]
    assert [problem.key for problem in problems(root, "run")] == [f"run.{key}" for key in keys]


def test_a_class_can_add_rules() -> None:
    messages = [str(problem) for problem in problems(Root(Ordered(low=5, high=-1)))]
    assert messages == [
        "ordered.high: expected a number >= 0, got -1",
        "ordered.low: expected at most high, got 5",
    ]


@pytest.mark.parametrize("value", [None, 3, "text"])
def test_a_value_that_is_not_a_dataclass_has_no_problems(value: Any) -> None:
    assert list(problems(value)) == []


def test_added_and_runtime_keep_a_range() -> None:
    @dataclass(frozen=True)
    class Later:
        side: str = added(one_of("left", "right"))
        twice: bool = added(False)

    assert all(f.metadata["added"] for f in fields(Later)) == ADDED["added"]
    assert (Later().side, Later().twice) == ("left", False)
    assert [problem.key for problem in problems(Later("top"))] == ["side"]


def test_runtime_marks_a_field() -> None:
    @dataclass(frozen=True)
    class Where:
        root: str = runtime("data")
        limit: int = 1

    assert [f.name for f in fields(Where) if f.metadata.get("runtime")] == ["root"]
    assert Where().root == "data"
