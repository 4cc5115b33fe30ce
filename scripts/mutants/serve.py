"""Runs pytest in forks of this process: reads `{"tests": [...], "limit": seconds}` and writes an exit status per line.

The slowest imports happen once, in this process. It imports nothing of `unlearn`, whose present source each fork reads,
and no package with a pytest plugin (Hydra), which pytest must import itself.
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
        request = json.loads(line)
        print(json.dumps(_run(request["tests"], request["limit"])), flush=True)


def _run(tests: list[str], limit: float) -> int | None:
    """Run tests in a fork; returns the exit status of pytest, or None after `limit` seconds."""
    child = os.fork()
    if child == 0:
        _run_pytest(tests)
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)  # with its child processes
    os.waitpid(child, 0)
    return None


def _run_pytest(tests: list[str]) -> None:
    os.setsid()
    silent = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silent, stream)
    os._exit(int(pytest.main([*OPTIONS, *tests])))


if __name__ == "__main__":
    main()
