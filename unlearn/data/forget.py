"""Who is to be forgotten: one small dataclass per kind of request."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch
from omegaconf import MISSING
from torch import Tensor

from unlearn.checks import at_least, checked, runtime, share
from unlearn.data.classes import class_number
from unlearn.data.corrections import Corrections, correction_problems, find_corrections
from unlearn.data.datasets.base import Dataset
from unlearn.data.records.resolve import Listed, find_records, list_problems
from unlearn.errors import Problem, nearest, some
from unlearn.seeding import stream

if TYPE_CHECKING:
    from unlearn.data.split import Population


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


@dataclass(frozen=True)
class Counted(Forget):
    """A rule that takes a share of D, or a number of images."""

    share: float | None = share(0.1, zero=False)  # of D
    count: int | None = at_least(1, None)  # of images; given, it replaces share

    def wanted(self, n: int) -> int:
        """How many of `n`; at least one."""
        return self.count if self.count is not None else max(1, round((self.share or 0) * n))

    def size(self, population: Population) -> int:
        return self.wanted(population.members)

    def check(self, population: Population) -> Iterator[Problem | str]:
        members = population.members
        if self.share is None and self.count is None:
            yield Problem("forget.share", "a share in (0, 1), or a forget.count", None)
        elif self.wanted(members) >= members:
            key, got = ("share", self.share) if self.count is None else ("count", self.count)
            yield Problem(f"forget.{key}", f"fewer than all {members} images of the training data", got)


@dataclass(frozen=True)
class Random(Counted):
    """Random-sample forgetting: a uniform draw out of D."""

    def choose(self, candidates: Candidates, seed: int) -> Tensor:
        n = len(candidates.index)
        return candidates.index[torch.randperm(n, generator=stream(seed, "forget"))[: self.wanted(n)]]


@dataclass(frozen=True)
class Hard(Counted):
    """The images of D that a proxy model gets most wrong: a model of the same recipe, trained on D, that is neither
    the original nor judged by (our choice). They are what is memorised rather than generalised to."""

    ranks = True

    def choose(self, candidates: Candidates, seed: int) -> Tensor:
        assert candidates.loss is not None, "forget=hard needs the losses of a proxy"
        hardest = candidates.loss.argsort(descending=True, stable=True)
        return candidates.index[hardest[: self.wanted(len(hardest))]]


@dataclass(frozen=True)
class ClassWise(Forget):
    """Class-wise forgetting: everything in D with one label."""

    whole_class = True

    class_index: int | str = checked(0, "a class: a number >= 0, or a name", lambda v: isinstance(v, str) or v >= 0)

    def resolved(self, dataset: Dataset) -> ClassWise:
        """With the number of its class, from which keys are made; as it is where it names none."""
        try:
            return replace(self, class_index=class_number(self.class_index, dataset))
        except ValueError:
            return self

    def choose(self, candidates: Candidates, seed: int) -> Tensor:
        return candidates.index[candidates.labels == self.class_index]

    def check(self, population: Population) -> Iterator[Problem | str]:
        dataset, got = population.dataset, self.class_index
        named = f", or one of {some(dataset.class_names)}" if dataset.class_names else ""
        expected = f"a class from 0 to {dataset.classes - 1}{named}"
        try:
            if not 0 <= class_number(got, dataset) < dataset.classes:
                yield Problem("forget.class_index", expected, got)
        except ValueError as error:
            yield f"forget.class_index: expected {expected}, got {error}"


@dataclass(frozen=True)
class Subclass(Forget):
    """Sub-class forgetting: everything in D of one of the finer classes beneath coarse labels."""

    subclass: str = MISSING  # its name, or its number

    def choose(self, candidates: Candidates, seed: int) -> Tensor:
        assert candidates.subclass is not None, "forget=subclass needs coarse labels"
        names = candidates.dataset.subclasses
        number = names.index(self.subclass) if self.subclass in names else int(self.subclass)
        return candidates.index[candidates.subclass == number]

    def check(self, population: Population) -> Iterator[Problem | str]:
        names = population.dataset.subclasses
        if not names:
            coarse = "a data set with coarse labels: dataset.labels=coarse for cifar100, <class>/<subclass>/ folders"
            yield Problem("forget", coarse, "subclass")
        elif self.subclass not in names and self.subclass not in map(str, range(len(names))):
            near = nearest(self.subclass, names)
            yield Problem("forget.subclass", f"the name of a subclass, or 0 to {len(names) - 1}{near}", self.subclass)


@dataclass(frozen=True)
class Mislabelled(Forget):
    """Corrective unlearning: everything in D whose label is wrong by `dataset.label_noise`."""

    def choose(self, candidates: Candidates, seed: int) -> Tensor:
        return candidates.mislabelled

    def check(self, population: Population) -> Iterator[Problem | str]:
        noise = population.dataset.label_noise
        if noise == 0:
            yield Problem("dataset.label_noise", "a share above 0, so that forget=mislabelled finds something", noise)


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
        found = list(list_problems(Path(self.file), population.dataset, "forget.file"))
        yield from found
        if not found:
            yield from _beyond(population, self._listed(population.dataset))

    def _listed(self, dataset: Dataset) -> Listed:
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
        found = list(correction_problems(Path(self.file), population.dataset, "forget.file"))
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


def _beyond(population: Population, listed: Listed) -> Iterator[Problem]:
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
