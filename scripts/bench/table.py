"""The table in which all benches print; run as a script it runs every one of them: `make bench`.

A bench is a file beside this one with a generator `rows()` of `Row`s, which ends

    if __name__ == "__main__":
        run(__file__, rows())

so that `python scripts/bench/NAME.py` prints the header and each row as it comes, and leaves both in
build/bench/NAME.json, of which `make performance` makes docs/performance.md. All of them take twenty minutes on an idle
machine, `grid` a third of that; MNIST=folder, as torchvision reads it, adds rows that need it.

Both sides of a row are timed in turn, by `compare`, after their results were found equal. A row with `at` is a point of
a curve: rows of one `chart` are a drawing, of which CHARTS in scripts/docs/performance.py has the title.
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
    """One line: medians of both sides, and of their ratio."""

    name: str
    against: str  # the rival, in a few words
    ours: float
    rival: float
    unit: str  # of both
    ratio: float  # how many times better ours is; with `at_most`, ours over the rival's
    goal: float | None = None  # which the ratio reaches, or with `at_most` stays under
    at_most: bool = False
    n: int = REPETITIONS
    clock: str = "wall"  # or "cpu": the process's own time, where one thread does it all; "": nothing was timed
    note: str = ""
    chart: str = ""
    at: float | None = None  # where it stands in the chart
    limit: float | None = None  # in the same unit: what no way could do without, measured as well

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
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
    """Three digits or more."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


class Pair(NamedTuple):
    """Medians of both sides, and of how many times longer the rival took."""

    ours: float
    rival: float
    ratio: float


def compare(
    ours: Callable[[], Any], rival: Callable[[], Any], n: int = REPETITIONS, clock: Clock = time.perf_counter
) -> Pair:
    """Seconds of two calls, `n` times in turn; a call that returns a float has timed itself.

    By `time.process_time` where one thread does all the work, so that others on the machine count little.
    """
    pairs = [(seconds(ours, clock), seconds(rival, clock)) for _ in range(n)]
    mine, theirs = (median(column) for column in zip(*pairs, strict=True))
    return Pair(mine, theirs, median(b / a for a, b in pairs))


def seconds(call: Callable[[], Any], clock: Clock = time.perf_counter) -> float:
    """What a call takes by a clock, or what it says itself."""
    start = clock()
    said = call()
    return said if type(said) is float else clock() - start


def extra_memory(work: Callable[[], Any]) -> float:
    """How many MB more than before are resident at the worst moment of a call (Linux with glibc)."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # what was freed before would be taken again without being seen
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    except OSError:
        sys.stderr.write("the high-water mark cannot be reset: an earlier peak hides what is taken now\n")
    before = _resident("VmRSS")
    work()
    return max(0.0, _resident("VmHWM") - before)


def _resident(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(name)) * 1024 / MB


def header() -> dict[str, str]:
    """What the numbers hang on."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    allocator = [f"{name}={value}" for name, value in os.environ.items() if name.startswith(("MALLOC_", "LD_PRELOAD"))]
    return {
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}",
        "processor": names[0].split(":")[1].strip() if names else platform.machine(),
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "allocator": " ".join(allocator) or "as it comes",
        "date": time.strftime("%Y-%m-%d"),
    }


def run(file: str, rows: Iterable[Row]) -> None:
    """Print a bench's rows on one thread, and keep them."""
    torch.set_num_threads(1)
    head, name = header(), Path(file).stem
    kept = OUT / f"{name}.json"
    kept.unlink(missing_ok=True)  # one that fails leaves no old figures
    print(f"\n{name}: " + ", ".join(f"{key} {value}" for key, value in head.items() if key not in {"versions", "date"}))
    print(head["versions"])
    columns = NUMBERS.format("ours", "rival", "", "ratio", "goal", "n", "")
    print(f"{'':<{CASE}} {columns}".rstrip(), flush=True)
    done = []
    for row in rows:
        print(row, flush=True)
        done.append(asdict(row))
    OUT.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps({"header": head, "rows": done}, indent=1) + "\n")


def main() -> int:
    """Run every bench in a process of its own; one that fails or leaves nothing is an error, after the others. A goal
    that is missed is none: it is told in its row."""
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
