"""Where training curves go besides the store."""

from __future__ import annotations

import csv
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from unlearn.types import Curve


@dataclass(frozen=True)
class Logger(ABC):
    """Receives what a run has, once it is finished; reused stages bring their curves with them."""

    @abstractmethod
    def log(self, curves: Mapping[str, Curve], folder: Path) -> None:
        """Take the curve of each stage, by the stage's name in the report."""


@dataclass(frozen=True)
class Csv(Logger):
    """One file per stage under `<output>/curves`."""

    def log(self, curves: Mapping[str, Curve], folder: Path) -> None:
        target = folder / "curves"
        target.mkdir(parents=True, exist_ok=True)
        for name, curve in curves.items():
            columns = list(dict.fromkeys(column for row in curve for column in row))
            with (target / f"{name}.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows(curve)


@dataclass(frozen=True)
class Silent(Logger):
    """Only the store keeps the curves."""

    def log(self, curves: Mapping[str, Curve], folder: Path) -> None:
        del curves, folder
