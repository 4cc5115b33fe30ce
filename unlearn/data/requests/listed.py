"""Requests that list their records in a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import MISSING
from torch import Tensor

from unlearn.core.errors import Problem
from unlearn.core.validation import runtime
from unlearn.data.datasets.base import Dataset
from unlearn.data.population import Candidates, Population
from unlearn.data.requests.base import Forget
from unlearn.data.requests.corrections import Corrections, find_correction_problems, find_corrections
from unlearn.data.requests.records.resolve import RecordList, find_list_problems, find_records


@dataclass(frozen=True)
class Indices(Forget):
    """A deletion request: a file that lists records of the training part, by index from 0 or, for a folder of
    images, by path (in the root, or in its training part). `data/records/read.py` describes the formats.
    """

    file: str = runtime(MISSING)  # path; keys hold the records (see Population), however they are named

    @property
    def explicit(self) -> bool:
        return True

    def requested(self, dataset: Dataset) -> Tensor:
        return self._listed(dataset).index

    def size(self, population: Population) -> int:
        return len(self.requested(population.dataset))

    def choose(self, candidates: Candidates, seed: int) -> Tensor:
        return candidates.index[torch.isin(candidates.index, self.requested(candidates.dataset))]

    def check(self, population: Population) -> Iterator[Problem | str]:
        found = list(find_list_problems(Path(self.file), population.dataset, "forget.file"))
        yield from found
        if not found:
            yield from _beyond(population, self._listed(population.dataset))

    def _listed(self, dataset: Dataset) -> RecordList:
        return find_records(Path(self.file), dataset, "forget.file")


@dataclass(frozen=True)
class Relabel(Forget):
    """Samples to be kept under other labels: those that a CSV corrects (`data/corrections.py`), or all of D whose
    label is wrong by `dataset.label_noise`.

    The original was trained on the wrong labels, retrained models are trained on all of D under the right ones; the
    forget set are the samples under the wrong labels.
    """

    relabels = True

    file: str | None = runtime(None)  # path; keys hold records and labels. null: what label noise did is undone

    @property
    def explicit(self) -> bool:
        return self.file is not None

    def requested(self, dataset: Dataset) -> Tensor:
        return super().requested(dataset) if self.file is None else self._listed(dataset).index

    def digest(self, dataset: Dataset) -> str | None:
        return None if self.file is None else self._listed(dataset).digest()

    def choose(self, candidates: Candidates, seed: int) -> Tensor:
        return candidates.mislabelled if self.file is None else self._verified(candidates)[0].index

    def corrected(self, candidates: Candidates) -> Tensor:
        if self.file is None:
            return candidates.clean
        listed, where = self._verified(candidates)
        return candidates.labels.index_put((where,), listed.right)

    def check(self, population: Population) -> Iterator[Problem | str]:
        noise = population.dataset.label_noise
        if self.file is None:
            if noise == 0:
                expected = "a share above 0, so that forget=relabel finds something to correct, or a forget.file"
                yield Problem("dataset.label_noise", expected, noise)
            return
        found = list(find_correction_problems(Path(self.file), population.dataset, "forget.file"))
        yield from found
        if not found:
            yield from _beyond(population, self._listed(population.dataset).records)

    def _listed(self, dataset: Dataset) -> Corrections:
        return find_corrections(Path(self.file or ""), dataset, "forget.file")

    def _verified(self, candidates: Candidates) -> tuple[Corrections, Tensor]:
        """What the file corrects, and where in the candidates.

        Raises:
            DataError: a label that it calls wrong is not the one that the original was trained on.
        """
        listed = self._listed(candidates.dataset)
        where = torch.searchsorted(candidates.index, listed.index)
        listed.verify(candidates.labels[where], "forget.file")
        return listed, where


def _beyond(population: Population, listed: RecordList) -> Iterator[Problem]:
    """What a file lists beyond D, or too much of it."""
    most = population.members - 1
    if len(listed.index) > most:
        yield Problem("forget.file", f"at most {most} records, so that something is retained", len(listed.index))
        return
    foreign = (~torch.isin(listed.index, population.draw().member)).nonzero()[:, 0].tolist()
    if foreign:
        yield Problem(
            "forget.file", "records that the original was trained on (checkpoint.trained_on)", listed.at(foreign)
        )
