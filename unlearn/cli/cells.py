"""The note that each cell of a sweep leaves in its folder: what it is, how far it came, why it failed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unlearn.report.write import write_text

NOTE = "cell.json"
SCHEMA_VERSION = 1
RUNNING, DONE, FAILED = "running", "done", "failed"


@dataclass(frozen=True)
class Cell:
    """One Hydra job of a multirun; `built` and `reused` count artefacts, `seconds` are those of the job."""

    number: int
    overrides: list[str]
    state: str = RUNNING
    cause: str | None = None  # one line
    built: int = 0
    reused: int = 0
    seconds: float = 0.0

    def write(self, folder: Path) -> None:
        """Put the note into the cell's folder.

        Raises:
            UnlearnError: the folder cannot be written.
        """
        write_text(json.dumps({"schema_version": SCHEMA_VERSION} | asdict(self), indent=1), folder / NOTE)


def read(sweep: Path) -> Iterator[Cell]:
    """The notes right below a sweep's folder; what cannot be read is left out."""
    for path in sweep.glob(f"*/{NOTE}"):
        try:
            found: dict[str, Any] = json.loads(path.read_text())
            if found.pop("schema_version") == SCHEMA_VERSION:
                yield Cell(**found)
        except (OSError, ValueError, TypeError, KeyError):  # of another version, or damaged
            continue
