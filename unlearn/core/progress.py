"""Progress output: bars on a terminal, plain lines elsewhere, and events for programs."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn, Protocol, TextIO, TypeVar

from unlearn.core.events import EventLog, StageEvents
from unlearn.core.progress_lines import SweepLines, TaskLines, format_counts
from unlearn.core.task import Task
from unlearn.core.terminal import escape_control

LARGE = 2000  # files; reading fewer is not worth a line
Tick = Callable[[int, int], None]  # a progress callback: tick(done, total)
Show = Callable[[Task], None]  # shows the progress of a task
_live: list[Any] = []  # rich's Progress: a process can have only one; further tasks add their bars to it


class DetailedTick(Protocol):
    """A progress callback that also takes what is counted, what is worked on, and numbers such as the loss."""

    def __call__(
        self,
        done: float,
        total: int,
        /,
        *,
        unit: str = "",
        item: str = "",
        begin: float = 0.0,
        values: Mapping[str, float] | None = None,
    ) -> None:
        """Report progress.

        Args:
            done: how much is done; fractions are allowed.
            total: how much there is to do.
            unit: what is counted, such as `epoch`.
            item: what is worked on now.
            begin: `done` when this process began: not 0 after an interruption.
            values: numbers that the task has reached, such as its loss; None: as before.
        """


def ignore_tick(done: float, total: int, /, **details: Any) -> None:
    """Do nothing: the progress callback of a task that nobody watches."""


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
        events: where to write events; None: nowhere.
    """

    def __init__(self, stream: TextIO | None = None, bars: bool = True, events: EventLog | None = None) -> None:
        self.stream = stream or sys.stderr
        self.bars = bars and self.stream.isatty()
        self.events = events or EventLog()

    def say(self, text: str) -> None:
        """Print one line, above the bars if there are any."""
        text = escape_control(text)
        if _live:
            _live[0].console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=self.stream, flush=True)

    def done(self, label: str, reused: bool, seconds: float, key: str = "") -> None:
        """Print that a stage is finished.

        Args:
            label: the stage.
            reused: whether its artifact was already in the store.
            seconds: how long the build took.
            key: the key of its artifact; empty for work that is no stage.
        """
        self.say(f"  {label:<28} " + ("reused" if reused else f"built {seconds:8.1f} s"))
        if reused:
            self.events.write("stage_reused", stage=label, key=key)
        else:
            self.events.write("stage_built", stage=label, key=key, seconds=round(seconds, 3))

    @contextmanager
    def working(self, label: str | None, key: str = "") -> Iterator[DetailedTick]:
        """Show the progress of one task: a bar, or a line after 2 and then every 30 seconds; nothing without a label.

        Args:
            label: the task.
            key: the key of the artifact that it builds; empty for work that is no stage.

        Yields:
            The callback to call as the task proceeds.
        """
        if label is None:
            yield ignore_tick
            return
        self.events.write("stage_begun", stage=label, key=key)
        stage_events = StageEvents(self.events, key)
        try:
            with self.showing(label) as show:
                yield _make_tick(Task(label), show, stage_events.write_progress)
        except BaseException as error:
            self.events.write("stage_failed", stage=label, key=key, error=type(error).__name__)
            raise

    @contextmanager
    def showing(self, label: str) -> Iterator[Show]:
        """Show one task until the block ends, without events; yields the function to show how far it is."""
        if not self.bars:
            yield TaskLines(self.say).show
            return
        with self._bars() as bars:
            bar = bars.add_task(label, total=None, text="")
            try:
                yield lambda task: bars.update(bar, completed=task.done, total=task.total, text=task.describe())
            finally:
                bars.remove_task(bar)

    @contextmanager
    def overall(self, total: int) -> Iterator[Callable[[int, int, int], None]]:
        """Show the progress over the cells of a sweep: a bar on a terminal, else a line for each cell that ends.

        Yields:
            `show(done, reused, failed)`, to be called with the counts so far.
        """
        task = Task("cells", total=total)
        if not self.stream.isatty():
            yield SweepLines(task, self.say).show
            return
        with self._bars() as bars:
            bar = bars.add_task(f"{total} cells", total=total, text="")

            def show(done: int, reused: int, failed: int) -> None:
                task.update(done + failed, total)
                label = f"cells: {format_counts(done, reused, failed)}"
                bars.update(bar, completed=task.done, description=label, text=task.describe())

            yield show

    @contextmanager
    def _bars(self) -> Iterator[Any]:
        if _live:
            yield _live[0]
            return
        from rich.console import Console as Terminal
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn("  {task.description:<28}"),
            BarColumn(20),
            TimeElapsedColumn(),
            TextColumn("{task.fields[text]}", markup=False),
        )
        # Standard output that is redirected to a file must not be redirected to the bars.
        terminal = Terminal(file=self.stream)
        with Progress(*columns, console=terminal, transient=True, redirect_stdout=sys.stdout.isatty()) as bars:
            _live.append(bars)
            try:
                yield bars
            finally:
                _live.clear()


_consoles: list[Console] = []  # of this process, the last one counts; a library call has none


@contextmanager
def current_console(console: Console) -> Iterator[Console]:
    """Make `reading` print to a console while the block runs."""
    _consoles.append(console)
    try:
        yield console
    finally:
        _consoles.pop()


@contextmanager
def reading(count: int) -> Iterator[DetailedTick]:
    """Show that a large number of images is read, if this process is a command.

    Args:
        count: the number of images.

    Yields:
        The callback to call as reading proceeds.
    """
    if not _consoles or count < LARGE:
        yield ignore_tick
        return
    console, label = _consoles[-1], f"reading {count:,} images"
    console.say(f"  {label}")
    with console.showing(label) as show:
        yield _make_tick(Task(label), show)


T = TypeVar("T")


def with_ticks(items: Iterable[T], total: int, tick: DetailedTick) -> Iterator[T]:
    """Yield the items, and report after each how many there were."""
    for number, item in enumerate(items, start=1):
        yield item
        tick(number, total)


def _make_tick(task: Task, *shows: Show) -> DetailedTick:
    def tick(done: float, total: int, /, **details: Any) -> None:
        task.update(done, total, **details)
        for show in shows:
            show(task)

    return tick
