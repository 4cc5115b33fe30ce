"""A task in progress: how far it is, how fast it goes, and how long it will take."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Task:
    """The progress of one task.

    Args:
        label: what is done, such as `train original (seed 0)`.
    """

    label: str
    done: float = 0.0
    total: int = 0  # 0: not known yet
    unit: str = ""  # what is counted, such as `epoch`
    item: str = ""  # what is worked on now
    values: Mapping[str, float] = field(default_factory=dict)  # numbers that the task has reached, such as its loss
    begin: float = 0.0  # where counting started; a resumed training starts at its last epoch
    started: float = field(default_factory=time.monotonic)
    updated: float = field(default_factory=time.monotonic)
    _timed_from: float = field(default_factory=time.monotonic)  # when this phase began

    def update(
        self,
        done: float,
        total: int,
        *,
        unit: str = "",
        item: str = "",
        begin: float = 0.0,
        values: Mapping[str, float] | None = None,
    ) -> None:
        """Set how far the task is; arguments as for `DetailedTick`.

        A new total, or less done than before, is a new phase of the task, which is timed from the last update.
        """
        is_new_phase = (total, begin) != (self.total, self.begin) or done < self.done
        if is_new_phase:
            self._timed_from, self.values = self.updated, {}
        self.values = self.values if values is None else values
        self.done, self.total, self.unit, self.item, self.begin = done, total, unit, item, begin
        self.updated = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the task started."""
        return self.updated - self.started

    @property
    def rate(self) -> float | None:
        """How much is done per second; None as long as nothing is done."""
        seconds = self.updated - self._timed_from
        return (self.done - self.begin) / seconds if self.done > self.begin and seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """The time until the end at the present rate; None as long as nothing is done."""
        return None if self.rate is None else max(0.0, self.total - self.done) / self.rate

    def describe(self) -> str:
        """Describe it for the console: `epoch 3/20, loss 0.41, lr 0.05, 1.2 s/epoch, 20 s left`."""
        counted = f"{self.unit} {_format_count(self.done)}/{self.total} {self.item}".strip()
        values = (f"{name} {value:.4g}" for name, value in self.values.items())
        return ", ".join([counted, *values, *self._describe_pace()])

    def _describe_pace(self) -> list[str]:
        if self.rate is None or self.seconds_left is None:
            return []
        if self.unit and self.rate < 1:
            pace = f"{1 / self.rate:.3g} s/{self.unit}"
        else:
            pace = f"{self.rate:.3g} {self.unit}s/s" if self.unit else f"{self.rate:.3g}/s"
        return [pace, f"{format_duration(self.seconds_left)} left"]


def format_duration(seconds: float) -> str:
    """Format a time, rounded: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _format_count(count: float) -> str:
    return f"{count:.0f}" if count == int(count) else f"{count:.1f}"
