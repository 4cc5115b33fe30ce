"""The console script: check everything, then run one job or a grid of them."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial, update_wrapper
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

if TYPE_CHECKING:
    from unlearn.pipeline import Outcome
    from unlearn.run_config import RunConfig

HELP = """\
unlearn: make a trained image classifier forget some of its training data, and measure whether it did.

  unlearn                                          the main job on the bundled digits
  unlearn dataset=mnist dataset.root=DIR strategy=top_k strategy.k=0.01 seed=1
  unlearn checkpoint=model.pt checkpoint.trained_on=all model=torchvision model.name=resnet18 \\
          dataset=image_folder dataset.root=DIR forget=indices forget.file=request.txt     your model, your images
  unlearn -m strategy=random_k,top_k strategy.k=0.001,0.01,0.1 seed=0,1,2     a grid
  unlearn -m ... until=baseline                    only what the cells of a grid share
  unlearn +experiment=demo                         a ready question
  unlearn --cfg job strategy=top_k                 every key with its value

Anything is an override: key=value. Groups and their options:

{groups}

  --config-dir DIR   more options from your own folder      --hydra-help   the rest of Hydra's flags
Results: report.json and report.html in paths.output; artefacts, built once, in paths.store.
"""
PASSED_ON = {"--cfg", "-c", "--info", "-i", "--hydra-help", "--shell-completion", "-sc"}


def main() -> None:
    """Entry point. Exit status 2: refused before anything was computed; 1: a job failed; 0: all is well."""
    arguments = sys.argv[1:]
    if {"--help", "-h"} & set(arguments):
        print(help_text(), end="")
        return
    if "--version" in arguments:
        print(f"unlearn {version('unlearn')}")
        return
    arguments = sys.argv[1:] = spelled_out(arguments)
    import hydra

    from unlearn import config
    from unlearn.console import stop

    for caught in (signal.SIGTERM, signal.SIGINT):
        signal.signal(caught, stop)
    config.register()
    cell = update_wrapper(partial(job, arguments), job)  # which may run in another process
    go = hydra.main(version_base="1.3", config_path=str(config.CONF), config_name="config")(cell)
    if PASSED_ON & {argument.partition("=")[0] for argument in arguments}:
        go()
    else:
        sys.exit(_checked(lambda: _guarded(go), arguments))


def _guarded(go: Callable[[], Any]) -> int:
    """Let Hydra run the jobs, which tell their own errors: what else goes wrong is told in one line."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # it would print its errors and exit
    try:
        go()
    except OSError as error:
        print(f"unlearn: paths.output: expected a writable folder with free space, came {error}", file=sys.stderr)
        return 1
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


def _checked(go: Callable[[], int], arguments: list[str]) -> int:
    """Run what passes the checks; returns the exit status."""
    from unlearn import config
    from unlearn.errors import ConfigError

    try:
        whole, grid = config.preflight(config.CommandLine.parse(arguments))
    except ConfigError as error:
        _refuse(error.problems)
    if not grid.multirun:
        return go()
    from unlearn.cli import sweep

    sys.argv[1:] = grid.arguments(whole, arguments)
    return sweep.run(go, grid, whole, arguments)


def spelled_out(arguments: list[str]) -> list[str]:
    """`checkpoint=FILE` as Hydra must read it: `checkpoint` is a group, and FILE none of its options.

    A file is what has a suffix or lies in a folder. Characters that mean something to Hydra are quoted, but for the
    commas of a sweep.
    """
    key, words = "checkpoint=", []
    for argument in arguments:
        values = argument.removeprefix(key).split(",")
        if argument.startswith(key) and all(Path(value).suffix or "/" in value for value in values):
            words += ["checkpoint=file", "checkpoint.file=" + ",".join(map(_quoted, values))]
        else:
            words.append(argument)
    return words


