"""The state of a sweep's cell, stored as `cell.json` in the cell's folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from unlearn.core.terminal import escape_control
from unlearn.report.write import write_text

NOTE = "cell.json"
SCHEMA_VERSION = 1
RUNNING, DONE, FAILED = "running", "done", "failed"


@dataclass(frozen=True)
class Note:
    """The state of one Hydra job of a multirun.

    Args:
        number: number of the job.
        overrides: its overrides on the command line.
        state: running, done or failed.
        cause: why it failed, in one line.
        built: number of artifacts that it built.
        reused: number of artifacts that it reused.
        seconds: duration of the job.
    """

    number: int
    overrides: list[str]
    state: str = RUNNING
    cause: str | None = None
    built: int = 0
    reused: int = 0
    seconds: float = 0.0

    @property
    def identity(self) -> frozenset[str]:
        """The overrides that identify the cell, without its output folder."""
        return frozenset(word for word in self.overrides if not word.startswith("paths.output="))

    def write(self, folder: Path) -> None:
        """Write the note to the folder of the cell.

        Raises:
            UnlearnError: the folder cannot be written.
        """
        write_text(json.dumps({"schema_version": SCHEMA_VERSION} | asdict(self), indent=1), folder / NOTE)

    @classmethod
    def read(cls, path: Path) -> Note:
        """Read a note.

        Raises:
            OSError, ValueError: the file cannot be read, is damaged, or has another schema version.
        """
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            if fields.pop("schema_version") != SCHEMA_VERSION:
                raise ValueError(f"expected schema version {SCHEMA_VERSION}")
            return cls(**fields)._checked()
        except (AttributeError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"not a cell's note: {error}") from error

    def _checked(self) -> Note:
        """Check the types and escape control characters: other programs can write into these folders."""
        are_texts = isinstance(self.overrides, list) and all(isinstance(word, str) for word in self.overrides)
        are_numbers = all(type(value) in (int, float) for value in (self.number, self.built, self.reused, self.seconds))
        if not (are_texts and are_numbers and isinstance(self.cause, str | None)):
            raise TypeError("a field has the wrong type")
        cause = None if self.cause is None else escape_control(self.cause)
        return replace(self, overrides=[escape_control(word) for word in self.overrides], cause=cause)
