"""The console script: check everything, then run one job or a grid of them."""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from functools import partial, update_wrapper
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

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

  unlearn-report DIR...   one report over any number of runs and sweeps
  unlearn-store ls        what lies in the store; show, why, verify, gc, purge
  unlearn-data            how a data set numbers its classes and records
  unlearn-audit verify F  what of a run's audit record (report.audit=true) can be confirmed

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
    arguments = sys.argv[1:] = spelled_out(flags_first(arguments))
    gc.disable()  # while importing, which leaves no garbage but has it looked for
    import hydra

    from unlearn import config
    from unlearn.cli.job import job
    from unlearn.console import stop

    for caught in (signal.SIGTERM, signal.SIGINT):
        signal.signal(caught, stop)
    config.register()
    gc.freeze()  # nor shall it be looked for again among what was imported
    gc.enable()
    cell = update_wrapper(partial(job, arguments), job)
    go = hydra.main(version_base="1.3", config_path=str(config.CONF), config_name="config")(cell)
    if PASSED_ON & {argument.partition("=")[0] for argument in arguments}:
        go()
    else:
        sys.exit(_checked(go, cell, arguments))


def _guarded(go: Callable[[], Any]) -> int:
    """Let Hydra run the jobs, which tell their own errors: what else goes wrong ends them, and not the sweep's list."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # it would print its errors and exit
    try:
        go()
    except OSError as error:
        print(f"unlearn: paths.output: expected a writable folder with free space, got {error}", file=sys.stderr)
        return 1
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except Exception:  # a launcher that lost a process, a search in which nothing came to an end
        traceback.print_exc()
        return 1
    return 0


def _checked(go: Callable[[], Any], cell: Callable[[Any], Any], arguments: list[str]) -> int:
    """Run what passes the checks, a grid by `go` and one job by `cell`; returns the exit status."""
    from unlearn import config
    from unlearn.console import Stopped
    from unlearn.errors import ConfigError

    try:
        whole, grid, configs, composed, compose = config.preflight(config.CommandLine.parse(arguments))
    except ConfigError as error:
        _refuse(error.problems)
    except Stopped:
        raise
    except SystemExit as end:
        _refuse([f"a function of your own ended the process, with status {end.code}, while it was tried"])
    if not grid.multirun:
        return _guarded(lambda: config.run_composed(composed, cell))
    from unlearn.cli import sweep
    from unlearn.cli.gpus import offer_gpus

    offer_gpus(configs)
    sys.argv[1:] = grid.arguments(whole, arguments)
    with config.handed_over(compose):
        return sweep.run(lambda: _guarded(go), grid, whole, arguments)


def flags_first(arguments: list[str]) -> list[str]:
    """`-m` may stand anywhere: Hydra's parser takes no overrides on both sides of a flag."""
    flags = {"-m", "--multirun"}
    return [*(word for word in arguments if word in flags), *(word for word in arguments if word not in flags)]


def spelled_out(arguments: list[str]) -> list[str]:
    """`checkpoint=FILE` as Hydra must read it: `checkpoint` is a group, and FILE none of its options.

    A file is what has a suffix, lies in a folder or is there; a key of the store is hexadecimal. Characters that mean
    something to Hydra are quoted, but for the commas of a sweep.
    """
    key, words = "checkpoint=", []
    for argument in arguments:
        values = argument.removeprefix(key).split(",")
        if argument.startswith(key) and all(map(is_source, values)):
            words += ["checkpoint=file", "checkpoint.file=" + ",".join(map(quoted, values))]
        else:
            words.append(argument)
    return words


def is_source(value: str) -> bool:
    """Whether that is a file, a report or a key of the store, rather than an option of the group."""
    return bool(Path(value).suffix or "/" in value or re.fullmatch(r"[0-9a-f]{8,64}", value) or Path(value).is_file())


def quoted(value: str) -> str:
    """A value as Hydra must read it to get those characters."""
    if re.fullmatch(r"[A-Za-z0-9_./~-]+|(['\"]).*\1", value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def help_text() -> str:
    """What `--help` prints: the groups and options that lie in `conf/`."""
    here = Path(__file__).resolve().parents[1]
    conf = here / "conf" if (here / "conf").is_dir() else here.parent / "conf"
    options: dict[str, list[str]] = {}
    for path in sorted(conf.glob("*/**/*.yaml")):
        group, name = path.parent.relative_to(conf), path.stem
        if len(group.parts) > 1 and f"/schema/{group}/" not in path.read_text(encoding="utf-8"):
            group, name = group.parent, f"{group.name}/{name}"  # options in a folder of their group
        options.setdefault(str(group), []).append(name)
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
