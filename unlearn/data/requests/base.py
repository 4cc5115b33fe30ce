"""What a request to forget is: a rule or a list that picks the forget set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
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
    whole_class: ClassVar[bool] = False  # all of a class, so that none of it is retained
    relabels: ClassVar[bool] = False  # asks for other labels: the samples are learnt anew instead of forgotten

    @property
    def explicit(self) -> bool:
        """Whether it names its records; they are kept out of validation and holdout."""
        return False

    def requested(self, dataset: Dataset) -> Tensor:
        """Indices int64 that the request names, sorted; empty for a rule."""
        del dataset
        return torch.empty(0, dtype=torch.int64)

    def digest(self, dataset: Dataset) -> str | None:
        """Hash of what it asks for besides whom it names; None where its fields tell all that there is."""
        del dataset
        return None

    def size(self, population: Population) -> int | None:
        """How many it picks in that population; None where only labels or losses tell."""
        del population
        return None

    def resolved(self, dataset: Dataset) -> Forget:
        """The same request with numbers for names of classes."""
        del dataset
        return self

    def check(self, population: Population) -> Iterator[Problem | str]:
        """Problems with this request in that population, found before anything is computed."""
        del population
        yield from ()

    @abstractmethod
    def choose(self, candidates: Candidates, seed: int) -> Tensor:
        """The forget set: part of `candidates.index`."""

    def corrected(self, candidates: Candidates) -> Tensor:
        """The candidates' labels int64 [n] once the request is granted: as they were, unless it `relabels`."""
        return candidates.labels
