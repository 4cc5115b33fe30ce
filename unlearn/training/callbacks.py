"""User-supplied Lightning callbacks: the entries of `trainer.callbacks`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from unlearn.core.errors import ConfigError, Problem, UnlearnError
from unlearn.core.user_code import argument_problems, error_location, load_function, source_hash

KEY = "trainer.callbacks"
CONTRACT = "module:factory or {factory: module:factory, arguments: {...}}"
CALLBACK = "a Lightning Callback class, or a function that returns a Lightning Callback"


@dataclass(frozen=True)
class UserCallback:
    """`factory(**arguments)` is a Lightning callback that each training gets a new one of.

    The key of a model that is trained with it holds the factory, the arguments and a hash of the source, unless the
    factory has an attribute `passive = True`, which promises that the callback changes no weight and draws no random
    number. Callbacks see every training of a classifier and every phase of a strategy [ours].
    """

    factory: str  # package.module:name, installed or in the current directory
    arguments: dict[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def parse(cls, entry: Any) -> UserCallback:
        """Read an entry of `trainer.callbacks`.

        Args:
            entry: `module:factory`, or a mapping with `factory` and, optionally, `arguments`.

        Raises:
            ConfigError: the entry is something else.
        """
        settings = entry if isinstance(entry, Mapping) else {"factory": entry}
        factory, arguments = settings.get("factory"), settings.get("arguments", {})
        is_known = settings.keys() <= {"factory", "arguments"}
        if not (is_known and isinstance(factory, str) and isinstance(arguments, dict)):
            raise ConfigError([Problem(KEY, CONTRACT, entry)])
        return cls(factory, arguments)

    def identity(self) -> dict[str, Any]:
        """Return the hash of the source, for the key."""
        return {"source": source_hash(self.factory, KEY)}

    @property
    def is_passive(self) -> bool:
        """Whether the factory declares that results do not depend on the callback."""
        return bool(getattr(load_function(self.factory, KEY), "passive", False))

    def problems(self) -> Iterator[Problem | str]:
        """Report a factory that cannot be imported or called, or that returns something else than a callback."""
        wrong = [*argument_problems(self.arguments, KEY)]
        yield from wrong or _find_problems(self.factory, json.dumps(self.arguments, sort_keys=True))

    def build(self) -> Any:
        """Make a new callback.

        Raises:
            UnlearnError: the factory raised an error, or returned something else.
        """
        from pytorch_lightning import Callback

        try:
            callback = load_function(self.factory, KEY)(**self.arguments)
        except UnlearnError:
            raise
        except Exception as error:  # a user's function may raise anything
            raise UnlearnError(str(Problem(KEY, f"{CALLBACK} ({error_location(error)})", self.factory))) from error
        if not isinstance(callback, Callback):
            got = type(callback).__name__
            raise UnlearnError(str(Problem(KEY, f"{CALLBACK} (it returned {got})", self.factory)))
        return callback


@cache
def _find_problems(factory: str, arguments: str) -> list[str]:
    """Build a callback for the check; cached for all cells of a sweep."""
    try:
        UserCallback(factory, json.loads(arguments)).build()
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    except UnlearnError as error:
        return [str(error)]
    return []
