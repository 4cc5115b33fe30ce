"""`checkpoint=`: an original that was trained elsewhere, and what it was trained on."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from omegaconf import MISSING
from torch import Tensor

from unlearn.checks import runtime
from unlearn.data.datasets.base import Dataset
from unlearn.data.records.resolve import find_records, list_problems
from unlearn.errors import Problem

KEY = "checkpoint.trained_on"
ALL = "all"


@dataclass(frozen=True)
class TrainedOn:
    """The records that a checkpoint was trained on: `all` of the training part, or a file that lists them."""

    listed: str = runtime(ALL)

    def members(self, dataset: Dataset) -> Tensor:
        """Indices int64 of the training part, sorted."""
        return dataset.records if self.listed == ALL else find_records(Path(self.listed), dataset, KEY).index

    def check(self, dataset: Dataset) -> Iterator[Problem | str]:
        """What is wrong with the list for that data set."""
        found = [] if self.listed == ALL else list(list_problems(Path(self.listed), dataset, KEY))
        yield from found
        outside = 0 if found else dataset.size - len(self.members(dataset))
        test = dataset.test_size
        if not found and outside < sum(dataset.aside) and test <= sum(dataset.shares_of(test)):
            expected = "records that leave validation and holdout to the training part, or a larger test part for both"
            yield Problem(KEY, expected, f"{outside} left in the training part, {test} images for the test")


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
