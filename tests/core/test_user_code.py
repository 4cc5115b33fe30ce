"""User-supplied functions: import by name, one-line refusals, hash of the source."""

from __future__ import annotations

import ast
import importlib
import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from unlearn.core.errors import ConfigError
from unlearn.core.user_code import iter_statements, load_function, source_hash

NUMBER = itertools.count()
Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """`write({file: source})` into the current folder, where NAME stands for a package name that was never used."""
    name = f"mine{next(NUMBER)}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def put(files: dict[str, str]) -> str:
        for file, source in files.items():
            path = tmp_path / file.replace("NAME", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source.replace("NAME", name))
        importlib.invalidate_caches()
        return name

    return put


def hashed(write: Write, files: dict[str, str], factory: str = "NAME.nets:f") -> str:
    source_hash.cache_clear()
    return source_hash(factory.replace("NAME", write(files)), "model.factory")


def test_a_function_of_the_current_folder_is_found(write: Write, tmp_path: Path) -> None:
    name = write({"NAME.py": "def f(x):\n    return x + 1\n"})
    before = len(sys.path)
    assert load_function(f"{name}:f", "key")(1) == 2
    assert load_function(f"{name}:f", "key") is load_function(f"{name}:f", "key")
    assert sys.path[before:] == [str(tmp_path)]  # once, behind all others


def test_an_installed_package_comes_before_the_current_folder(write: Write) -> None:
    write({"json.py": "raise RuntimeError\n"})
    assert load_function("json:loads", "key")("[1]") == [1]


@pytest.mark.parametrize(
    ("factory", "source", "words"),
    [
        ("", "", "expected package.module:function, got ''"),
        ("NAME.f", "", "expected package.module:function, got"),
        ("NAME:f.g", "", "expected package.module:function, got"),
        ("../NAME:f", "", "expected package.module:function, got"),
        ("nowhere_to_be_found:f", "", "imported (ModuleNotFoundError: No module named 'nowhere_to_be_found')"),
        ("NAME:build_nit", "def build_net(): pass", "(nearest: build_net)"),
        ("NAME:f", "f = 3", "expected a function, not a int, got"),
        ("NAME:f", "import nowhere_to_be_found", "No module named 'nowhere_to_be_found'"),
        ("NAME:f", "def f(:", "SyntaxError: "),
        ("NAME:f", "\nraise KeyError('a')", "(KeyError: 'a', in NAME.py line 2)"),
    ],
)
def test_refusals_are_one_line(write: Write, factory: str, source: str, words: str) -> None:
    name = write({"NAME.py": source})
    with pytest.raises(ConfigError) as caught:
        load_function(factory.replace("NAME", name), "model.factory")
    (problem,) = caught.value.problems
    assert problem.startswith("model.factory: expected ")
    assert words.replace("NAME", name) in problem
    assert "\n" not in problem


NETS = '"""Nets."""\nfrom .layers import g\n\n\ndef f():\n    """One."""\n    return g()\n'
FILES = {
    "NAME/__init__.py": "",
    "NAME/nets.py": NETS,
    "NAME/layers.py": "import NAME.deep.parts as parts\n\ndef g():\n    return parts.h()\n",
    "NAME/deep/__init__.py": "",
    "NAME/deep/parts.py": "from .. import top\nfrom NAME_beside import x\n\ndef h():\n    return 1\n",
    "NAME/top.py": "T = 1\n",
    "NAME/idle.py": "I = 1\n",
    "NAME_beside.py": "x = 1\n",
}


@pytest.mark.parametrize("file", [file for file in FILES if file != "NAME/idle.py"])
def test_the_hash_covers_all_local_imports_of_the_function(write: Write, file: str) -> None:
    before = hashed(write, FILES)
    assert hashed(write, {file: FILES[file] + "\nCHANGED = 1\n"}) != before
    assert hashed(write, FILES) == before


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("NAME/nets.py", NETS.replace("One", "Two").replace('"""Nets."""', "# nets")),
        ("NAME/layers.py", "# a comment\n" + FILES["NAME/layers.py"]),
        ("NAME/idle.py", "I = 2\n"),
    ],
)
def test_the_hash_covers_nothing_else(write: Write, file: str, source: str) -> None:
    before = hashed(write, FILES)
    assert source != FILES[file]
    assert hashed(write, {file: source}) == before


def test_a_module_beside_nothing(write: Write) -> None:
    before = hashed(write, {"NAME.py": "def f(): return 1\n"}, "NAME:f")
    assert hashed(write, {"NAME.py": "def f(): return 1  # one\n"}, "NAME:f") == before
    assert hashed(write, {"NAME.py": "def f(): return 2\n"}, "NAME:f") != before


def test_circular_imports_end(write: Write) -> None:
    assert hashed(write, {"NAME/nets.py": "import NAME.b\ndef f(): pass\n", "NAME/b.py": "from . import nets\n"})


def test_the_hash_of_an_installed_package_ignores_other_packages(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"site-packages/{file}": source for file, source in FILES.items()}
    monkeypatch.syspath_prepend(Path.cwd() / "site-packages")
    before = hashed(write, files)
    assert hashed(write, {"site-packages/NAME_beside.py": "x = 2\n"}) == before
    assert hashed(write, {"site-packages/NAME/top.py": "T = 2\n"}) != before


def test_a_module_without_source_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.factory: expected a module with Python source, got 'math:sqrt'"):
        source_hash("math:sqrt", "model.factory")


def test_all_statements_are_found_without_looking_into_expressions() -> None:
    source = """
try:
    with f(lambda: 1) as x: y = [z for z in x]
except* E: import a
else:
    for i in x: pass
    else: from b import c
finally:
    while 0: "text"
match x:
    case [1]:
        async def g(): return (yield)
"""
    for text in (source, Path(__file__).read_text()):
        tree = ast.parse(text)
        kinds = (ast.stmt, ast.excepthandler, ast.match_case)
        every = {node for node in ast.walk(tree) if isinstance(node, kinds)}
        statements = list(iter_statements(tree))
        assert set(statements) == every
        assert len(statements) == len(every)
