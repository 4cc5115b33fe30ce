"""Progress as plain lines, where no bar can be drawn: in files, and in the logs of a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable

from unlearn.core.task import Task, format_duration

FIRST_LINE = 2.0  # seconds until the first line about a task
LINE_INTERVAL = 30.0  # seconds between two lines about one task


class TaskLines:
    """Prints the progress of a task as lines where no bar can be drawn, as in the logs of a cluster."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.due_at = time.monotonic() + FIRST_LINE

    def show(self, task: Task) -> None:
        """Print a line if one is due."""
        if time.monotonic() >= self.due_at:
            self.due_at = time.monotonic() + LINE_INTERVAL
            self.say(f"  {task.label:<28} {task.describe()}")


class SweepLines:
    """Prints the progress of a sweep as lines where there is no terminal."""

    def __init__(self, task: Task, say: Callable[[str], None]) -> None:
        self.task = task
        self.say = say

    def show(self, done: int, reused: int, failed: int) -> None:
        """Print a line if another cell has ended."""
        if done + failed <= self.task.done:
            return
        self.task.update(done + failed, self.task.total)
        left = self.task.seconds_left
        remaining = f"; about {format_duration(left)} left" if left else ""
        counts = format_counts(done, reused, failed)
        self.say(f"cells: {self.task.done:.0f} of {self.task.total}, {counts}{remaining}")


def format_counts(done: int, reused: int, failed: int) -> str:
    """Format the counts of cells: `3 done, 1 of them reused, 1 failed`."""
    parts = (f"{done} done", f"{reused} of them reused" if reused else "", f"{failed} failed" if failed else "")
    return ", ".join(part for part in parts if part)
