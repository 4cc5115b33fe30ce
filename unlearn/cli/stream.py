"""Run a stream of requests as one Hydra job, and write its report."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unlearn import config
from unlearn.core.terminal import escape_control
from unlearn.core.types import Role
from unlearn.pipeline.config import RunConfig
from unlearn.pipeline.stream import StreamOutcome, run_stream
from unlearn.stages.base import BuildContext


def run_stream_job(
    run: RunConfig, context: BuildContext, plain: dict[str, Any], choices: dict[str, str], folder: Path, is_cell: bool
) -> None:
    """Run a stream, write its report and its last models, and print how it ends.

    Args:
        run: the config.
        context: the store, the hardware and the console.
        plain: the resolved config as plain JSON.
        choices: name of the selected option of each group.
        folder: output folder of the job.
        is_cell: whether the job is a cell of a multirun, which prints one line for each policy.
    """
    from unlearn.report.stream.assemble import assemble_stream
    from unlearn.report.stream.lines import read_lines
    from unlearn.report.stream.table import print_stream, summaries
    from unlearn.report.stream.write import write_stream
    from unlearn.tracking.base import Job

    outcome = run_stream(run, context)
    report = assemble_stream(outcome, run, plain, choices)
    paths = [*_write_models(run, outcome, folder), *write_stream(report, folder, run.report.html)]
    run.logger.log_stream(Job(run, plain, choices, config.run_group(), folder), report)
    lines = read_lines([report])
    if is_cell:
        print(*(f"  {escape_control(sentence)}" for sentence in summaries(lines)), f"  {paths[-1]}", sep="\n")
    else:
        print_stream(report, lines, sys.stdout)
        print(*paths, sep="\n")
    sys.stdout.flush()


def _write_models(run: RunConfig, outcome: StreamOutcome, folder: Path) -> Iterator[Path]:
    """Write the model that each policy serves after the last request, as `report.weights` asks."""
    from unlearn.core.errors import UnlearnError
    from unlearn.stages.export import export_weights

    if run.report.weights == "none":
        return
    get, original = outcome.context.get, outcome.context.get(outcome.plan.original)
    for answer in outcome.steps[-1].step.answers:
        path = folder / f"{answer.policy.name}.{run.report.weights}"
        try:
            yield export_weights(get(answer.model), path, Role(answer.model.role), original)
        except OSError as error:
            raise UnlearnError(f"paths.output: expected a writable folder, got {folder}: {error}") from error
