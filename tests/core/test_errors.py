"""What a user reads when something is wrong."""

from __future__ import annotations

import pickle  # noqa: TID251  # the tests ask that errors survive the way between processes

import pytest

from unlearn.core import errors
from unlearn.core.errors import ConfigError, Problem, UnlearnError, nearest


def test_nearest_names_the_closest() -> None:
    assert nearest("topk", ["top_k", "random_k", "identity"]) == " (nearest: top_k)"


@pytest.mark.parametrize("names", [[], ["identity", "finetune"]])
def test_nearest_is_silent_where_nothing_is_close(names: list[str]) -> None:
    assert nearest("zzz", names) == ""


def test_nearest_takes_any_iterable() -> None:
    assert nearest("los", iter({"loss": 1, "accuracy": 2})) == " (nearest: loss)"


def test_a_problem_names_key_expected_and_given_value() -> None:
    assert str(Problem("train.lr", "a number > 0", -1.0)) == "train.lr: expected a number > 0, got -1.0"
    assert str(Problem("strategy", "one of a, b", "c")) == "strategy: expected one of a, b, got 'c'"


def test_a_config_error_has_a_line_per_problem() -> None:
    error = ConfigError(iter([Problem("a", "1", 2), "b is wrong"]))
    assert error.problems == ["a: expected 1, got 2", "b is wrong"]
    assert str(error) == "a: expected 1, got 2\nb is wrong"


def test_a_config_error_survives_pickling() -> None:
    error = ConfigError([Problem("a", "1", 2), "b is wrong"])
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is ConfigError
    assert (copy.problems, str(copy)) == (error.problems, str(error))


@pytest.mark.parametrize("name", ["ConfigError", "DataError", "StoreError", "DivergenceError"])
def test_all_errors_derive_from_the_base_class(name: str) -> None:
    assert issubclass(getattr(errors, name), UnlearnError)
