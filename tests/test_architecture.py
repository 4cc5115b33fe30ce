"""The house keeps its order: who may import whom, and who may look at what. Read from the source, nothing is run."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import unlearn

PACKAGE = Path(unlearn.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# A room is a folder of `unlearn/`. A file imports rooms of earlier rows and its own room, nothing else, at any depth
# and under TYPE_CHECKING too.
ROWS = (
    ("core",),
    ("functional",),
    ("models", "strategies", "metrics"),
    ("attacks", "spd_gan"),
    ("data",),
    ("training",),
    ("stages",),
    ("pipeline",),
    ("report", "inventory"),
    ("tracking", "audit"),
    ("config",),
    ("api",),
    ("cli",),
    ("__main__", "__init__"),
)
ROW = {room: number for number, row in enumerate(ROWS) for room in row}
MATHS = {"functional", "models", "strategies", "metrics", "spd_gan", "attacks"}  # torch alone


class Import(NamedTuple):
    """`module` is what is imported, `name` what is taken from it; `outer` where no function stands around it."""

    module: str
    name: str
    outer: bool


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@cache
def imports(path: Path) -> tuple[Import, ...]:
    inner = {
        id(node)
        for function in ast.walk(tree(path))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    return tuple(
        Import(module, name, id(node) not in inner)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for module, name in _named(node)
    )


def _named(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str]]:
    for alias in node.names:
        if isinstance(node, ast.Import):
            yield alias.name, ""
        else:
            yield "." * node.level + (node.module or ""), alias.name


def top(module: str) -> str:
    return module.partition(".")[0]


def files_of(*rooms: str) -> set[str]:
    return {name_of(path) for path in FILES if room(path) in rooms}


def importers(package: str, outer_only: bool = False) -> set[str]:
    """Files that import `package`."""
    return {
        name_of(path)
        for path in FILES
        for found in imports(path)
        if top(found.module) == package and (found.outer or not outer_only)
    }


def words(path: Path) -> Iterator[str]:
    """All names, attributes and strings of a file, docstrings aside."""
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body
        if isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


def test_every_room_has_its_row() -> None:
    assert {room(path) for path in FILES} == set(ROW)


def test_files_import_lower_rooms_or_their_own() -> None:
    assert list(_upward()) == []


def _upward() -> Iterator[str]:
    for path in FILES:
        for module, name, _ in imports(path):
            if (module, name) == ("unlearn", "__version__"):  # a string, in no room
                continue
            imported = module.split(".")[1] if "." in module else name
            if module.startswith(".") or (
                top(module) == "unlearn" and imported != room(path) and ROW[imported] >= ROW[room(path)]
            ):
                yield f"{name_of(path)} imports {module}"


def test_hydra_is_in_cli_and_config_only() -> None:
    assert importers("hydra") <= files_of("cli", "config")


def test_wandb_is_in_tracking_only() -> None:
    assert importers("wandb") <= {"tracking/wandb_client.py"}


@pytest.mark.parametrize("package", ["pytorch_lightning", "lightning", "hydra", "wandb", "omegaconf"])
def test_the_maths_knows_no_framework(package: str) -> None:
    assert importers(package) & files_of(*MATHS) == set()


def test_lightning_is_imported_late_outside_training() -> None:
    assert importers("pytorch_lightning", outer_only=True) <= files_of("training")
    assert importers("lightning") == set()  # the two packages do not mix


@pytest.mark.parametrize("package", ["torchvision", "sklearn", "scipy", "rich", "jinja2", "PIL"])
def test_heavy_packages_are_imported_late(package: str) -> None:
    assert importers(package, outer_only=True) == set()


def test_the_store_knows_no_torch() -> None:
    known = {top(found.module) for found in imports(PACKAGE / "core" / "artifact_store.py")}
    assert known <= {"__future__", "filelock", "unlearn", *sys.stdlib_module_names}


def test_holdout_is_for_attacks() -> None:
    # Attacks learn from shadow models, which are trained on half of it: `test_shadow.py` sees that nothing else does.
    makers = {
        "api/evaluate.py",
        "core/types.py",
        "stages/samples.py",
        "stages/shadow.py",
        "pipeline/plan_stages.py",
        "pipeline/evaluations.py",
    }
    readers = files_of("attacks") | {"metrics/spd_gan_controls.py", "metrics/unlearning_degree_holdout.py"}
    assert {name_of(path) for path in FILES if "HOLDOUT" in words(path)} <= makers | readers
    spelled = {name_of(path) for path in FILES if any("holdout" in word.lower() for word in words(path))}
    assert spelled & files_of(*MATHS) <= readers


def test_code_hashes_see_every_import_of_the_maths() -> None:
    """`stages/keys.py` follows `from unlearn.room.module import name` alone."""
    for path in FILES:
        for module, _, _ in imports(path) if room(path) in MATHS else ():
            if top(module) == "unlearn":
                assert (PACKAGE / Path(*module.split(".")[1:])).with_suffix(".py").is_file(), f"{path}: {module}"


def test_no_file_is_called_utils() -> None:
    assert [name_of(path) for path in FILES if path.stem in {"utils", "util", "helpers", "common", "misc"}] == []
