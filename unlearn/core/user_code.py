"""A function of one's own, named `package.module:function`: found, and known by its source."""

from __future__ import annotations

import ast
import hashlib
import importlib
import json
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from unlearn.core.errors import ConfigError, Problem, first_line, format_error, nearest


def load(factory: str, key: str) -> Callable[..., Any]:
    """The function that `factory` names, imported; modules of the current directory can be named too.

    Raises:
        ConfigError: there is no such module or function; the one problem is named by `key`.
    """
    module, name = _import(factory, key), factory.partition(":")[2]
    found = getattr(module, name, None)
    if found is None:
        known = [each for each, member in vars(module).items() if callable(member)]
        raise ConfigError([Problem(key, f"a function of {module.__name__}{nearest(name, known)}", factory)])
    if not callable(found):
        raise ConfigError([Problem(key, f"a function, not a {type(found).__name__}", factory)])
    function: Callable[..., Any] = found
    return function


def _import(factory: str, key: str) -> ModuleType:
    if not re.fullmatch(r"\w+(\.\w+)*:\w+", factory):
        raise ConfigError([Problem(key, "package.module:function", factory)])
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # at the end: a file of ours must not stand in for an installed package
    try:
        return importlib.import_module(factory.partition(":")[0])
    except Exception as error:  # a module of one's own may fail in any way
        raise ConfigError([Problem(key, f"a module that can be imported ({place(error)})", factory)]) from error


def argument_problems(arguments: dict[str, Any], key: str) -> Iterator[Problem]:
    """Arguments that JSON, and so a key, cannot hold."""
    try:
        json.dumps(arguments, allow_nan=False)
    except (TypeError, ValueError) as error:
        yield Problem(key, f"finite numbers, texts, lists and mappings ({first_line(error)})", arguments)


def place(error: Exception) -> str:
    """What an error in a user's code says and where, on one line."""
    said = format_error(error)
    frames = traceback.extract_tb(error.__traceback__)
    inner = frames[-1] if frames else None
    if isinstance(error, ImportError | SyntaxError) or inner is None:  # these tell the place themselves
        return said
    return f"{said}, in {Path(inner.filename).name} line {inner.lineno}"


@cache
def source_hash(factory: str, key: str) -> str:
    """Hash of the source of a factory's module and of the modules it imports that lie beside it, at any depth; asked
    once per process.

    Beside it is what the folder holds that has its top-level package or module; of an installed one, that package
    alone. Comments and docstrings do not count. Other packages, files that it reads and imports by a computed name
    are not seen.

    Raises:
        ConfigError: as `load`, and for a module without Python source.
    """
    module = _import(factory, key)
    path = Path(module.__file__ or "")
    if path.suffix != ".py":
        raise ConfigError([Problem(key, "a module with Python source", factory)])
    name = module.__name__
    base = (path.parent if path.name == "__init__.py" else path).parents[name.count(".")]
    only = name.partition(".")[0] if base.name in ("site-packages", "dist-packages") else ""
    seen: dict[str, str] = {}
    for each in _with_parents(name):
        _collect(each, base, only, seen)
    text = "\n".join(f"# {each}\n{seen[each]}" for each in sorted(seen))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _collect(name: str, base: Path, only: str, seen: dict[str, str]) -> None:
    stem = base.joinpath(*name.split("."))
    path = next((p for p in (stem / "__init__.py", stem.with_suffix(".py")) if p.is_file()), None)
    if name in seen or path is None or (only and name.partition(".")[0] != only):
        return
    tree = syntax(path.read_bytes())
    seen[name] = ast.unparse(tree)
    for each in _imported(tree, name if path.name == "__init__.py" else name.rpartition(".")[0]):
        _collect(each, base, only, seen)


def _imported(tree: ast.Module, package: str) -> Iterator[str]:
    """Every module that the imports of a file in `package` may run; some names may be no modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                yield from _with_parents(f"{source}.{alias.name}" if source else alias.name)


def _with_parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts))]


def syntax(source: str | bytes) -> ast.Module:
    """The syntax tree of a file, without docstrings."""
    tree = ast.parse(source)
    for node in (tree, *statements(tree)):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_docstring(body[0]):
            body[:1] = [] if len(body) > 1 else [ast.Pass()]
    return tree


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """All statements within a node, at any depth; `ast.walk` would look into their expressions as well."""
    for field in ("body", "orelse", "handlers", "finalbody", "cases"):
        inner = getattr(node, field, None)
        for each in inner if isinstance(inner, list) else ():
            yield each
            yield from statements(each)


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
