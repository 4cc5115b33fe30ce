"""The interface of a request to forget: a rule or a list that picks the forget set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from unlearn.core.errors import Problem
from unlearn.data.datasets.base import Dataset
from unlearn.data.population import Candidates, Population


@dataclass(frozen=True)
class Forget(ABC):
    """A rule that picks the forget set out of the training data D."""

    ranks: ClassVar[bool] = False  # needs the losses of a proxy model
    whole_class: ClassVar[bool] = False  # picks a whole class, so that none of it is retained
    relabels: ClassVar[bool] = False  # corrects labels: the samples are learnt under new labels, not forgotten

    # Lists of earlier requests; keys hold the indices of their records. A checkpoint of ours adds its own.
    earlier: list[str] = field(default_factory=list, kw_only=True, metadata={"runtime": True})

    @property
    def earlier_records(self) -> tuple[int, ...]:
        """Indices of records of earlier requests that no list names: those of a stream."""
        return ()

    @property
    def has_earlier(self) -> bool:
        """Whether there are earlier requests."""
        return bool(self.earlier)

    @property
    def explicit(self) -> bool:
        """Whether the request names its records; they are kept out of validation and holdout."""
        return False

    def requested(self, dataset: Dataset) -> Tensor:
        """Indices int64 of the records that the request names, sorted; empty for a rule."""
        del dataset
        return torch.empty(0, dtype=torch.int64)

    def digest(self, dataset: Dataset) -> str | None:
        """Hash of the request beyond its fields and its records, such as new labels; None if there is nothing more."""
        del dataset
        return None

    def size(self, population: Population) -> int | None:
        """Size of the forget set in a population; None if it depends on labels or losses."""
        del population
        return None

    def resolved(self, dataset: Dataset) -> Forget:
        """The same request, with names of classes replaced by numbers."""
        del dataset
        return self

    def check(self, population: Population) -> Iterator[Problem | str]:
        """Find the problems of this request in a population, before anything is computed."""
        del population
        yield from ()

    @abstractmethod
    def choose(self, candidates: Candidates, seed: int) -> Tensor:
        """Pick the forget set.

        Args:
            candidates: the training data D.
            seed: the seed of a random rule.

        Returns:
            Indices int64, a subset of `candidates.index`.
        """

    def corrected(self, candidates: Candidates) -> Tensor:
        """Labels int64 [n] of the candidates after the request: unchanged, unless the request `relabels`."""
        return candidates.labels
