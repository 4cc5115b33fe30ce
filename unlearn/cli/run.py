"""The console script: check everything, then run one job or a grid of them."""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
from collections.abc import Callable
from functools import partial, update_wrapper
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

from unlearn import __version__
from unlearn.cli.boundary import guarded, unforeseen
from unlearn.core.progress import Stopped, printable, stop

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


@guarded("unlearn")
def main() -> None:
    """Entry point. Exit status 2: refused before anything was computed; 1: a job failed; 0: all is well."""
    arguments = sys.argv[1:]
    if {"--help", "-h"} & set(arguments):
        print(help_text(), end="")
        return
    if "--version" in arguments:
        print(f"unlearn {__version__}")
        return
    arguments = sys.argv[1:] = spelled_out(flags_first(arguments))
    gc.disable()  # while importing, which leaves no garbage but has it looked for
    import hydra

    from unlearn import config
    from unlearn.cli.job import job

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
    except Exception as error:  # a launcher that lost a process, a search in which nothing came to an end
        print(f"unlearn: {unforeseen(error)}", file=sys.stderr)
        return 1
    return 0


def _checked(go: Callable[[], Any], cell: Callable[[Any], Any], arguments: list[str]) -> int:
    """Run what passes the checks, a grid by `go` and one job by `cell`; returns the exit status."""
    from unlearn import config
    from unlearn.core.errors import ConfigError

    try:
        whole, grid, configs, composed, compose = config.preflight(config.CommandLine.parse(arguments))
        config.check_surroundings(configs)
    except ConfigError as error:
        _refuse(error.problems)
    except Stopped:
        raise
    except Exception as error:
        _refuse([unforeseen(error)])
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
    """`-m` and `--config-dir` may stand anywhere: Hydra's parser takes no overrides on both sides of a flag."""
    flags, words, rest = list[str](), list[str](), iter(arguments)
    for word in rest:
        if word in {"--config-dir", "-cd", "--cfg", "-c"}:
            flags += [word, *islice(rest, 1)]
        elif word in {"-m", "--multirun"} or word.startswith("--config-dir="):
            flags.append(word)
        else:
            words.append(word)
    return flags + words


def spelled_out(arguments: list[str]) -> list[str]:
    """Paths as Hydra must read them: quoted where they hold characters that mean something to it, `~/` expanded.

    `checkpoint=FILE` sets two keys: `checkpoint` is a group, and FILE none of its options. A file is what has a suffix,
    lies in a folder or is there; a key of the store is hexadecimal. The commas of a sweep are left.
    """
    key, words = "checkpoint=", []
    for argument in arguments:
        values = argument.removeprefix(key).split(",")
        if argument.startswith(key) and all(map(is_source, values)):
            from unlearn.config.words import quoted

            words += ["checkpoint=file", "checkpoint.file=" + ",".join(quoted(_at_home(value)) for value in values)]
        else:
            words.append(_path_quoted(argument))
    return words


def is_source(value: str) -> bool:
    """Whether that is a file, a report or a key of the store, rather than an option of the group."""
    return bool(Path(value).suffix or "/" in value or re.fullmatch(r"[0-9a-f]{8,64}", value) or Path(value).is_file())


def _path_quoted(argument: str) -> str:
    """`argument`, its value quoted if it is a path that Hydra would read as something else than this text."""
    from unlearn.config.words import PATHS, PLAIN, is_text, quoted

    key, _, value = argument.partition("=")
    if key.lstrip("+") not in PATHS or not value or value == "null":
        return argument
    value = _at_home(value)
    if PLAIN.fullmatch(value):
        return f"{key}={value}"
    return f"{key}={value}" if is_text(f"{key}={value}") else f"{key}={quoted(value)}"


def _at_home(value: str) -> str:
    """With the user's folder for a leading `~/`, which a shell leaves behind an equals sign."""
    return os.path.expanduser(value) if value.startswith("~/") else value  # noqa: PTH111  # ends as text


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
        *(f"  {printable(problem)}" for problem in problems),
        sep="\n",
        file=sys.stderr,
    )
    sys.exit(2)
