"""Run the evaluations of a plan."""

from __future__ import annotations

import time
from collections.abc import Sequence

from unlearn.core.types import Measurement
from unlearn.pipeline.evaluations import Evaluation
from unlearn.stages.base import BuildContext

Measured = tuple[tuple[Evaluation, dict[str, Measurement]], ...]


def evaluate(evaluations: Sequence[Evaluation], context: BuildContext) -> Measured:
    """Build or read the measurements of each evaluation, and show which one is worked on."""
    measurements, start = [], time.perf_counter()
    with context.console.working("evaluate") as tick:
        for number, evaluation in enumerate(evaluations):
            tick(number, len(evaluations), item=evaluation.describe())
            measurements.append((evaluation, evaluation.stage.load(context)))
        tick(len(evaluations), len(evaluations))
    is_reused = all(context.get(evaluation.stage).reused for evaluation in evaluations)
    context.console.done("evaluate", is_reused, time.perf_counter() - start)
    return tuple(measurements)
