"""What follows a run, and what it is told."""

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
from unlearn.report.assemble import stages

Log = Callable[[Outcome, dict[str, Any]], None]  # takes a finished run and its report


@dataclass(frozen=True)
class Job:
    """What is known of a run before anything of it is computed."""

    config: RunConfig
    composed: Mapping[str, Any]  # the resolved config as plain JSON
    choices: Mapping[str, str]  # the option taken in each group
    group: str | None  # what it shares with the other runs of its question
    folder: Path  # of its output


@dataclass(frozen=True)
class Logger(ABC):
    """Follows a run from before its first stage to its report; reused stages bring their curves with them."""

    @abstractmethod
    def open(self, job: Job) -> AbstractContextManager[Log]:
        """Around the run; yields what takes its result, and learns of a failure by the exception that passes."""


def curves(outcome: Outcome) -> dict[str, Curve]:
    """What each stage's training went through, by its name in the report; those that train nothing are left out."""
    found = {name: stage.curve(outcome.context) for name, stage in stages(outcome.plan).items()}
    return {name: curve for name, curve in found.items() if curve}
