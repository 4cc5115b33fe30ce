"""Requests that state a rule: a random draw, a class, wrong labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from omegaconf import MISSING
from torch import Tensor

from unlearn.core.errors import Problem, abbreviate, nearest
from unlearn.core.random_streams import stream
from unlearn.core.validation import at_least, checked, fraction
from unlearn.data.datasets.base import Dataset
from unlearn.data.population import Candidates, Population
from unlearn.data.requests.base import Forget
from unlearn.data.requests.classes import class_number


@dataclass(frozen=True)
class Counted(Forget):
    """A rule that takes a share of D, or a number of images."""

    share: float | None = fraction(0.1, zero=False)  # of D
    count: int | None = at_least(1, None)  # of images; given, it replaces share

    def wanted(self, n: int) -> int:
        """How many of `n`; at least one."""
        return self.count if self.count is not None else max(1, round((self.share or 0) * n))

    def size(self, population: Population) -> int:
        return self.wanted(population.members)

    def check(self, population: Population) -> Iterator[Problem | str]:
        members = population.members
        if self.share is None and self.count is None:
            yield Problem("forget.share", "a fraction in (0, 1), or a forget.count", None)
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
        named = f", or one of {abbreviate(dataset.class_names)}" if dataset.class_names else ""
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
