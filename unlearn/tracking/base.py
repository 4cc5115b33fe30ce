"""The contract of loggers, which send the results of a run to files or a server."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearn.core.types import Curve
from unlearn.pipeline.config import RunConfig
from unlearn.pipeline.plan import Outcome
from unlearn.report.assemble import name_stages

Log = Callable[[Outcome, dict[str, Any]], None]  # logs a finished run and its report


@dataclass(frozen=True)
class Job:
    """A run before its computation.

    Args:
        config: its config.
        composed: the resolved config as plain JSON.
        choices: name of the selected option of each group.
        group: name shared by the runs that belong together; None if there is none.
        folder: output folder.
    """

    config: RunConfig
    composed: Mapping[str, Any]
    choices: Mapping[str, str]
    group: str | None
    folder: Path


@dataclass(frozen=True)
class Logger(ABC):
    """Logs a run. The curves of reused stages are logged, too."""

    events: bool = False  # write events.jsonl, a line for each event of the run, for programs (docs/events.md)

    @abstractmethod
    def open(self, job: Job) -> AbstractContextManager[Log]:
        """Return a context manager for the whole run, which yields the function that logs the result.

        If the run fails, the exception passes through the context manager.
        """

    def log_stream(self, job: Job, report: Mapping[str, Any]) -> None:
        """Log the report of a finished stream of requests; by default nothing, since `stream.csv` has all of it."""
        del job, report


def curves(outcome: Outcome) -> dict[str, Curve]:
    """Return the training curve of each stage by its name in the report; stages without training are left out."""
    by_name = {name: stage.curve(outcome.context) for name, stage in name_stages(outcome.plan).items()}
    return {name: curve for name, curve in by_name.items() if curve}
