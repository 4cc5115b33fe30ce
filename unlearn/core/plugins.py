"""Finds option classes (strategies, metrics, models, ...) by importing the modules of a package: no list to edit."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
from collections import defaultdict
from functools import cache
from itertools import accumulate
from pathlib import Path
from types import ModuleType

from unlearn.core.errors import ConfigError, format_error

ENTRY_POINTS = "unlearn.plugins"  # the group of entry points that name modules with options


def find_options(package: ModuleType | str, base: type) -> dict[str, type]:
    """Find the concrete subclasses of `base` in all modules of a package, or in one module.

    A class is an option if no other class of its package derives from it: a class here is abstract or final. Only a
    subclass that sets the class variable `is_variant` leaves its base an option.

    Args:
        package: a package or module, or its dotted name.
        base: the class that every option derives from.

    Returns:
        The classes by `option_name`.
    """
    module = importlib.import_module(package) if isinstance(package, str) else package
    modules = [module]
    if hasattr(module, "__path__"):
        names = sorted(info.name for info in pkgutil.iter_modules(module.__path__))
        modules = [importlib.import_module(f"{module.__name__}.{name}") for name in names]
    classes = [kind for module in modules for kind in _concrete_classes(module, base)]
    return {option_name(kind): kind for kind in classes if _is_final(kind)}


def find_option(package: str, base: type, name: str) -> type | None:
    """Find one of `find_options(package, base)` by its name, importing only modules that define a class of that name.

    Returns:
        The class, or None if there is no such option.
    """
    for module in _modules_by_option(package).get(name, []):
        for kind in _concrete_classes(importlib.import_module(module), base):
            if option_name(kind) == name and _is_final(kind):
                return kind
    return None


@cache
def find_plugins(base: type) -> dict[str, type]:
    """Find the concrete subclasses of `base` in the modules that installed packages name under `unlearn.plugins`.

    Raises:
        ConfigError: such a module cannot be imported.
    """
    from importlib.metadata import entry_points  # slow to import

    options: dict[str, type] = {}
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            options |= find_options(entry.value, base)
        except Exception as error:  # the module of another package may raise anything
            expected = f"a module that can be imported for the entry point {entry.name} of {ENTRY_POINTS}"
            raise ConfigError([f"{entry.value}: expected {expected}, got {format_error(error)}"]) from error
    return options


class OptionPackage(ModuleType):
    """A package of options that can be called: `unlearn.strategies()` returns their names with one line each."""

    option_base: str  # module:class, which every option derives from

    def __call__(self) -> dict[str, str]:
        module, _, name = self.option_base.partition(":")
        options = find_options(self, getattr(importlib.import_module(module), name))
        return {option: (inspect.getdoc(kind) or "").partition("\n")[0] for option, kind in options.items()}


def make_callable(package: str, base: str) -> None:
    """Make a package callable, for its `__init__.py`.

    Args:
        package: its name.
        base: `module:class`, which every option derives from; imported on the first call.
    """
    module = sys.modules[package]
    module.__class__ = OptionPackage
    module.option_base = base  # type: ignore[attr-defined]


def _is_final(kind: type) -> bool:
    """Whether no class of the same package derives from it.

    Classes that a user derives from it do not count, nor do variants of an option: classes that set `is_variant`.
    """
    subclasses: list[type] = kind.__subclasses__()
    package = kind.__module__.split(".")[0]
    return not any(
        subclass.__module__.split(".")[0] == package and not vars(subclass).get("is_variant") for subclass in subclasses
    )


def _concrete_classes(module: ModuleType, base: type) -> list[type]:
    return [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if member.__module__ == module.__name__ and issubclass(member, base) and not inspect.isabstract(member)
    ]


@cache
def _modules_by_option(package: str) -> dict[str, list[str]]:
    """By option name, the modules whose source may define that option at its top level."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    origin = Path(spec.origin)
    paths = {
        f"{package}.{info.name}": origin.parent / (f"{info.name}/__init__.py" if info.ispkg else f"{info.name}.py")
        for info in pkgutil.iter_modules(spec.submodule_search_locations or [])
    }
    modules = defaultdict[str, list[str]](list)
    for module, path in (paths or {package: origin}).items():
        for class_name in re.findall(r"^class (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            # Any of the last words may be the name of a base class, which another module defines.
            for option in accumulate(snake_case(class_name).split("_"), "{}_{}".format):
                modules[option].append(module)
    return dict(modules)


def option_name(kind: type) -> str:
    """Return the name by which users choose a class: its own in snake case, without that of a base class at its end.

    `TopK` is `top_k`; `TopKSelection`, which derives from `Selection`, is `top_k` too, in another group.
    """
    name, bases = kind.__name__, (base.__name__ for base in kind.__mro__[1:])
    ending = next((base for base in bases if name != base and name.endswith(base)), "")
    return snake_case(name.removesuffix(ending))


def snake_case(name: str) -> str:
    """Convert a class name to snake case: `TopK` to `top_k`, `ULira` to `u_lira`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
