"""The last line of defence of every command: what nobody foresaw becomes one line, its traceback goes into a log."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path

from unlearn.core.errors import format_error
from unlearn.core.progress import harden_output, printable

MEMORY = re.compile(r"can't allocate memory|out of memory|not enough memory|alloc_cpu", re.IGNORECASE)
REMEDY = "lower train.batch_size, dataset.size_px or the model's width"


def unforeseen(error: BaseException, log: Path | None = None) -> str:
    """One line about an error that is not ours, with the place of its traceback, which this appends to `log`.

    Without a log, or where it cannot be written, the traceback goes into a file of the system's temporary folder.
    """
    return printable(f"{_cause(error)}; the traceback is in {_keep(error, log)}")


def _cause(error: BaseException) -> str:
    if isinstance(error, MemoryError) or MEMORY.search(str(error)):
        return f"out of memory ({format_error(error)}): {REMEDY}"
    return f"unexpected {format_error(error)}"


def _keep(error: BaseException, log: Path | None) -> Path | str:
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


def guarded(program: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Decorate an entry point: an error that it does not handle is printed in one line, with exit status 1."""

    def decorate(main: Callable[[], None]) -> Callable[[], None]:
        @wraps(main)
        def entry() -> None:
            harden_output()
            try:
                main()
            except KeyboardInterrupt:
                sys.exit(130)
            except Exception as error:
                print(f"{program}: {unforeseen(error)}", file=sys.stderr)
                sys.exit(1)

        return entry

    return decorate
