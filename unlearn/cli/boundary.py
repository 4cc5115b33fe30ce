"""Turns the errors of a command into lines of text; the traceback of an unexpected one goes into a log."""

from __future__ import annotations

import os
import re
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path

from unlearn.core.errors import UnlearnError, format_error
from unlearn.core.progress import Console, current_console
from unlearn.core.terminal import escape_control, harden_output

OUT_OF_MEMORY = re.compile(r"can't allocate memory|out of memory|not enough memory|alloc_cpu", re.IGNORECASE)
REMEDY = "lower train.batch_size, dataset.size_px or the model's width"


def describe_unexpected(error: BaseException, log: Path | None = None) -> str:
    """Return one line about an error that is not ours, and write its traceback to a file, which the line names.

    Args:
        error: The error.
        log: The file to append the traceback to. Without one, or if it cannot be written, the traceback goes into a
            file in the system's temporary folder.
    """
    return escape_control(f"{_describe_cause(error)}; the traceback is in {_save_traceback(error, log)}")


def _describe_cause(error: BaseException) -> str:
    if isinstance(error, MemoryError) or OUT_OF_MEMORY.search(str(error)):
        return f"out of memory ({format_error(error)}): {REMEDY}"
    return f"unexpected {format_error(error)}"


def _save_traceback(error: BaseException, log: Path | None) -> Path | str:
    text = "".join(traceback.format_exception(error))
    try:
        if log is not None:
            with log.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
            return log
    except OSError:
        pass
    try:
        handle, name = tempfile.mkstemp(prefix="unlearn-", suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError:
        return "no file: neither the output nor the temporary folder can be written"
    return name


def guard_entry_point(program: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Decorate an entry point so that an error which it does not handle is printed without a traceback.

    The exit status is 2 after an `UnlearnError`, and 1 after any other error, which takes one line.

    Args:
        program: The name of the command.
    """

    def decorate(main: Callable[[], None]) -> Callable[[], None]:
        @wraps(main)
        def entry_point() -> None:
            harden_output()
            try:
                with current_console(Console()):
                    main()
            except KeyboardInterrupt:
                sys.exit(128 + signal.SIGINT)
            except UnlearnError as error:
                lines = escape_control(str(error)).splitlines()
                print(*(f"{program}: {line}" for line in lines), sep="\n", file=sys.stderr)
                sys.exit(2)
            except Exception as error:
                print(f"{program}: {describe_unexpected(error)}", file=sys.stderr)
                sys.exit(1)

        return entry_point

    return decorate
