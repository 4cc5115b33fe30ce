"""Make a trained image classifier forget some of its training data, and measure whether it did.

- `unlearn.run("dataset=digits", "strategy=top_k")` does what the command does.
- `unlearn.forget(model, forget=..., retain=...)` makes a model of yours forget.
- `unlearn.evaluate(forgotten, forget=..., retain=..., original=..., retrained=[...])` measures it.
- `unlearn.strategies()`, `unlearn.metrics()` and `unlearn.attacks()` list what there is.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # type checkers take it for true; importing typing would take longer than all else here
__version__ = "0.1.0"
__all__ = ["EvaluationResult", "Result", "__version__", "attacks", "evaluate", "forget", "metrics", "run", "strategies"]

LISTINGS = ("attacks", "metrics", "strategies")  # packages that can be called (`core/plugins.py`)
MODULES = {
    "EvaluationResult": "unlearn.api.results",
    "Result": "unlearn.api.run",
    "evaluate": "unlearn.api.evaluate",
    "forget": "unlearn.api.forget",
    "run": "unlearn.api.run",
}

if TYPE_CHECKING:
    from typing import Any

    from unlearn.api.evaluate import evaluate
    from unlearn.api.forget import forget
    from unlearn.api.results import EvaluationResult
    from unlearn.api.run import Result, run

    def attacks() -> dict[str, str]:
        """Return the attacks: a name, and what it measures in one line."""

    def metrics() -> dict[str, str]:
        """Return the metrics: a name, and what it measures in one line."""

    def strategies() -> dict[str, str]:
        """Return the strategies: a name, and what it does in one line."""


def __getattr__(name: str) -> Any:
    """Import the library on first use: `import unlearn` itself costs nothing."""
    if name in LISTINGS:
        return import_module(f"unlearn.{name}")
    if name in MODULES:
        return getattr(import_module(MODULES[name]), name)
    raise AttributeError(f"module 'unlearn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
