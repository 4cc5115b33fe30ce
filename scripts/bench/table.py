"""The table that all benches print. As a script, this file runs every bench: `make bench`.

A bench is a file in this folder with a generator `rows()` of `Row`s, which ends

    if __name__ == "__main__":
        run(__file__, rows())

so that `python scripts/bench/NAME.py` prints the header and each row as soon as it is measured, and writes both to
build/bench/NAME.json. `make performance` writes docs/performance.md from these files. All benches take twenty minutes
on an idle machine, `grid` a third of that. MNIST=folder, as torchvision reads it, adds rows that need it.

`compare` times both sides of a row in turn; a bench checks first that their results are equal. A row with `at` is a
point of a curve. Rows with the same `chart` make one plot; CHARTS in scripts/docs/performance.py has its title.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch

OUT = Path(__file__).resolve().parents[2] / "build" / "bench"
REPETITIONS = 5
MB = 2**20
CASE, NUMBERS = 44, "{:>10} {:>10}  {:<9} {:>7} {:>8} {:>2}  {}"
Clock = Callable[[], float]


@dataclass(frozen=True)
class Row:
    """One line of the table: medians of both sides, and of their ratio."""

    name: str
    against: str  # the rival, in a few words
    ours: float
    rival: float
    unit: str  # of both
    ratio: float  # how many times better ours is; with `at_most`, ours over the rival's
    goal: float | None = None  # the ratio must reach it, or with `at_most` stay below
    at_most: bool = False
    n: int = REPETITIONS
    clock: str = "wall"  # or "cpu": the process's own time, if one thread does everything; "": nothing was timed
    note: str = ""
    chart: str = ""
    at: float | None = None  # the position in the chart
    limit: float | None = None  # in the same unit: work that every method must do, also measured

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal."""
        if self.goal is None:
            return None
        return self.ratio <= self.goal if self.at_most else self.ratio >= self.goal

    def __str__(self) -> str:
        goal = "" if self.goal is None else f"{'≤' if self.at_most else '≥'} {self.goal:g}"
        missed = "" if self.met in {None, True} else "MISSED "
        timed = f"{self.unit} {self.clock}".strip()
        words = [*([f"{self.chart} at {self.at:g}"] if self.at is not None else []), self.name]
        against = f"{missed}against {self.against}{'; ' * bool(self.note)}{self.note}"
        numbers = (short(self.ours), short(self.rival), timed, f"{self.ratio:.2f}", goal, self.n, against)
        return f"{', '.join(words):<{CASE}} " + NUMBERS.format(*numbers)


def short(value: float) -> str:
    """Format with at least three digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


class Pair(NamedTuple):
    """Medians of both sides, and of the ratio of the rival's time to ours."""

    ours: float
    rival: float
    ratio: float


def compare(
    ours: Callable[[], Any], rival: Callable[[], Any], n: int = REPETITIONS, clock: Clock = time.perf_counter
) -> Pair:
    """Time two calls in turn.

    Args:
        ours: A call; if it returns a float, these are its seconds.
        rival: Likewise.
        n: The number of repetitions.
        clock: `time.process_time` if one thread does all the work, so that other load on the machine matters little.
    """
    pairs = [(seconds(ours, clock), seconds(rival, clock)) for _ in range(n)]
    mine, theirs = (median(column) for column in zip(*pairs, strict=True))
    return Pair(mine, theirs, median(b / a for a, b in pairs))


def seconds(call: Callable[[], Any], clock: Clock = time.perf_counter) -> float:
    """Return the seconds of a call by a clock, or the float that it returns."""
    start = clock()
    result = call()
    return result if type(result) is float else clock() - start


def extra_memory(work: Callable[[], Any]) -> float:
    """Return how many MB a call adds to the resident memory at its peak (Linux with glibc)."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # else memory that was freed before is reused unnoticed
    try:
        Path("/proc/self/clear_refs").write_text("5")  # reset the peak
    except OSError:
        sys.stderr.write("the peak cannot be reset: an earlier peak hides what this call takes\n")
    before = _resident("VmRSS")
    work()
    return max(0.0, _resident("VmHWM") - before)


def _resident(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(name)) * 1024 / MB


def header() -> dict[str, str]:
    """Return the conditions of the measurement."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    allocator = [f"{name}={value}" for name, value in os.environ.items() if name.startswith(("MALLOC_", "LD_PRELOAD"))]
    return {
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}",
        "processor": names[0].split(":")[1].strip() if names else platform.machine(),
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "allocator": " ".join(allocator) or "default",
        "date": time.strftime("%Y-%m-%d"),
    }


def run(file: str, rows: Iterable[Row]) -> None:
    """Measure a bench's rows on one thread, print them, and write them to a file."""
    torch.set_num_threads(1)
    head, name = header(), Path(file).stem
    path = OUT / f"{name}.json"
    path.unlink(missing_ok=True)  # so that a bench that fails leaves no old results
    print(f"\n{name}: " + ", ".join(f"{key} {value}" for key, value in head.items() if key not in {"versions", "date"}))
    print(head["versions"])
    columns = NUMBERS.format("ours", "rival", "", "ratio", "goal", "n", "")
    print(f"{'':<{CASE}} {columns}".rstrip(), flush=True)
    done = []
    for row in rows:
        print(row, flush=True)
        done.append(asdict(row))
    OUT.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"header": head, "rows": done}, indent=1) + "\n")


def main() -> int:
    """Run every bench in a process of its own; returns 1 if a bench failed or wrote nothing.

    A missed goal is no failure; the row shows it.
    """
    here = Path(__file__)
    scripts = sorted(path for path in here.parent.glob("*.py") if path != here)
    failed = [
        path.name
        for path in scripts
        if subprocess.run([sys.executable, path], check=False).returncode or not (OUT / f"{path.stem}.json").exists()
    ]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
