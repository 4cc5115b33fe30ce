"""The note that each cell of a sweep leaves in its folder: what it is, how far it came, why it failed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from unlearn.core.progress import escape_control
from unlearn.report.write import write_text

NOTE = "cell.json"
SCHEMA_VERSION = 1
RUNNING, DONE, FAILED = "running", "done", "failed"


@dataclass(frozen=True)
class Note:
    """One Hydra job of a multirun; `built` and `reused` count artefacts, `seconds` are those of the job."""

    number: int
    overrides: list[str]
    state: str = RUNNING
    cause: str | None = None  # one line
    built: int = 0
    reused: int = 0
    seconds: float = 0.0

    @property
    def asked(self) -> frozenset[str]:
        """What the cell is, wherever it is written."""
        return frozenset(word for word in self.overrides if not word.startswith("paths.output="))

    def write(self, folder: Path) -> None:
        """Put the note into the cell's folder.

        Raises:
            UnlearnError: the folder cannot be written.
        """
        write_text(json.dumps({"schema_version": SCHEMA_VERSION} | asdict(self), indent=1), folder / NOTE)

    @classmethod
    def read(cls, path: Path) -> Note:
        """From its file.

        Raises:
            OSError, ValueError: it cannot be read, is damaged, or of another version.
        """
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if found.pop("schema_version") != SCHEMA_VERSION:
                raise ValueError(f"not of schema version {SCHEMA_VERSION}")
            return cls(**found)._checked()
        except (AttributeError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"not a cell's note: {error}") from error

    def _checked(self) -> Note:
        """Itself, in words that move no terminal's cursor; others write into folders too."""
        words = isinstance(self.overrides, list) and all(isinstance(word, str) for word in self.overrides)
        numbers = all(type(each) in (int, float) for each in (self.number, self.built, self.reused, self.seconds))
        if not (words and numbers and isinstance(self.cause, str | None)):
            raise TypeError("fields of other types")
        cause = None if self.cause is None else escape_control(self.cause)
        return replace(self, overrides=[escape_control(word) for word in self.overrides], cause=cause)
