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
    """A deletion request: a file that lists records of the training part.

    Records are listed by index from 0 or, for a folder of images, by path (in the root or in its training part).
    `read_records` describes the formats.
    """

    file: str = runtime(MISSING)  # path; keys hold the indices of the records, see `Population.identity`

    @property
    def explicit(self) -> bool:
        return True

    def requested(self, dataset: Dataset) -> Tensor:
        return self._find_records(dataset).index

    def size(self, population: Population) -> int:
        return len(self._split_by_earlier(population)[0].index)

    def choose(self, candidates: Candidates, seed: int) -> Tensor:
        return candidates.index[torch.isin(candidates.index, self.requested(candidates.dataset))]

    def check(self, population: Population) -> Iterator[Problem | str]:
        problems = list(find_list_problems(Path(self.file), population.dataset, "forget.file"))
        yield from problems
        if not problems:
            new, forgotten = self._split_by_earlier(population)
            if not len(new.index):
                yield Problem("forget.file", "a record that forget.earlier lacks", f"{len(forgotten.index)}, all in it")
            else:
                yield from _check_members(population, new)

    def already_forgotten(self, population: Population) -> RecordList:
        """The records of the list that earlier requests removed; they are not forgotten again."""
        return self._split_by_earlier(population)[1]

    def _split_by_earlier(self, population: Population) -> tuple[RecordList, RecordList]:
        """The records of the list that are still to be forgotten, and those that earlier requests removed."""
        records = self._find_records(population.dataset)
        is_earlier = torch.isin(records.index, population.kept_out)
        new, forgotten = (records.take(mask.nonzero()[:, 0]) for mask in (~is_earlier, is_earlier))
        return new, forgotten

    def _find_records(self, dataset: Dataset) -> RecordList:
        return find_records(Path(self.file), dataset, "forget.file")


@dataclass(frozen=True)
class Relabel(Forget):
    """A request to correct labels: those in a file (`find_corrections`), or those changed by `dataset.label_noise`.

    The original was trained on the wrong labels; retrained models are trained on all of D with the right labels. The
    forget set is the samples with the wrong labels.
    """

    relabels = True

    file: str | None = runtime(None)  # path; keys hold records and labels. null: undo the label noise

    @property
    def explicit(self) -> bool:
        return self.file is not None

    def requested(self, dataset: Dataset) -> Tensor:
        return super().requested(dataset) if self.file is None else self._find_corrections(dataset).index

    def digest(self, dataset: Dataset) -> str | None:
        return None if self.file is None else self._find_corrections(dataset).digest()

    def choose(self, candidates: Candidates, seed: int) -> Tensor:
        return candidates.mislabelled if self.file is None else self._verified(candidates)[0].index

    def corrected(self, candidates: Candidates) -> Tensor:
        if self.file is None:
            return candidates.clean
        corrections, positions = self._verified(candidates)
        return candidates.labels.index_put((positions,), corrections.right)

    def check(self, population: Population) -> Iterator[Problem | str]:
        noise = population.dataset.label_noise
        if self.file is None:
            if noise == 0:
                expected = "a fraction above 0, so that there are labels to correct, or a forget.file"
                yield Problem("dataset.label_noise", expected, noise)
            return
        problems = list(find_correction_problems(Path(self.file), population.dataset, "forget.file"))
        yield from problems
        if not problems:
            yield from _check_members(population, self._find_corrections(population.dataset).records)

    def _find_corrections(self, dataset: Dataset) -> Corrections:
        return find_corrections(Path(self.file or ""), dataset, "forget.file")

    def _verified(self, candidates: Candidates) -> tuple[Corrections, Tensor]:
        """The corrections and the positions of their records among the candidates.

        Raises:
            DataError: a label in the column `wrong` is not the label that the original was trained on.
        """
        corrections = self._find_corrections(candidates.dataset)
        positions = torch.searchsorted(candidates.index, corrections.index)
        corrections.verify(candidates.labels[positions], "forget.file")
        return corrections, positions


def _check_members(population: Population, records: RecordList) -> Iterator[Problem]:
    """Find listed records outside D, or a list of all of D."""
    most = population.members - 1
    if len(records.index) > most:
        yield Problem("forget.file", f"at most {most} records, so that something is retained", len(records.index))
        return
    foreign = (~torch.isin(records.index, population.draw().member)).nonzero()[:, 0].tolist()
    if foreign:
        expected = "records that the original was trained on (checkpoint.trained_on)"
        yield Problem("forget.file", expected, records.format_records(foreign))
