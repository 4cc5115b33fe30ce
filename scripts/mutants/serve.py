"""Runs pytest in forks of this process: `{"tests": [...], "limit": seconds}` a line in, its exit status a line out.

What takes longest to import is imported once; nothing of `unlearn`, which each fork reads as it is then, nor a package
that brings a pytest plugin (Hydra): pytest wants to import those itself.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

import pytest
import pytorch_lightning  # noqa: F401
import torch  # noqa: F401

OPTIONS = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow and not slurm and not browser"]


def main() -> None:
    """Entry point."""
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(_status(asked["tests"], asked["limit"])), flush=True)


def _status(tests: list[str], limit: float) -> int | None:
    """Pytest's exit status; None if it ran out of time."""
    child = os.fork()
    if child == 0:
        _test(tests)
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)  # with all that it started
    os.waitpid(child, 0)
    return None


def _test(tests: list[str]) -> None:
    os.setsid()
    silent = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silent, stream)
    os._exit(int(pytest.main([*OPTIONS, *tests])))


if __name__ == "__main__":
    main()
