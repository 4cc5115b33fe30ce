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
from unlearn.data.requests.records.resolve import find_list_problems, find_records

KEY = "checkpoint.trained_on"
FORGOTTEN = "checkpoint.forgotten"
ALL = "all"


@dataclass(frozen=True)
class TrainedOn:
    """The records that a checkpoint was trained on: `all` of the training part, or a file that lists them."""

    listed: str = runtime(ALL)
    forgotten: str | None = runtime(None)  # a file that lists records that earlier requests removed

    def kept_out(self, dataset: Dataset) -> Tensor:
        """Indices int64 of records in no subset, because an earlier model was trained on them; sorted."""
        if self.forgotten is None:
            return torch.empty(0, dtype=torch.int64)
        return find_records(Path(self.forgotten), dataset, FORGOTTEN).index

    def members(self, dataset: Dataset) -> Tensor:
        """Indices int64 of D in the training part, sorted."""
        return dataset.records if self.listed == ALL else find_records(Path(self.listed), dataset, KEY).index

    def check(self, dataset: Dataset) -> Iterator[Problem | str]:
        """Find the problems of the lists for a data set."""
        problems = [] if self.listed == ALL else list(find_list_problems(Path(self.listed), dataset, KEY))
        problems = problems or list(self._check_forgotten(dataset))
        yield from problems
        if problems:
            return
        remaining, test = dataset.size - len(self.members(dataset)) - len(self.kept_out(dataset)), dataset.test_size
        if remaining < sum(dataset.held_out_sizes) and test <= sum(dataset.split_sizes(test)):
            expected = "records that leave enough others for validation and holdout, or a larger test part"
            yield Problem(KEY, expected, f"{remaining} remaining in the training part, {test} test images")

    def _check_forgotten(self, dataset: Dataset) -> Iterator[Problem | str]:
        """Find the problems of the list of records that were forgotten earlier."""
        if self.forgotten is None:
            return
        path = Path(self.forgotten)
        problems = list(find_list_problems(path, dataset, FORGOTTEN))
        yield from problems
        if not problems:
            records = find_records(path, dataset, FORGOTTEN)
            in_both = torch.isin(records.index, self.members(dataset)).nonzero()[:, 0].tolist()
            if in_both:
                yield Problem(FORGOTTEN, f"records that are not in {KEY}", records.format_records(in_both))


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

    file: str = MISSING  # a file, the key of a model in the store, or a report
    trained_on: str = MISSING  # `all` of the training part, or a file that lists its records
    entry: str | None = None  # the state dict of the file, or the model of the report, if there are several
    forgotten: str | None = None  # a file that lists records removed by earlier requests: they are in no subset
    accept_accuracy: bool = False  # continue even if accuracy on its training data is no better than chance

    @property
    def members(self) -> TrainedOn:
        """The records that the checkpoint was trained on."""
        return TrainedOn(self.trained_on, self.forgotten)
