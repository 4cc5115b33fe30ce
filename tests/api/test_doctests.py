"""The examples in the docstrings of the library run, and print what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import unlearn.api


@pytest.mark.parametrize("name", [info.name for info in pkgutil.iter_modules(unlearn.api.__path__)])
def test_the_examples_of_a_module_run(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"unlearn.api.{name}"), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


@pytest.mark.parametrize("name", ["run", "forget", "evaluate"])
def test_each_function_has_an_example(name: str) -> None:
    assert ">>> " in (getattr(unlearn, name).__doc__ or "")
