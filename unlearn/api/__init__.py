"""The library: `unlearn.run`, `unlearn.forget`, `unlearn.evaluate` and their results."""

from unlearn.api.evaluate import evaluate
from unlearn.api.forget import forget
from unlearn.api.results import EvaluationResult
from unlearn.api.run import Result, run

__all__ = ["EvaluationResult", "Result", "evaluate", "forget", "run"]
