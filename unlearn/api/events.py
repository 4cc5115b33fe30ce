"""Write the beginning and the end of a run to its event log; docs/events.md describes the events."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unlearn import __version__
from unlearn.core.events import FILE, VERSION, EventLog
from unlearn.core.progress import Stopped
from unlearn.pipeline.config import RunConfig
from unlearn.report.publishable import publishable_error


def open_event_log(config: RunConfig, folder: Path | None) -> EventLog:
    """Return the event log in the output folder of a run; one that writes nothing without `logger.events`."""
    return EventLog(folder / FILE if folder is not None and config.logger.events else None)


@dataclass
class RunEvents:
    """Writes the events of one run.

    Args:
        log: where to write.
    """

    log: EventLog
    started: float = field(default_factory=time.monotonic)

    @contextmanager
    def run(self, config: RunConfig, choices: Mapping[str, str], cell: int | None = None) -> Iterator[None]:
        """Write that a run begins and, if the block raises, that it failed.

        Args:
            config: the config of the run.
            choices: name of the selected option of each group.
            cell: the number of the cell in its sweep; None outside a sweep.
        """
        self.log.write(
            "run_begun", version=VERSION, unlearn=__version__, choices=dict(choices), seed=config.seed, cell=cell
        )
        try:
            yield
        except BaseException as error:
            self.log.write("run_failed", error=_describe(error, config), seconds=self._seconds())
            raise

    def write_done(self, built: int, reused: int, report: Mapping[str, Any] | None, path: Path | None) -> None:
        """Write that the run is done.

        Args:
            built: number of artifacts that it built.
            reused: number of artifacts that it reused.
            report: its report; None if it has none.
            path: the file of the report; None if it was not written.
        """
        answers = report["verdict"].items() if report else ()
        self.log.write(
            "run_done",
            built=built,
            reused=reused,
            seconds=self._seconds(),
            verdict={name: answer["finding"] for name, answer in answers if "finding" in answer} if report else None,
            report=str(path) if report and path else None,
        )

    def _seconds(self) -> float:
        return round(time.monotonic() - self.started, 3)


def _describe(error: BaseException, config: RunConfig) -> str:
    """The first line of an error; only its type and config key where the line may name a record."""
    if isinstance(error, Stopped) and isinstance(error.code, int):
        return f"stopped by {signal.Signals(error.code - 128).name}"
    return publishable_error(error, None, config.dataset.public)
