"""Compares `--help`, a refusal and a cached run with `import torch, hydra`, each in a new process.

All processes find bytecode of earlier processes, as those of an installed package do, even if the environment forbids
writing it next to the sources.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from table import Row, compare, run

RIVAL = ["-c", "import torch, hydra"]
HEAVY = ("pytorch_lightning", "torchvision", "wandb", "sklearn", "matplotlib")
CASES = {"--help": (["--help"], 0), "a refusal": (["strategy.k=7.5"], 2), "a cached run": ([], 0)}
SPY = f"""
import atexit, sys
atexit.register(lambda: print("LOADED", [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr))
from unlearn.cli.run import main
main()
"""


def rows() -> Iterator[Row]:
    """Measure each command, after a first run has filled the store."""
    with tempfile.TemporaryDirectory() as folder:
        start(RIVAL, folder, 0)
        for name, (arguments, status) in CASES.items():
            start(["-m", "unlearn", *arguments], folder, status)
            stderr = start(["-c", SPY, *arguments], folder, status)
            if "LOADED []" not in stderr:
                raise AssertionError(f"{name}: {stderr.splitlines()[-1]}")
            pair = compare(
                lambda arguments=arguments, status=status: spent(["-m", "unlearn", *arguments], folder, status),
                lambda: spent(RIVAL, folder, 0),
            )
            wall = compare(
                lambda arguments=arguments, status=status: start(["-m", "unlearn", *arguments], folder, status),
                lambda: start(RIVAL, folder, 0),
            )
            words = "import torch, hydra", 1e3 * pair.ours, 1e3 * pair.rival, "ms", 1 / pair.ratio, 1.3
            note = f"{1 / wall.ratio:.2f} by the clock: {wall.ours:.2f} s and {wall.rival:.2f} s"
            yield Row(name, *words, at_most=True, clock="cpu", note=note)


def spent(arguments: list[str], folder: str, status: int) -> float:
    """Run to the end; returns the processor seconds of a process and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start(arguments, folder, status)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def start(arguments: list[str], folder: str, status: int) -> str:
    """Run to the end; returns the standard error.

    Raises:
        AssertionError: The exit status is another one.
    """
    bytecode = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": f"{folder}/bytecode"}
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | bytecode
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=Path(folder), env=environment, capture_output=True, text=True, check=False)
    if done.returncode != status:
        raise AssertionError(f"{' '.join(command)}: {done.stderr}")
    return done.stderr


if __name__ == "__main__":
    run(__file__, rows())
