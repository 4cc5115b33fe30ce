"""Who is in the training data D, in validation and in holdout, whoever is forgotten."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from unlearn.core.random_streams import stream
from unlearn.data.datasets.base import Dataset
from unlearn.data.trained_on import TrainedOn


@dataclass(frozen=True)
class Candidates:
    """The training data D that a rule chooses from; all tensors [n] in one order."""

    dataset: Dataset
    index: Tensor  # int64
    labels: Tensor  # int64, as the original was trained on them
    clean: Tensor  # int64, without label noise
    subclass: Tensor | None = None  # int64, where labels are coarse
    loss: Tensor | None = None  # float64, of a proxy model, for rules that rank

    @property
    def mislabelled(self) -> Tensor:
        """Indices int64 of those whose label is wrong by label noise."""
        return self.index[self.labels != self.clean]


class Request(Protocol):
    """What a population has to know of a request (`unlearn.data.requests.base.Forget`)."""

    @property
    def explicit(self) -> bool:
        """Whether it names its records."""

    def requested(self, dataset: Dataset) -> Tensor:
        """Indices int64 of the records that it names, sorted."""

    def corrected(self, candidates: Candidates) -> Tensor:
        """The labels int64 [n] of the candidates once the request is granted."""


class Draw(NamedTuple):
    """Indices int64, each sorted. `member` counts in the training part; so do validation and holdout, unless `test` is
    given: then all three count in the test part. Where the data set has a validation split of
    its own, validation counts in that."""

    member: Tensor  # D
    validation: Tensor
    holdout: Tensor
    test: Tensor | None  # what validation and holdout leave of the test part; None: all of it


@dataclass(frozen=True)
class Population:
    """What does not depend on who is forgotten: D, validation and holdout, as a rule and a seed.

    A request that names its records is `reserved`: people who ask to be deleted were trained on, so validation and
    holdout are drawn from the others. If the original was `trained_on` given records, they are D, and validation and
    holdout are drawn from the rest of the training part or, where that is too small, from the test part (our choice).
    """

    dataset: Dataset
    seed: int
    reserved: Request | None = None
    trained_on: TrainedOn | None = None

    @classmethod
    def of(cls, dataset: Dataset, seed: int, forget: Request, trained_on: TrainedOn | None = None) -> Population:
        """The population in which `forget` picks."""
        return cls(dataset, seed, forget if forget.explicit else None, trained_on)

    def identity(self) -> dict[str, Any]:
        """What the key holds of the two: who is meant, however a file names them."""
        requested = None if self.reserved is None else self.reserved.requested(self.dataset)
        members = None if self.trained_on is None else self.trained_on.members(self.dataset)
        kept_out = {} if not len(self.kept_out) else {"kept_out": _digest(self.kept_out)}
        return {"reserved": _digest(requested), "trained_on": _digest(members)} | kept_out

    @property
    def kept_out(self) -> Tensor:
        """Indices int64 of records that are in no subset: an earlier request removed them from D."""
        return torch.empty(0, dtype=torch.int64) if self.trained_on is None else self.trained_on.kept_out(self.dataset)

    @property
    def members(self) -> int:
        """Images in D."""
        if self.trained_on is not None:
            return len(self.trained_on.members(self.dataset))
        return self.dataset.size - sum(self.dataset.aside)

    def draw(self) -> Draw:
        """Who is in D, validation and holdout."""
        records = self.dataset.records
        order = records[torch.randperm(len(records), generator=stream(self.seed, "split"))]
        if self.reserved is not None:
            order = order[~torch.isin(order, self.reserved.requested(self.dataset))]
        if self.trained_on is not None:
            order = order[~torch.isin(order, self.kept_out)]
            return self._around(self.trained_on.members(self.dataset), order)
        validation, holdout, _ = _cut(order, self.dataset.aside)
        member, own = records[~torch.isin(records, torch.cat([validation, holdout]))], self._own_validation
        return Draw(member, validation if own is None else own, holdout, None)

    def _around(self, member: Tensor, order: Tensor) -> Draw:
        free = order[~torch.isin(order, member)]
        own = self._own_validation
        if len(free) >= sum(self.dataset.aside):
            validation, holdout, _ = _cut(free, self.dataset.aside)
            return Draw(member, validation if own is None else own, holdout, None)
        n = self.dataset.test_size
        shuffled = torch.randperm(n, generator=stream(self.seed, "split", "test"))
        if own is None:
            return Draw(member, *_cut(shuffled, self.dataset.split_sizes(n)))
        _, holdout, test = _cut(shuffled, (0, self.dataset.split_sizes(n)[1]))
        return Draw(member, own, holdout, test)

    @property
    def _own_validation(self) -> Tensor | None:
        """All of the data set's own validation split; None if there is none."""
        size = self.dataset.validation_size
        return None if size is None else torch.arange(size)

    def labels(self, clean: Tensor) -> Tensor:
        """Labels int64 [n] of the whole training part, some of them wrong if the data set asks for label noise."""
        records, classes = self.dataset.records, self.dataset.classes
        draws = stream(self.seed, "label_noise")
        count = round(self.dataset.label_noise * len(records))
        hit = records[torch.randperm(len(records), generator=draws)[:count]]
        noisy = clean.clone()
        noisy[hit] = (clean[hit] + torch.randint(1, classes, (count,), generator=draws)) % classes
        return noisy

    def candidates(self, clean: Tensor, subclass: Tensor | None = None, loss: Tensor | None = None) -> Candidates:
        """D, as a rule sees it: `clean` and `subclass` are of the whole training part, `loss` of D."""
        member = self.draw().member
        finer = None if subclass is None else subclass[member]
        return Candidates(self.dataset, member, self.labels(clean)[member], clean[member], finer, loss)

    def corrected(self, forget: Request, clean: Tensor) -> Tensor:
        """`labels` once the request is granted."""
        candidates, labels = self.candidates(clean), self.labels(clean)
        labels[candidates.index] = forget.corrected(candidates)
        return labels


def _digest(indices: Tensor | None) -> str | None:
    return None if indices is None else hashlib.sha256(indices.numpy()).hexdigest()  # type: ignore[arg-type]


def _cut(order: Tensor, counts: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """The first `counts` of an order, and the rest; each sorted."""
    parts = torch.split(order, [*counts, len(order) - sum(counts)])
    validation, holdout, rest = (part.sort().values for part in parts)
    return validation, holdout, rest
