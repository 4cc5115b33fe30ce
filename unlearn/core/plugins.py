"""Finds everything pluggable by walking packages: no list to edit."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import re
from collections import defaultdict
from functools import cache
from pathlib import Path
from types import ModuleType


def options(package: ModuleType | str, base: type) -> dict[str, type]:
    """Concrete classes under `base` by option name, from all modules of a package, or from one module.

    A class is an option if nothing derives from it (a class here is abstract or final); its option name is the
    class name in snake case.
    """
    module = importlib.import_module(package) if isinstance(package, str) else package
    modules = [module]
    if hasattr(module, "__path__"):
        names = sorted(info.name for info in pkgutil.iter_modules(module.__path__))
        modules = [importlib.import_module(f"{module.__name__}.{name}") for name in names]
    found = [kind for each in modules for kind in _concrete(each, base)]
    return {snake_case(kind.__name__): kind for kind in found if _final(kind)}


def option(package: str, base: type, name: str) -> type | None:
    """One of `options(package, base)`, for which no other module is imported than those that have a class so named."""
    for module in _places(package).get(name, []):
        for kind in _concrete(importlib.import_module(module), base):
            if snake_case(kind.__name__) == name and _final(kind):
                return kind
    return None


def _final(kind: type) -> bool:
    """Whether nothing of its own package derives from it; what a user derives from it does not count."""
    derived: list[type] = kind.__subclasses__()
    return not any(each.__module__.split(".")[0] == kind.__module__.split(".")[0] for each in derived)


def _concrete(module: ModuleType, base: type) -> list[type]:
    return [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if member.__module__ == module.__name__ and issubclass(member, base) and not inspect.isabstract(member)
    ]


@cache
def _places(package: str) -> dict[str, list[str]]:
    """By option name, the modules whose source has such a class at its top level."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    inner = pkgutil.iter_modules(spec.submodule_search_locations) if spec.submodule_search_locations else []
    names = {
        f"{package}.{each.name}": f"{each.name}/__init__.py" if each.ispkg else f"{each.name}.py" for each in inner
    }
    files = {module: Path(spec.origin).parent / name for module, name in names.items()}
    found = defaultdict[str, list[str]](list)
    for module, path in (files or {package: Path(spec.origin)}).items():
        for name in re.findall(r"^class (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            found[snake_case(name)].append(module)
    return dict(found)


def snake_case(name: str) -> str:
    """`TopK` to `top_k`, `ULira` to `u_lira`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
