"""Write training curves to CSV files."""

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
    """Writes one CSV file per stage to `<output>/curves`."""

    @contextmanager
    def open(self, job: Job) -> Iterator[Log]:
        yield lambda outcome, _: self._write(curves(outcome), job.folder / "curves")

    def _write(self, curves_by_name: Mapping[str, Curve], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, curve in curves_by_name.items():
            columns = list(dict.fromkeys(column for row in curve for column in row))
            with (folder / f"{name}.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows(curve)
