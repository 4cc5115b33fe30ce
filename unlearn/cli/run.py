"""The command `unlearn`: check the whole command line, then run one job or a grid of jobs."""

from __future__ import annotations

import gc
import io
import os
import re
import signal
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any, NoReturn

from unlearn import __version__
from unlearn.cli.arguments import move_flags_first
from unlearn.cli.boundary import describe_unexpected, guard_entry_point
from unlearn.cli.help import help_text
from unlearn.core.progress import Console, Stopped, exit_on_signal
from unlearn.core.terminal import escape_control

if TYPE_CHECKING:
    from unlearn.config import CheckedCommand

# Hydra answers these flags without running a job.
HYDRA_FLAGS = {"--cfg", "-c", "--info", "-i", "--hydra-help", "--shell-completion", "-sc"}
PRINTS_JOB = re.compile(r"(?:^| )(?:--cfg|-c)[ =]job(?: |$)")


@guard_entry_point("unlearn")
def main() -> None:
    """Run the command. Exit status 2: refused before anything was computed; 1: a job failed; 0: success."""
    arguments = sys.argv[1:]
    if {"--help", "-h"} & set(arguments):
        print(help_text(), end="")
    elif arguments[:1] == ["help"]:
        _print_help(arguments[1:])
    elif "--version" in arguments:
        print(f"unlearn {__version__}")
    else:
        _run(move_flags_first(arguments))


def _print_help(topics: list[str]) -> None:
    from unlearn.cli.option_help import describe_topics, read_options
    from unlearn.core.errors import ConfigError

    try:
        print(describe_topics(topics, read_options()) if topics else help_text().rstrip("\n"))
    except ConfigError as error:
        _refuse(error.problems)


def _run(arguments: list[str]) -> None:
    """Define the job as a Hydra application, and run it, after all checks unless only Hydra is asked."""
    only_asks_hydra = bool(HYDRA_FLAGS & {argument.partition("=")[0] for argument in arguments})
    if not only_asks_hydra:
        Console().say(f"unlearn {__version__}: checking the settings")  # at once, since imports can take seconds
    gc.disable()  # imports leave no garbage, but the collector would look for it again and again
    import hydra

    from unlearn import config
    from unlearn.cli.job import run_job

    config.register()
    sys.argv[1:] = arguments = config.quote_paths(arguments)  # where Hydra reads them
    gc.freeze()  # nor is there garbage among what was imported
    gc.enable()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, exit_on_signal)
    job = update_wrapper(partial(run_job, arguments), run_job)
    hydra_main = hydra.main(version_base="1.3", config_path=str(config.CONF), config_name="config")(job)
    if only_asks_hydra:
        _print_config(arguments, hydra_main)
        return
    checked = _check(arguments)
    if checked.grid.multirun:
        sys.exit(_run_grid(checked, arguments, hydra_main))
    sys.exit(_run_and_catch(lambda: config.run_composed(checked.composed, job)))


def _print_config(arguments: list[str], hydra_main: Callable[[], Any]) -> None:
    """Let Hydra answer a flag; the whole config of a job gets a first line that names the chosen options."""
    from unlearn import config

    if not PRINTS_JOB.search(" ".join(arguments)) or {"--package", "-p"} & set(arguments):
        hydra_main()
        return
    output = io.StringIO()
    with redirect_stdout(output):
        hydra_main()
    choices = ", ".join(f"{group}={name}" for group, name in sorted(config.chosen_options().items()))
    print(f"# {choices}", output.getvalue(), sep="\n", end="")


def _check(arguments: list[str]) -> CheckedCommand:
    """Check every cell of the command line and this machine; a problem ends the process."""
    from unlearn import config
    from unlearn.core.errors import ConfigError

    try:
        checked = config.preflight(config.CommandLine.parse(arguments))
        config.check_surroundings(checked.configs)
    except ConfigError as error:
        _refuse(error.problems)
    except Stopped:
        raise
    except Exception as error:
        _refuse([describe_unexpected(error)])
    except SystemExit as end:
        _refuse([f"a user-supplied function ended the process with exit status {end.code} during the checks"])
    return checked


def _run_grid(checked: CheckedCommand, arguments: list[str], hydra_main: Callable[[], Any]) -> int:
    """Let Hydra launch the cells of a grid; returns the exit status."""
    from unlearn import config
    from unlearn.cli import sweep
    from unlearn.cli.gpus import offer_gpus

    offer_gpus(checked.configs)
    sys.argv[1:] = checked.grid.arguments(checked.full_grid, arguments)  # the cells that Hydra shall run
    with config.launch_with(checked.compose):
        return sweep.run_sweep(lambda: _run_and_catch(hydra_main), checked.grid, checked.full_grid, arguments)


def _run_and_catch(run: Callable[[], Any]) -> int:
    """Let Hydra run the jobs, and return the exit status.

    Jobs print their own errors. An error from elsewhere ends all jobs, but the sweep can still list those that failed.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints the error and exits
    try:
        run()
    except OSError as error:
        print(f"unlearn: paths.output: expected a writable folder with free space, got {error}", file=sys.stderr)
        return 1
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except Exception as error:  # a launcher that lost a process, or a search in which every trial failed
        print(f"unlearn: {describe_unexpected(error)}", file=sys.stderr)
        return 1
    return 0


def _refuse(problems: list[str]) -> NoReturn:
    count = f"{len(problems)} problem{'s' * (len(problems) != 1)}"
    lines = (f"unlearn: {count}, nothing was computed", *(f"  {escape_control(problem)}" for problem in problems))
    print(*lines, sep="\n", file=sys.stderr)
    sys.exit(2)
