"""One Hydra job, from a composed config to a written report. It may run in another process."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from unlearn import config
from unlearn.cli.boundary import describe_unexpected
from unlearn.cli.gpus import claim_gpu
from unlearn.core.errors import ConfigError, UnlearnError, first_line, format_error
from unlearn.core.memory import release_cuda_memory
from unlearn.core.progress import Console, Stopped, current_console
from unlearn.core.terminal import escape_control, harden_output
from unlearn.pipeline.checks import check_machine
from unlearn.pipeline.config import BASELINE, RunConfig
from unlearn.report.note import DONE, FAILED, Note

LOG = "unlearn.log"  # Hydra's log in the folder of each job: `hydra.job.name` in conf/config.yaml


class JobResult(NamedTuple):
    """The result of a job for its sweep: how many artifacts it built and reused, and the value of its objective."""

    built: int
    reused: int
    objective: float | None = None


def run_job(arguments: list[str], composed: Any) -> float | None:
    """Run one job.

    A failure of a single run ends the process. In a multirun it is printed and noted, and the other cells go on.

    Args:
        arguments: The user's command line, which the report quotes.
        composed: The config of the job.

    Returns:
        The value of the objective for Hydra's sweeper; None without an objective, or if a cell failed.
    """
    harden_output()  # a launcher may have started this process
    hydra = HydraConfig.get()
    output = Path(hydra.runtime.output_dir)
    os.chdir(hydra.runtime.cwd)  # paths are relative to the user's folder; a launcher's process may run elsewhere
    sys.argv[1:] = arguments
    claim_gpu()
    if hydra.mode == RunMode.MULTIRUN:
        return _run_cell(composed, output, hydra.job.num, list(hydra.overrides.task))
    try:
        return _run(composed, output).objective
    except UnlearnError as error:
        message = escape_control(str(error))
    except Exception as error:
        message = describe_unexpected(error, output / LOG)
    print(f"unlearn: {message}", file=sys.stderr, flush=True)
    sys.exit(1)


def _run_cell(composed: Any, output: Path, number: int, overrides: list[str]) -> float | None:
    """Run a cell of a multirun, and write a note about its outcome into its folder."""
    note, start, objective = Note(number, overrides), time.monotonic(), None
    try:
        note.write(output)
        result = _run(composed, output, number)
        objective = result.objective
        final_note = replace(note, state=DONE, built=result.built, reused=result.reused)
    except Stopped:
        raise
    except (Exception, SystemExit) as error:  # user-supplied functions may raise either
        is_ours = isinstance(error, UnlearnError)
        cause = first_line(error) if is_ours else format_error(error)
        message = escape_control(str(error)) if is_ours else describe_unexpected(error, output / LOG)
        print(f"unlearn: cell {number} failed: {message}", file=sys.stderr, flush=True)
        final_note = replace(note, state=FAILED, cause=cause)
    release_cuda_memory()  # here, since the error of a failed cell holds its models until the handler has ended
    with suppress(UnlearnError):  # on a full disk, the note keeps the state "running"
        replace(final_note, seconds=time.monotonic() - start).write(output)
    return objective


def _run(composed: Any, output: Path, cell: int | None = None) -> JobResult:
    """Run one job, the cell of a multirun with that number or a single run, and write its events."""
    from unlearn.api.events import RunEvents, open_event_log

    resolved = config.resolve(composed)
    run = config.instantiate_resolved(resolved)
    events = RunEvents(open_event_log(run, output))
    console = Console(bars=run.cluster.shares_terminal, events=events.log)
    with events.run(run, config.chosen_options(), cell), current_console(console):
        report, result = _compute(run, resolved, output, cell is not None, console)
        events.write_done(result.built, result.reused, report, output / "report.json")
    return result


def _compute(
    run: RunConfig, resolved: Any, output: Path, is_cell: bool, console: Console
) -> tuple[dict[str, Any] | None, JobResult]:
    """Build the stages and write the report, if there is one."""
    from unlearn.api.files import add_to_ledger, write_report, write_weights
    from unlearn.cli.stream import run_stream_job
    from unlearn.core.artifact_store import ArtifactStore
    from unlearn.pipeline import plan as pipeline
    from unlearn.report.assemble import assemble
    from unlearn.stages.base import BuildContext
    from unlearn.stages.machine import describe_machine
    from unlearn.tracking.base import Job

    objective, report = None, None
    if run.trainer.accelerator == "auto" and not run.cluster.shares_terminal:
        console.say(f"  runs on {describe_machine(run.trainer)['device']}")
    if problems := list(check_machine(run)):
        raise ConfigError(problems)
    run.trainer.apply()
    context = BuildContext(ArtifactStore(run.paths.store, run.rebuild_damaged), run.trainer, console)
    plain, choices = config.to_plain_dict(resolved), config.chosen_options()
    if run.requests.is_stream:
        run_stream_job(run, context, plain, choices, output, is_cell)
    elif run.until == BASELINE:
        pipeline.build_shared(run, context)
    else:
        with run.logger.open(Job(run, plain, choices, config.run_group(), output)) as log:
            outcome = pipeline.run(run, context)
            report = assemble(outcome, plain, choices)
            paths, weights = write_report(report, run, outcome, output), write_weights(run, outcome, output)
            log(outcome, report)
        objective = _print_report(report, paths, run.objective, is_cell)
        if more := [*add_to_ledger(run, output), *([] if is_cell else weights)]:
            print(*more, sep="\n", flush=True)
    reused = sum(entry.reused for entry in context.entries.values())
    return report, JobResult(len(context.entries) - reused, reused, objective)


def _print_report(report: dict[str, Any], paths: list[Path], key: str | None, is_cell: bool) -> float | None:
    """Print the report, in one line for a cell of a multirun; returns the value of the objective `key`."""
    from unlearn.report.assemble import objective
    from unlearn.report.table import line, show

    value = objective(report, key) if key else None
    if is_cell:
        print("  " + escape_control(line(report)) + (f"; {key} {value:.4f}" if value is not None else ""))
        print(f"  {paths[-1]}", flush=True)
    else:
        show(report, sys.stdout)
        print(*paths, sep="\n")
    return value
