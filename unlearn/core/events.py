"""The events of a run as JSON lines, for programs that watch it; docs/events.md describes them."""

from __future__ import annotations

import json
import math
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from unlearn.core.task import Task

FILE = "events.jsonl"  # in the output folder of the run
VERSION = 1  # of the format
PROGRESS_INTERVAL = 1.0  # seconds between two events about the progress of a stage

# The fields of each event, besides `time` and `event`.
EVENTS = {
    "run_begun": ("version", "unlearn", "choices", "seed", "cell"),
    "stage_begun": ("stage", "key"),
    "stage_progress": ("stage", "key", "done", "total", "unit", "item", "values", "seconds", "seconds_left"),
    "stage_built": ("stage", "key", "seconds"),
    "stage_reused": ("stage", "key"),
    "stage_failed": ("stage", "key", "error"),
    "run_done": ("built", "reused", "seconds", "verdict", "report"),
    "run_failed": ("error", "seconds"),
}


class EventLog:
    """Appends events to a file, one JSON object per line.

    A full disk ends no run: events that cannot be written are lost.

    Args:
        path: the file, which is created if need be; None: nothing is written.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        if path is not None:
            with suppress(OSError):
                path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, event: str, **fields: Any) -> None:
        """Write one event.

        Args:
            event: its name, a key of `EVENTS`.
            fields: its fields, as plain JSON; numbers that JSON lacks become null. They must not name records.
        """
        if self.path is None:
            return
        time_now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps(_finite({"time": time_now, "event": event} | fields), allow_nan=False)
        with suppress(OSError), self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


class StageEvents:
    """Writes the progress of one stage, at most once per second, and its end in any case.

    Args:
        log: where to write.
        key: the key of the stage's artifact; empty for work that is no stage.
    """

    def __init__(self, log: EventLog, key: str) -> None:
        self.log = log
        self.key = key
        self.written_at = time.monotonic()

    def write_progress(self, task: Task) -> None:
        """Write an event if one is due."""
        if task.done < task.total and time.monotonic() - self.written_at < PROGRESS_INTERVAL:
            return
        self.written_at = time.monotonic()
        self.log.write(
            "stage_progress",
            stage=task.label,
            key=self.key,
            done=task.done,
            total=task.total,
            unit=task.unit,
            item=task.item,
            values=dict(task.values),
            seconds=round(task.seconds, 3),
            seconds_left=None if task.seconds_left is None else round(task.seconds_left, 3),
        )


def _finite(value: Any) -> Any:
    """Replace infinities and NaN by None, at any depth."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
