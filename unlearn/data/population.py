"""Draws the training data D, validation and holdout, independently of the forget set."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from unlearn.core.random_streams import stream
from unlearn.data.datasets.base import Dataset
from unlearn.data.earlier import EarlierRequests
from unlearn.data.trained_on import TrainedOn


@dataclass(frozen=True)
class Candidates:
    """The training data D, from which a request picks its forget set; all tensors are [n] in one order."""

    dataset: Dataset
    index: Tensor  # int64
    labels: Tensor  # int64, on which the original was trained
    clean: Tensor  # int64, without label noise
    subclass: Tensor | None = None  # int64, if labels are coarse
    loss: Tensor | None = None  # float64, from a proxy model, for rules that rank

    @property
    def mislabelled(self) -> Tensor:
        """Indices int64 of the samples that label noise mislabelled."""
        return self.index[self.labels != self.clean]


class Request(Protocol):
    """The part of a request (`unlearn.data.requests.base.Forget`) that a population reads."""

    @property
    def explicit(self) -> bool:
        """Whether the request names its records."""

    @property
    def earlier(self) -> Sequence[str]:
        """The lists of earlier requests."""

    @property
    def earlier_records(self) -> Sequence[int]:
        """Indices of records of earlier requests that no list names."""

    def requested(self, dataset: Dataset) -> Tensor:
        """Indices int64 of the records that the request names, sorted."""

    def corrected(self, candidates: Candidates) -> Tensor:
        """Labels int64 [n] of the candidates after the request."""


class Draw(NamedTuple):
    """Indices int64 of each subset, sorted.

    Attributes:
        member: D, in the training part.
        validation: in the training part, or in the test part if `test` is given; if the data set has a validation
            split, in that split.
        holdout: in the training part, or in the test part if `test` is given.
        test: the rest of the test part, without validation and holdout; None: the whole test part.
    """

    member: Tensor
    validation: Tensor
    holdout: Tensor
    test: Tensor | None


@dataclass(frozen=True)
class Population:
    """The rule and the seed that decide D, validation and holdout; they do not depend on the forget set.

    Attributes:
        dataset: the data set.
        seed: the seed of the draw.
        reserved: a request that names its records. They were trained on, so validation and holdout are drawn from
            the other records.
        trained_on: the records that a checkpoint was trained on. They are D; validation and holdout are drawn from
            the rest of the training part or, if that is too small, from the test part [ours].
        earlier: requests that were answered before. Their records are in no subset: not in D, and not in the others,
            because the model was trained on them once.
    """

    dataset: Dataset
    seed: int
    reserved: Request | None = None
    trained_on: TrainedOn | None = None
    earlier: EarlierRequests = field(default_factory=EarlierRequests, metadata={"runtime": True})

    @classmethod
    def of(cls, dataset: Dataset, seed: int, forget: Request, trained_on: TrainedOn | None = None) -> Population:
        """Create the population of a request."""
        reserved = forget if forget.explicit else None
        return cls(dataset, seed, reserved, trained_on, EarlierRequests.of(forget.earlier, forget.earlier_records))

    def identity(self) -> dict[str, Any]:
        """Hashes of the reserved records and of D for the key; they do not depend on how a file names the records."""
        kept_out = self.kept_out
        more = {"kept_out": _digest(kept_out)} if len(kept_out) else {}
        return {"reserved": _digest(self._reserved_records), "trained_on": _digest(self._trained_records)} | more

    @property
    def kept_out(self) -> Tensor:
        """Indices int64 of the records in no subset, sorted: earlier requests removed them."""
        return self.earlier.records(self.dataset)

    @property
    def members(self) -> int:
        """Number of images in D."""
        trained = self._trained_records
        if trained is not None:
            return len(trained)
        return len(_without(self.dataset.records, self.kept_out)) - sum(self.dataset.held_out_sizes)

    @property
    def _reserved_records(self) -> Tensor | None:
        """The records that the request names and that no earlier request removed; None for a rule."""
        return None if self.reserved is None else _without(self.reserved.requested(self.dataset), self.kept_out)

    @property
    def _trained_records(self) -> Tensor | None:
        """D of a checkpoint; None if the original is trained here."""
        return None if self.trained_on is None else _without(self.trained_on.records(self.dataset), self.kept_out)

    def draw(self) -> Draw:
        """Draw D, validation and holdout; equal populations share the tensors, which must not be changed."""
        dataset = self.dataset
        test_size = dataset.test_size
        counts = _Counts(
            dataset.held_out_sizes, dataset.split_sizes(test_size), test_size, dataset.validation_size, self.seed
        )
        return _draw_cached(counts, (dataset.records, self._reserved_records, self._trained_records, self.kept_out))

    def labels(self, clean: Tensor) -> Tensor:
        """Labels int64 [n] of the whole training part after label noise.

        Args:
            clean: int64 [n], the labels of the data set.
        """
        records, classes = self.dataset.records, self.dataset.classes
        draws = stream(self.seed, "label_noise")
        count = round(self.dataset.label_noise * len(records))
        mislabelled = records[torch.randperm(len(records), generator=draws)[:count]]
        noisy = clean.clone()
        noisy[mislabelled] = (clean[mislabelled] + torch.randint(1, classes, (count,), generator=draws)) % classes
        return noisy

    def candidates(self, clean: Tensor, subclass: Tensor | None = None, loss: Tensor | None = None) -> Candidates:
        """The samples from which a request picks.

        Args:
            clean: labels int64 of the whole training part.
            subclass: finer labels int64 of the whole training part, if there are any.
            loss: float64 [n] of D, from a proxy model.
        """
        member = self.draw().member
        member_subclass = None if subclass is None else subclass[member]
        return Candidates(self.dataset, member, self.labels(clean)[member], clean[member], member_subclass, loss)

    def corrected(self, forget: Request, clean: Tensor) -> Tensor:
        """Labels int64 of the whole training part after the request."""
        candidates, labels = self.candidates(clean), self.labels(clean)
        labels[candidates.index] = forget.corrected(candidates)
        return labels


def _digest(indices: Tensor | None) -> str | None:
    return None if indices is None else hashlib.sha256(indices.numpy()).hexdigest()  # type: ignore[arg-type]


class _Counts(NamedTuple):
    """The numbers that decide a draw."""

    held_out: tuple[int, int]  # validation and holdout, from the training part
    from_test: tuple[int, int]  # validation and holdout, from the test part
    test_size: int
    validation_size: int | None  # of the data set's validation split
    seed: int


_Inputs = tuple[Tensor, Tensor | None, Tensor | None, Tensor]  # records, reserved, D of a checkpoint, kept out
MAX_DRAWS = 8
_draws: list[tuple[_Counts, _Inputs, Draw]] = []  # the latest first


def _draw_cached(counts: _Counts, inputs: _Inputs) -> Draw:
    """Return the draw of these inputs, computed once.

    Inputs are compared by value: a list of records that was changed on disk gives a new draw.
    """
    for known_counts, known_inputs, draw in _draws:
        if known_counts == counts and all(map(_is_equal, known_inputs, inputs)):
            return draw
    draw = _draw(counts, *inputs)
    _draws.insert(0, (counts, inputs, draw))
    del _draws[MAX_DRAWS:]
    return draw


def _is_equal(one: Tensor | None, other: Tensor | None) -> bool:
    return one is other or (one is not None and other is not None and torch.equal(one, other))


def _draw(counts: _Counts, records: Tensor, reserved: Tensor | None, member: Tensor | None, kept_out: Tensor) -> Draw:
    split = None if counts.validation_size is None else torch.arange(counts.validation_size)
    order = records[torch.randperm(len(records), generator=stream(counts.seed, "split"))]
    order = _without(order, kept_out)
    if reserved is not None:
        order = _without(order, reserved)
    if member is None:
        validation, holdout, _ = _cut(order, counts.held_out)
        member = _without(records, torch.cat([validation, holdout, kept_out]))
        return Draw(member, validation if split is None else split, holdout, None)
    free = _without(order, member)
    if len(free) >= sum(counts.held_out):
        validation, holdout, _ = _cut(free, counts.held_out)
        return Draw(member, validation if split is None else split, holdout, None)
    order = torch.randperm(counts.test_size, generator=stream(counts.seed, "split", "test"))
    if split is None:
        return Draw(member, *_cut(order, counts.from_test))
    _, holdout, test = _cut(order, (0, counts.from_test[1]))
    return Draw(member, split, holdout, test)


def _without(indices: Tensor, others: Tensor) -> Tensor:
    """Return the indices int64 that are not among `others`, in the same order."""
    return indices[~torch.isin(indices, others)] if len(others) else indices


def _cut(order: Tensor, counts: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Split an order into its first `counts` and the rest; each is sorted."""
    parts = torch.split(order, [*counts, len(order) - sum(counts)])
    validation, holdout, rest = (part.sort().values for part in parts)
    return validation, holdout, rest
