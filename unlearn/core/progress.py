"""What a user sees while stages run: bars on a terminal, and one plain line per finished stage."""

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

SELDOM = 30.0  # seconds between lines about one piece of work
Tick = Callable[[int, int], None]  # told (done, total) as work goes on
SIMPLER = {"±": "+-", "×": "x", "–": "-", "−": "-", "→": "->", "…": "...", "·": ".", "\u00a0": " ", "─": "-"}
_live: list[Any] = []  # rich's Progress: a process can have one, and whoever comes second adds a bar to it


def printable(text: str) -> str:
    """`text` with its control and direction characters written out (`\\x1b`): names of options, files and classes come
    from others, and a terminal would obey them. Line ends and tabs stay."""
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" or not _commands(c) else ascii(c)[1:-1] for c in text)


def _commands(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")


class _Output(io.FileIO):
    """A stream whose reader may leave (`unlearn ... | head`): what is written then goes nowhere, and nothing fails."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return len(data)


def harden_output() -> None:
    """Make standard output and error take every text and outlive their reader, in this process.

    Letters that the terminal's encoding lacks are replaced by simpler ones. A stream that a test put there is left.
    """
    codecs.register_error("simpler", _simpler)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        buffer = getattr(stream, "buffer", None)
        raw = getattr(buffer, "raw", buffer)  # PYTHONUNBUFFERED leaves no buffer
        if type(raw) is io.FileIO:
            stream.flush()
            output = io.BufferedWriter(_Output(raw.fileno(), "wb", closefd=False))
            by_line = name == "stderr" or stream.line_buffering or stream.write_through
            made = io.TextIOWrapper(output, stream.encoding, "simpler", line_buffering=by_line)
            setattr(sys, name, made)


def _simpler(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    return "".join(SIMPLER.get(letter, "?") for letter in text), error.end


class Stopped(SystemExit):
    """A signal ends the process, with the exit status that shells know."""


def stop(number: int, _: object) -> NoReturn:
    """End the process on a signal, by way of all clean-up.

    Raises:
        Stopped: always.
    """
    name = signal.Signals(number).name
    print(f"unlearn: stopped by {name}; the same command goes on from here", file=sys.stderr, flush=True)
    raise Stopped(128 + number)


class Console:
    """Progress on `stream` (default: standard error), so that standard output holds the result alone.

    `bars`: whether one may be drawn; processes that share a terminal would draw over one another.
    """

    def __init__(self, stream: TextIO | None = None, bars: bool = True) -> None:
        self.stream = stream or sys.stderr
        self.bars = bars and self.stream.isatty()

    def say(self, text: str) -> None:
        """One line, above the bars if there are any."""
        text = printable(text)
        if _live:
            _live[0].console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=self.stream, flush=True)

    def done(self, label: str, reused: bool, seconds: float) -> None:
        """A stage is there."""
        self.say(f"  {label:<28} " + ("reused" if reused else f"built {seconds:8.1f} s"))

    @contextmanager
    def working(self, label: str | None) -> Iterator[Tick]:
        """One piece of work; yields `tick(done, total)`. A bar, or a line now and then; nothing without a label."""
        if label is None:
            yield lambda done, total: None
            return
        if not self.bars:
            yield _Seldom(label, self.say).tick
            return
        with self._bars() as bars:
            task = bars.add_task(label, total=1)
            try:
                yield lambda done, total: bars.update(task, completed=done, total=total)
            finally:
                bars.remove_task(task)

    @contextmanager
    def overall(self, total: int) -> Iterator[Callable[[int, int, int], None]]:
        """Progress over the cells of a sweep; yields `show(done, reused, failed)`.

        A bar on a terminal, above that of the stage at work; else a line whenever another cell has ended.
        """
        if not self.stream.isatty():
            yield _Lines(total, self.say).show
            return
        with self._bars() as bars:
            task = bars.add_task(f"{total} cells", total=total)
            yield lambda done, reused, failed: bars.update(
                task, completed=done + failed, description=f"cells: {_told(done, reused, failed)}"
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
        # Standard output that goes elsewhere must go on doing so.
        terminal = Terminal(file=self.stream)
        with Progress(*columns, console=terminal, transient=True, redirect_stdout=sys.stdout.isatty()) as bars:
            _live.append(bars)
            try:
                yield bars
            finally:
                _live.clear()


class _Seldom:
    """A piece of work where no bar can be drawn: logs of a cluster show that it goes on."""

    def __init__(self, label: str, say: Callable[[str], None]) -> None:
        self.label = label
        self.say = say
        self.told = time.monotonic()

    def tick(self, done: int, total: int) -> None:
        if time.monotonic() - self.told >= SELDOM:
            self.told = time.monotonic()
            self.say(f"  {self.label:<28} {done}/{total}")


class _Lines:
    """The overall progress where there is no terminal."""

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
        rest = f"; about {duration(left)} left" if left else ""
        self.say(f"cells: {self.ended} of {self.total}, {_told(done, reused, failed)}{rest}")


def _told(done: int, reused: int, failed: int) -> str:
    parts = (f"{done} done", f"{reused} of them reused" if reused else "", f"{failed} failed" if failed else "")
    return ", ".join(part for part in parts if part)


def duration(seconds: float) -> str:
    """Rounded for reading: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
