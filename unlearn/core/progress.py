"""Progress output: bars on a terminal, and one plain line per finished stage."""

from __future__ import annotations

import codecs
import io
import os
import signal
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TextIO

LINE_INTERVAL = 30.0  # seconds between two lines about one task
Tick = Callable[[int, int], None]  # a progress callback: tick(done, total)
ASCII_SUBSTITUTES = {"±": "+-", "×": "x", "–": "-", "−": "-", "→": "->", "…": "...", "·": ".", "\u00a0": " ", "─": "-"}
_live: list[Any] = []  # rich's Progress: a process can have only one; further tasks add their bars to it


def escape_control(text: str) -> str:
    """Escape control and direction characters (`\\x1b`), except line ends and tabs.

    Names of options, files and classes come from others, and a terminal would execute what they contain.
    """
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" or not _is_control(c) else ascii(c)[1:-1] for c in text)


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")


class _Output(io.FileIO):
    """A stream that discards output once its reader has closed the pipe (`unlearn ... | head`), without an error."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            return len(data)


def harden_output() -> None:
    """Make standard output and error of this process accept every text, and a pipe that its reader closes.

    Characters that the terminal's encoding lacks are replaced by ASCII ones. Streams that a test replaced stay as they
    are.
    """
    codecs.register_error("ascii_substitutes", _substitute)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        buffer = getattr(stream, "buffer", None)
        raw = getattr(buffer, "raw", buffer)  # PYTHONUNBUFFERED leaves no buffer
        if type(raw) is io.FileIO:
            stream.flush()
            output = io.BufferedWriter(_Output(raw.fileno(), "wb", closefd=False))
            by_line = name == "stderr" or stream.line_buffering or stream.write_through
            wrapper = io.TextIOWrapper(output, stream.encoding, "ascii_substitutes", line_buffering=by_line)
            setattr(sys, name, wrapper)


def _substitute(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    return "".join(ASCII_SUBSTITUTES.get(character, "?") for character in text), error.end


class Stopped(SystemExit):
    """Raised when a signal ends the process; its exit status is 128 + the signal's number, as shells expect."""


def exit_on_signal(number: int, _: object) -> NoReturn:
    """Signal handler that ends the process and lets all clean-up run.

    Args:
        number: the number of the signal.

    Raises:
        Stopped: always.
    """
    name = signal.Signals(number).name
    print(f"unlearn: stopped by {name}; run the same command again to resume", file=sys.stderr, flush=True)
    raise Stopped(128 + number)


class Console:
    """Prints progress, by default to standard error, so that standard output holds only the result.

    Args:
        stream: where to print; None: standard error.
        bars: whether bars may be drawn; processes that share a terminal would draw over one another.
    """

    def __init__(self, stream: TextIO | None = None, bars: bool = True) -> None:
        self.stream = stream or sys.stderr
        self.bars = bars and self.stream.isatty()

    def say(self, text: str) -> None:
        """Print one line, above the bars if there are any."""
        text = escape_control(text)
        if _live:
            _live[0].console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=self.stream, flush=True)

    def done(self, label: str, reused: bool, seconds: float) -> None:
        """Print that a stage is finished.

        Args:
            label: the stage.
            reused: whether its artifact was already in the store.
            seconds: how long the build took.
        """
        self.say(f"  {label:<28} " + ("reused" if reused else f"built {seconds:8.1f} s"))

    @contextmanager
    def working(self, label: str | None) -> Iterator[Tick]:
        """Show the progress of one task: a bar, or a line every 30 seconds; nothing if `label` is None.

        Yields:
            `tick(done, total)`, to be called as the task proceeds.
        """
        if label is None:
            yield lambda done, total: None
            return
        if not self.bars:
            yield _TaskLines(label, self.say).tick
            return
        with self._bars() as bars:
            task = bars.add_task(label, total=1)
            try:
                yield lambda done, total: bars.update(task, completed=done, total=total)
            finally:
                bars.remove_task(task)

    @contextmanager
    def overall(self, total: int) -> Iterator[Callable[[int, int, int], None]]:
        """Show the progress over the cells of a sweep: a bar on a terminal, else a line for each cell that ends.

        Yields:
            `show(done, reused, failed)`, to be called with the counts so far.
        """
        if not self.stream.isatty():
            yield _SweepLines(total, self.say).show
            return
        with self._bars() as bars:
            task = bars.add_task(f"{total} cells", total=total)
            yield lambda done, reused, failed: bars.update(
                task, completed=done + failed, description=f"cells: {_format_counts(done, reused, failed)}"
            )

    @contextmanager
    def _bars(self) -> Iterator[Any]:
        if _live:
            yield _live[0]
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
        # Standard output that is redirected to a file must not be redirected to the bars.
        terminal = Terminal(file=self.stream)
        with Progress(*columns, console=terminal, transient=True, redirect_stdout=sys.stdout.isatty()) as bars:
            _live.append(bars)
            try:
                yield bars
            finally:
                _live.clear()


class _TaskLines:
    """Prints the progress of a task as lines where no bar can be drawn, as in the logs of a cluster."""

    def __init__(self, label: str, say: Callable[[str], None]) -> None:
        self.label = label
        self.say = say
        self.printed_at = time.monotonic()

    def tick(self, done: int, total: int) -> None:
        if time.monotonic() - self.printed_at >= LINE_INTERVAL:
            self.printed_at = time.monotonic()
            self.say(f"  {self.label:<28} {done}/{total}")


class _SweepLines:
    """Prints the progress of a sweep as lines where there is no terminal."""

    def __init__(self, total: int, say: Callable[[str], None]) -> None:
        self.total = total
        self.say = say
        self.start = time.monotonic()
        self.ended = 0

    def show(self, done: int, reused: int, failed: int) -> None:
        if done + failed <= self.ended:
            return
        self.ended = done + failed
        left = (time.monotonic() - self.start) / self.ended * (self.total - self.ended)
        remaining = f"; about {format_duration(left)} left" if left else ""
        self.say(f"cells: {self.ended} of {self.total}, {_format_counts(done, reused, failed)}{remaining}")


def _format_counts(done: int, reused: int, failed: int) -> str:
    parts = (f"{done} done", f"{reused} of them reused" if reused else "", f"{failed} failed" if failed else "")
    return ", ".join(part for part in parts if part)


def format_duration(seconds: float) -> str:
    """Format a time, rounded: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
