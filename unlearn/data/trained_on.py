"""`checkpoint=`: an original that was trained elsewhere, and what it was trained on."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import MISSING
from torch import Tensor

from unlearn.core.errors import Problem
from unlearn.core.validation import runtime
from unlearn.data.datasets.base import Dataset
from unlearn.data.requests.records.resolve import find_records, find_list_problems

KEY = "checkpoint.trained_on"
FORGOTTEN = "checkpoint.forgotten"
ALL = "all"


@dataclass(frozen=True)
class TrainedOn:
    """The records that a checkpoint was trained on: `all` of the training part, or a file that lists them."""

    listed: str = runtime(ALL)
    forgotten: str | None = runtime(None)  # a file that lists what earlier requests removed from them

    def kept_out(self, dataset: Dataset) -> Tensor:
        """Indices int64 of records that are in no subset, since an earlier model was trained on them; sorted."""
        if self.forgotten is None:
            return torch.empty(0, dtype=torch.int64)
        return find_records(Path(self.forgotten), dataset, FORGOTTEN).index

    def members(self, dataset: Dataset) -> Tensor:
        """Indices int64 of the training part, sorted."""
        return dataset.records if self.listed == ALL else find_records(Path(self.listed), dataset, KEY).index

    def check(self, dataset: Dataset) -> Iterator[Problem | str]:
        """What is wrong with the list for that data set."""
        found = [] if self.listed == ALL else list(find_list_problems(Path(self.listed), dataset, KEY))
        found += self._check_forgotten(dataset) if not found else []
        yield from found
        outside = 0 if found else dataset.size - len(self.members(dataset)) - len(self.kept_out(dataset))
        test = dataset.test_size
        if not found and outside < sum(dataset.aside) and test <= sum(dataset.split_sizes(test)):
            expected = "records that leave validation and holdout to the training part, or a larger test part for both"
            yield Problem(KEY, expected, f"{outside} left in the training part, {test} images for the test")

    def _check_forgotten(self, dataset: Dataset) -> Iterator[Problem | str]:
        """What is wrong with the list of those forgotten earlier."""
        if self.forgotten is None:
            return
        path = Path(self.forgotten)
        found = list(find_list_problems(path, dataset, FORGOTTEN))
        yield from found
        if not found:
            listed = find_records(path, dataset, FORGOTTEN)
            both = torch.isin(listed.index, self.members(dataset)).nonzero()[:, 0].tolist()
            if both:
                yield Problem(FORGOTTEN, f"records that are not in {KEY}", listed.at(both))


@dataclass(frozen=True)
class Origin(ABC):
    """Where the original comes from."""


@dataclass(frozen=True)
class NoCheckpoint(Origin):
    """It is trained here."""


@dataclass(frozen=True)
class CheckpointFile(Origin):
    """It was trained elsewhere: the weights of `model`, from a file in any common format, or a model that we made.

    Its normalisation is the data set's (`dataset.mean`, `dataset.std`), and its classes are numbered likewise.
    """

    file: str = MISSING  # a file, the key of a model in the store, or a report
    trained_on: str = MISSING  # `all` of the training part, or a file that lists its records
    entry: str | None = None  # which state dict of the file, or model of the report, where there are several
    forgotten: str | None = None  # a file that lists records removed by earlier requests: they are in no subset
    accept_accuracy: bool = False  # go on although it is no better than chance on what it was trained on

    @property
    def members(self) -> TrainedOn:
        """What it was trained on."""
        return TrainedOn(self.trained_on, self.forgotten)
