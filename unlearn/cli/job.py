"""One Hydra job, which may run in another process: from a composed config to a written report."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from unlearn import config
from unlearn.cli.boundary import unforeseen
from unlearn.cli.gpus import take_gpu
from unlearn.core.errors import ConfigError, UnlearnError, first_line, format_error
from unlearn.core.memory import release
from unlearn.core.progress import Console, Stopped, harden_output, printable
from unlearn.pipeline.config import BASELINE, check_here
from unlearn.report.note import DONE, FAILED, Note

if TYPE_CHECKING:
    from unlearn.pipeline.config import RunConfig
    from unlearn.pipeline.plan import Outcome


LOG = "unlearn.log"  # that Hydra keeps in the folder of each job: `hydra.job.name` of conf/config.yaml


class Ran(NamedTuple):
    """What a job leaves for the sweep it is part of: how many artefacts it built, and what it is judged by."""

    built: int
    reused: int
    objective: float | None = None


def job(typed: list[str], composed: Any) -> float | None:
    """Run, and return the objective to Hydra's sweeper, if there is one; `typed` is the user's command line.

    In a multirun a failure is told at once and noted for the end, and the other cells go on.
    """
    harden_output()  # a launcher may have started this process
    hydra = HydraConfig.get()
    output = Path(hydra.runtime.output_dir)
    os.chdir(hydra.runtime.cwd)  # a cluster's process may stand elsewhere: paths are relative to the user's folder,
    sys.argv[1:] = typed  # and the command to be told is the user's
    take_gpu()
    if hydra.mode == RunMode.MULTIRUN:
        return _cell(composed, output, hydra.job.num, list(hydra.overrides.task))
    try:
        return _run(composed, output, brief=False).objective
    except UnlearnError as error:
        told = printable(str(error))
    except Exception as error:
        told = unforeseen(error, output / LOG)
    print(f"unlearn: {told}", file=sys.stderr, flush=True)
    sys.exit(1)


def _cell(composed: Any, output: Path, number: int, overrides: list[str]) -> float | None:
    note, start, objective = Note(number, overrides), time.monotonic(), None
    try:
        note.write(output)
        ran = _run(composed, output, brief=True)
        objective = ran.objective
        ended = replace(note, state=DONE, built=ran.built, reused=ran.reused)
    except Stopped:
        raise
    except (Exception, SystemExit) as error:  # code of one's own may do either
        expected = isinstance(error, UnlearnError)
        cause = first_line(error) if expected else format_error(error)
        told = printable(str(error)) if expected else unforeseen(error, output / LOG)
        print(f"unlearn: cell {number} failed: {told}", file=sys.stderr, flush=True)
        ended = replace(note, state=FAILED, cause=cause)
    release()  # a cell that failed has left its error, and with it its models, until here
    with suppress(UnlearnError):  # a full disk: the cell then counts as not ended
        replace(ended, seconds=time.monotonic() - start).write(output)
    return objective


def _run(composed: Any, output: Path, brief: bool) -> Ran:
    from unlearn.core.artifact_store import ArtifactStore
    from unlearn.pipeline import plan as pipeline
    from unlearn.stages.base import BuildContext
    from unlearn.stages.machine import machine
    from unlearn.tracking.base import Job

    run, objective = config.instantiate(composed), None
    console = Console(bars=run.cluster.shares_terminal)
    if run.trainer.accelerator == "auto" and not run.cluster.shares_terminal:
        console.say(f"  runs on {machine(run.trainer)['device']}")
    if problems := list(check_here(run)):
        raise ConfigError(problems)
    run.trainer.apply()
    context = BuildContext(ArtifactStore(run.paths.store, run.rebuild_damaged), run.trainer, console)
    if run.until == BASELINE:
        pipeline.share(run, context)
    else:
        plain, choices = config.plain(composed), config.choices()
        with run.logger.open(Job(run, plain, choices, config.group(), output)) as log:
            outcome = pipeline.run(run, context)
            report, paths = _report(outcome, run, plain, choices, output)
            log(outcome, report)
        objective = _tell(report, paths, run.objective, brief)
    reused = sum(entry.reused for entry in context.entries.values())
    return Ran(len(context.entries) - reused, reused, objective)


def _report(
    outcome: Outcome, run: RunConfig, plain: dict[str, Any], choices: dict[str, str], output: Path
) -> tuple[dict[str, Any], list[Path]]:
    """The report, and the files it was written to, the one to look at last."""
    from unlearn.audit.build import write_audit
    from unlearn.report.assemble import assemble
    from unlearn.report.inversion import recovery
    from unlearn.report.page import render
    from unlearn.report.pictures import examples, write_pictures
    from unlearn.report.write import write, write_text

    report = assemble(outcome, plain, choices)
    paths, pictures = [write(report, output)], examples(run, outcome)
    write_pictures(pictures, output)
    if run.report.audit:
        paths = write_audit(outcome, report, output) + paths
    if run.report.html:
        paths.append(write_text(render(report, pictures, recovery(run, outcome)), output / "report.html"))
    return report, paths


def _tell(report: dict[str, Any], paths: list[Path], key: str | None, brief: bool) -> float | None:
    """Print the report, whole or in one line; returns the number by which a search judges it."""
    from unlearn.report.assemble import objective
    from unlearn.report.table import line, show

    judged = objective(report, key) if key else None
    if brief:
        print("  " + printable(line(report)) + (f"; {key} {judged:.4f}" if judged is not None else ""))
        print(f"  {paths[-1]}", flush=True)
    else:
        show(report, sys.stdout)
        print(*paths, sep="\n")
    return judged
