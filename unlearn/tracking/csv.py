"""Curves as files."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from unlearn.core.types import Curve
from unlearn.tracking.base import Job, Log, Logger, curves


@dataclass(frozen=True)
class Csv(Logger):
    """One file per stage under `<output>/curves`."""

    @contextmanager
    def open(self, job: Job) -> Iterator[Log]:
        yield lambda outcome, _: self._write(curves(outcome), job.folder / "curves")

    def _write(self, found: Mapping[str, Curve], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, curve in found.items():
            columns = list(dict.fromkeys(column for row in curve for column in row))
            with (folder / f"{name}.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows(curve)
