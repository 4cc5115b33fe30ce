"""`checkpoint=`: an original that was trained elsewhere, and what it was trained on."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import MISSING
from torch import Tensor

from unlearn.checks import runtime
from unlearn.data.datasets.base import Dataset
from unlearn.data.records import find_records, list_problems, records_hash
from unlearn.errors import Problem

KEY = "checkpoint.trained_on"
ALL = "all"


@dataclass(frozen=True)
class TrainedOn:
    """The records that a checkpoint was trained on: `all` of the training part, or a file that lists them."""

    listed: str = runtime(ALL)

    def members(self, dataset: Dataset) -> Tensor:
        """Indices int64 of the training part, sorted."""
        return dataset.records if self.listed == ALL else find_records(Path(self.listed), dataset, KEY)

    def check(self, dataset: Dataset) -> Iterator[Problem | str]:
        """What is wrong with the list for that data set."""
        if self.listed != ALL:
            yield from list_problems(Path(self.listed), dataset, KEY)

    def identity(self) -> dict[str, Any]:
        """What the key holds: who is listed."""
        return {"members": ALL if self.listed == ALL else records_hash(Path(self.listed), KEY)}


@dataclass(frozen=True)
class Origin(ABC):
    """Where the original comes from."""


@dataclass(frozen=True)
class NoCheckpoint(Origin):
    """It is trained here."""


@dataclass(frozen=True)
class CheckpointFile(Origin):
    """It was trained elsewhere: the weights of `model`, as safetensors or as a state dict that torch saved.

    Its normalisation is the data set's (`dataset.mean`, `dataset.std`), and its classes are numbered likewise.
    """

    file: str = MISSING
    trained_on: str = MISSING  # `all` of the training part, or a file that lists its records

    @property
    def members(self) -> TrainedOn:
        """What it was trained on."""
        return TrainedOn(self.trained_on)
