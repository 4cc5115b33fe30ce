"""How one case of a fuzzer ended: within its time, and refused in words if it was refused."""

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
        What is wrong with how it ended; nothing if it was accepted or refused in words.
    """
    previous = signal.signal(signal.SIGALRM, _too_late)
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


def _too_late(*_: object) -> NoReturn:
    raise TimeoutError("it takes too long")
