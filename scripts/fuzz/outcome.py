"""Runs one case of a fuzzer, and checks that it ends in time, without an error or with an error message."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from unlearn.core.errors import UnlearnError


def outcome(case: Callable[[], object], seconds: int) -> str:
    """Run a case, for `seconds` at most.

    Returns:
        The failure; empty if the case was accepted, or refused with a message.
    """
    previous = signal.signal(signal.SIGALRM, _time_out)
    signal.alarm(seconds)
    try:
        case()
    except UnlearnError as error:
        lines = getattr(error, "problems", [str(error)])
        return "" if all(line.strip() for line in lines) else "an empty message"
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {error} ({Path(last.filename).name} line {last.lineno})".replace("\n", " ")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
    return ""


def _time_out(*_: object) -> NoReturn:
    raise TimeoutError("time limit exceeded")