def _quoted(value: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_./~-]+|(['\"]).*\1", value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def job(typed: list[str], composed: Any) -> float | None:
    """One cell: from a composed config to a written report; returns the objective, if there is one, to the sweeper.

    In a multirun a failure is told at once and noted for the end, and the other cells go on.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from unlearn.errors import UnlearnError

    hydra = HydraConfig.get()
    output = Path(hydra.runtime.output_dir)
    os.chdir(hydra.runtime.cwd)  # a cluster's process may stand elsewhere: paths are relative to the user's folder,
    sys.argv[1:] = typed  # and the command to be told is the user's
    if hydra.mode == RunMode.MULTIRUN:
        return _cell(composed, output, hydra.job.num, list(hydra.overrides.task))
    try:
        return _run(composed, output, brief=False).objective
    except UnlearnError as error:
        print(f"unlearn: {error}", file=sys.stderr, flush=True)
    except Exception:
        traceback.print_exc()
    sys.exit(1)


def _cell(composed: Any, output: Path, number: int, overrides: list[str]) -> float | None:
    from unlearn.cli.cells import DONE, FAILED, Cell
    from unlearn.errors import UnlearnError, first_line

    cell, start, objective = Cell(number, overrides), time.monotonic(), None
    try:
        cell.write(output)
        ran = _run(composed, output, brief=True)
        objective = ran.objective
        ended = replace(cell, state=DONE, built=ran.built, reused=ran.reused)
    except Exception as error:
        expected = isinstance(error, UnlearnError)
        cause = first_line(error) if expected else f"{type(error).__name__}: {first_line(error)}"
        told = str(error) if expected else traceback.format_exc()
        print(f"unlearn: cell {number} failed: {told}", file=sys.stderr, flush=True)
        ended = replace(cell, state=FAILED, cause=cause)
    with suppress(UnlearnError):  # a full disk: the cell then counts as not ended
        replace(ended, seconds=time.monotonic() - start).write(output)
    return objective


class Ran(NamedTuple):
    """What a job leaves for the sweep it is part of: how many artefacts it built, and what it is judged by."""

    built: int
    reused: int
    objective: float | None = None


def _run(composed: Any, output: Path, brief: bool) -> Ran:
    from unlearn import config, pipeline
    from unlearn.console import Console
    from unlearn.run_config import BASELINE
    from unlearn.stages.base import Workshop
    from unlearn.store import ArtifactStore

    run = config.instantiate(composed)
    run.trainer.apply()
    console = Console(bars=run.cluster.shares_terminal)
    workshop = Workshop(ArtifactStore(run.paths.store, run.rebuild_damaged), run.trainer, console)
    if run.until == BASELINE:
        pipeline.share(run, workshop)
        objective = None
    else:
        objective = _tell(pipeline.run(run, workshop), run, composed, output, brief)
    reused = sum(entry.reused for entry in workshop.entries.values())
    return Ran(len(workshop.entries) - reused, reused, objective)


def _tell(outcome: Outcome, run: RunConfig, composed: Any, output: Path, brief: bool) -> float | None:
    """Write the report, and print it: whole, or in one line. Returns the run's objective, if it has one."""
    from unlearn import config
    from unlearn.report.assemble import assemble, objective, stages
    from unlearn.report.page import render
    from unlearn.report.pictures import examples
    from unlearn.report.table import line, show
    from unlearn.report.write import write, write_text

    report = assemble(outcome, config.plain(composed), config.choices())
    curves = {name: stage.curve(outcome.workshop) for name, stage in stages(outcome).items()}
    run.logger.log({name: curve for name, curve in curves.items() if curve}, output)
    paths = [write(report, output)]
    if run.report.html:
        paths.append(write_text(render(report, examples(run, outcome)), output / "report.html"))
    judged = objective(report, run.objective) if run.objective else None
    if brief:
        print("  " + line(report) + (f"; {run.objective} {judged:.4f}" if judged is not None else ""))
        print(f"  {paths[-1]}", flush=True)
    else:
        show(report, sys.stdout)
        print(*paths, sep="\n")
    return judged


def help_text() -> str:
    """What `--help` prints: the groups and options that lie in `conf/`."""
    here = Path(__file__).resolve().parents[1]
    conf = here / "conf" if (here / "conf").is_dir() else here.parent / "conf"
    options: dict[str, list[str]] = {}
    for path in sorted(conf.glob("*/**/*.yaml")):
        options.setdefault(str(path.parent.relative_to(conf)), []).append(path.stem)
    plus = {"experiment", "preset", "sweep"}
    lines = [f"  {'+' * (group in plus)}{group}: {', '.join(names)}" for group, names in options.items()]
    return HELP.format(groups="\n".join(lines))


def _refuse(problems: list[str]) -> NoReturn:
    count = f"{len(problems)} problem{'s' * (len(problems) != 1)}"
    print(
        f"unlearn: {count}, nothing was computed",
        *(f"  {problem}" for problem in problems),
        sep="\n",
        file=sys.stderr,
    )
    sys.exit(2)
