"""User-supplied functions, named `package.module:function`: their import and the hash of their source."""

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
from itertools import accumulate
from pathlib import Path
from types import ModuleType
from typing import Any

from unlearn.core.errors import ConfigError, Problem, first_line, format_error, nearest


def load_function(factory: str, key: str) -> Callable[..., Any]:
    """Import a user-supplied function; its module is installed or in the current directory.

    Args:
        factory: `package.module:function`.
        key: the config key that `factory` is the value of, for the message.

    Raises:
        ConfigError: there is no such module or function, or the import fails.
    """
    module, name = _import(factory, key), factory.partition(":")[2]
    function: Callable[..., Any] | None = getattr(module, name, None)
    if function is None:
        names = [other for other, member in vars(module).items() if callable(member)]
        raise ConfigError([Problem(key, f"a function of {module.__name__}{nearest(name, names)}", factory)])
    if not callable(function):
        raise ConfigError([Problem(key, f"a function, not a {type(function).__name__}", factory)])
    return function


def _import(factory: str, key: str) -> ModuleType:
    if not re.fullmatch(r"\w+(\.\w+)*:\w+", factory):
        raise ConfigError([Problem(key, "package.module:function", factory)])
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)  # at the end: a local file must not replace an installed package
    try:
        return importlib.import_module(factory.partition(":")[0])
    except Exception as error:  # a user's module may raise anything
        expected = f"a module that can be imported ({error_location(error)})"
        raise ConfigError([Problem(key, expected, factory)]) from error


def argument_problems(arguments: dict[str, Any], key: str) -> Iterator[Problem]:
    """Report arguments that JSON, and therefore an artifact's key, cannot hold."""
    try:
        json.dumps(arguments, allow_nan=False)
    except (TypeError, ValueError) as error:
        yield Problem(key, f"finite numbers, texts, lists and mappings ({first_line(error)})", arguments)


def error_location(error: Exception) -> str:
    """Describe an error in a user's code on one line, with its file and line: `ValueError: no, in net.py line 3`."""
    description = format_error(error)
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, ImportError | SyntaxError) or not frames:  # these name the file and line themselves
        return description
    return f"{description}, in {Path(frames[-1].filename).name} line {frames[-1].lineno}"


@cache
def source_hash(factory: str, key: str) -> str:
    """Hash the source of a user-supplied function's module and of the local modules that it imports, at any depth.

    Local modules are those in the folder of its top-level package or module; for an installed package, only the
    modules of that package. Comments and docstrings do not change the hash. Other packages, files that the code reads,
    and imports by a computed name are not covered. The result is cached for the process.

    Args:
        factory: `package.module:function`.
        key: the config key that `factory` is the value of, for the message.

    Returns:
        16 hexadecimal digits.

    Raises:
        ConfigError: as `load_function`, and for a module without Python source.
    """
    module = _import(factory, key)
    path = Path(module.__file__ or "")
    if path.suffix != ".py":
        raise ConfigError([Problem(key, "a module with Python source", factory)])
    name = module.__name__
    root = (path.parent if path.name == "__init__.py" else path).parents[name.count(".")]
    package = name.partition(".")[0] if root.name in ("site-packages", "dist-packages") else ""
    sources: dict[str, str] = {}
    for ancestor in _with_parents(name):
        _collect_sources(ancestor, root, package, sources)
    text = "\n".join(f"# {module_name}\n{sources[module_name]}" for module_name in sorted(sources))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _collect_sources(name: str, root: Path, package: str, sources: dict[str, str]) -> None:
    """Add the source of a module, and of the modules it imports, if they lie in `root` (and in `package`, if given)."""
    stem = root.joinpath(*name.split("."))
    path = next((p for p in (stem / "__init__.py", stem.with_suffix(".py")) if p.is_file()), None)
    if name in sources or path is None or (package and name.partition(".")[0] != package):
        return
    tree = parse_without_docstrings(path.read_bytes())
    sources[name] = ast.unparse(tree)
    for imported in _imported_names(tree, name if path.name == "__init__.py" else name.rpartition(".")[0]):
        _collect_sources(imported, root, package, sources)


def _imported_names(tree: ast.Module, package: str) -> Iterator[str]:
    """Yield every module that the imports of a file in `package` may run; some of the names may not be modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
        elif isinstance(node, ast.ImportFrom):
            ancestors = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            source = ".".join([*ancestors, *([node.module] if node.module else [])])
            for alias in node.names:
                yield from _with_parents(f"{source}.{alias.name}" if source else alias.name)


def _with_parents(name: str) -> Iterator[str]:
    """Yield `a`, `a.b`, `a.b.c` for `a.b.c`: an import runs all of them."""
    return accumulate(name.split("."), "{}.{}".format)


def parse_without_docstrings(source: str | bytes) -> ast.Module:
    """Parse a file to its syntax tree, without docstrings."""
    tree = ast.parse(source)
    for node in (tree, *iter_statements(tree)):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_docstring(body[0]):
            body[:1] = [] if len(body) > 1 else [ast.Pass()]
    return tree


def iter_statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all statements within a node, at any depth; `ast.walk` would also visit their expressions."""
    for field in ("body", "orelse", "handlers", "finalbody", "cases"):
        inner = getattr(node, field, None)
        for statement in inner if isinstance(inner, list) else ():
            yield statement
            yield from iter_statements(statement)


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
