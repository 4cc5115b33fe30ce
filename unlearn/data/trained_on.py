"""The option `checkpoint=`: an original that was trained elsewhere, and the records that it was trained on."""

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
from unlearn.data.earlier import SPLIT, EarlierRequests, read_split
from unlearn.data.requests.records.resolve import find_list_problems, find_records

KEY = "checkpoint.trained_on"
ALL = "all"


@dataclass(frozen=True)
class TrainedOn:
    """The records that a checkpoint was trained on.

    `all` of the training part, a file that lists them, or the `split.safetensors` of the run that made the checkpoint.
    """

    listed: str = runtime(ALL)

    def records(self, dataset: Dataset) -> Tensor:
        """Indices int64 in the training part, sorted; those that earlier requests removed may be among them.

        Raises:
            DataError: the list cannot be read.
        """
        if self.listed == ALL:
            return dataset.records
        path = Path(self.listed)
        if path.suffix == SPLIT:
            return read_split(path, KEY, "forget", "retain").sort().values
        return find_records(path, dataset, KEY).index

    def check(self, dataset: Dataset, earlier: EarlierRequests) -> Iterator[Problem | str]:
        """Find the problems of the lists for a data set."""
        problems = list(earlier.check(dataset))
        if self.listed != ALL and not self.listed.endswith(SPLIT):
            problems += find_list_problems(Path(self.listed), dataset, KEY)
        yield from problems
        if problems:
            return
        used = torch.unique(torch.cat([self.records(dataset), earlier.records(dataset)]))
        remaining, test = dataset.size - len(used), dataset.test_size
        if remaining < sum(dataset.held_out_sizes) and test <= sum(dataset.split_sizes(test)):
            expected = "records that leave enough others for validation and holdout, or a larger test part"
            yield Problem(KEY, expected, f"{remaining} remaining in the training part, {test} test images")


@dataclass(frozen=True)
class Origin(ABC):
    """The origin of the original model."""


@dataclass(frozen=True)
class NoCheckpoint(Origin):
    """The original is trained in this run."""


@dataclass(frozen=True)
class CheckpointFile(Origin):
    """The original was trained elsewhere: weights of `model` from a file in any common format, or a stored model.

    It must use the normalisation of the data set (`dataset.mean`, `dataset.std`) and number the classes as the data
    set does.
    """

    file: str = MISSING  # a file, a run's folder or report, or the key of a model in the store
    # `all` of the training part, or a file that lists its records; null: those of the run that made it, if ours
    trained_on: str | None = None
    entry: str | None = None  # the state dict of the file, or the model of the report, if there are several
    forgotten: str | None = None  # an earlier name of forget.earlier, refused with that name
    accept_accuracy: bool = False  # continue even if accuracy on its training data is no better than chance

    @property
    def members(self) -> TrainedOn:
        """The records that the checkpoint was trained on."""
        return TrainedOn(self.trained_on or ALL)

    def problems(self, key: str) -> Iterator[Problem]:
        """Refuse the earlier name of `forget.earlier`."""
        if self.forgotten is not None:
            yield Problem(f"{key}.forgotten", "null: write forget.earlier=['FILE']", self.forgotten)
