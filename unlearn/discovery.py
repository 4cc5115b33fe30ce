"""Finds everything pluggable by walking packages: no list to edit."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
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
    found = [
        member
        for each in modules
        for _, member in inspect.getmembers(each, inspect.isclass)
        if member.__module__ == each.__name__ and issubclass(member, base) and not inspect.isabstract(member)
    ]
    return {snake_case(kind.__name__): kind for kind in found if not kind.__subclasses__()}


def snake_case(name: str) -> str:
    """`TopK` to `top_k`, `ULira` to `u_lira`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
