"""What a user sees while stages run: a bar on a terminal, and one plain line per finished stage."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn, TextIO

STOPPED = 128 + signal.SIGTERM  # the exit status that shells know

Tick = Callable[[int, int], None]  # told (done, total) as work goes on


def stop(*_: object) -> NoReturn:
    """End the process on SIGTERM, by way of all clean-up."""
    print("unlearn: stopped by SIGTERM; the same command goes on from here", file=sys.stderr, flush=True)
    raise SystemExit(STOPPED)


class Console:
    """Progress on `stream` (default: standard error), so that standard output holds the result alone.

    `bars`: whether one may be drawn; processes that share a terminal would draw over one another.
    """

    def __init__(self, stream: TextIO | None = None, bars: bool = True) -> None:
        self.stream = stream or sys.stderr
        self.bars = bars and self.stream.isatty()

    def say(self, text: str) -> None:
        """One line."""
        print(text, file=self.stream, flush=True)

    def done(self, label: str, reused: bool, seconds: float) -> None:
        """A stage is there."""
        self.say(f"  {label:<28} " + ("reused" if reused else f"built {seconds:8.1f} s"))

    @contextmanager
    def working(self, label: str | None) -> Iterator[Tick]:
        """A bar for one piece of work; yields `tick(done, total)`. Nothing is drawn without a label or bars."""
        if label is None or not self.bars:
            yield lambda done, total: None
            return
        from rich.console import Console as Terminal
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (
            TextColumn("  {task.description:<28}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Terminal(file=self.stream), transient=True) as progress:
            task = progress.add_task(label, total=1)
            yield lambda done, total: progress.update(task, completed=done, total=total)
