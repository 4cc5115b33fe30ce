"""What the package imports is declared in pyproject.toml, and what it declares is imported."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def normalised(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(*groups: list[str]) -> set[str]:
    """The distributions that requirements such as `numpy>=2.1` name."""
    matches = (re.match(r"[\w.-]+", requirement) for group in groups for requirement in group)
    return {normalised(match[0]) for match in matches if match}


def imported(source: str) -> set[str]:
    """Top-level modules from outside the standard library that a file imports, also inside its functions."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"unlearn"}


IMPORTED = {name for path in (ROOT / "unlearn").rglob("*.py") for name in imported(path.read_text())}
DISTRIBUTIONS = {name: {normalised(each) for each in packages_distributions().get(name, ())} for name in IMPORTED}
RUNTIME = [group for name, group in PROJECT["optional-dependencies"].items() if name != "dev"]


@pytest.mark.parametrize("module", sorted(IMPORTED))
def test_every_import_is_declared(module: str) -> None:
    expected = declared(PROJECT["dependencies"], *RUNTIME)
    assert DISTRIBUTIONS[module] & expected, f"{module}: expected {DISTRIBUTIONS[module]} in pyproject.toml"


def test_every_dependency_is_imported() -> None:
    """The extras may name plugins of Hydra, which nothing imports; `dependencies` may not."""
    assert declared(PROJECT["dependencies"]) <= set().union(*DISTRIBUTIONS.values())


def test_imports_inside_functions_count() -> None:
    source = "import os\ndef f():\n    import yaml.nodes\n    from numpy.linalg import norm\nfrom . import x\n"
    assert imported(source) == {"yaml", "numpy"}
