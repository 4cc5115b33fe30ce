"""Requests by a rule: a random draw, a class, hard samples, wrong labels."""

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
    """A rule that picks a fraction of D, or a number of images."""

    share: float | None = fraction(0.1, zero=False)  # of D
    count: int | None = at_least(1, None)  # of images; replaces share

    def count_of(self, n: int) -> int:
        """Number of images to pick of `n`; at least one."""
        return self.count if self.count is not None else max(1, round((self.share or 0) * n))

    def size(self, population: Population) -> int:
        return self.count_of(population.members)

    def check(self, population: Population) -> Iterator[Problem | str]:
        members = population.members
        if self.share is None and self.count is None:
            yield Problem("forget.share", "a fraction in (0, 1), or a forget.count", None)
        elif self.count_of(members) >= members:
            key, got = ("share", self.share) if self.count is None else ("count", self.count)
            yield Problem(f"forget.{key}", f"fewer than all {members} images of the training data", got)


@dataclass(frozen=True)
class Random(Counted):
    """Random-sample forgetting: a uniform draw from D."""

    def choose(self, candidates: Candidates, seed: int) -> Tensor:
        n = len(candidates.index)
        return candidates.index[torch.randperm(n, generator=stream(seed, "forget"))[: self.count_of(n)]]


@dataclass(frozen=True)
class Hard(Counted):
    """The images of D with the largest loss under a proxy model, which are memorised rather than generalised to.

    The proxy is trained on D with the same recipe; it is neither the original nor one of the models that are compared
    [ours].
    """

    ranks = True

    def choose(self, candidates: Candidates, seed: int) -> Tensor:
        assert candidates.loss is not None, "forget=hard needs the losses of a proxy"
        hardest = candidates.loss.argsort(descending=True, stable=True)
        return candidates.index[hardest[: self.count_of(len(hardest))]]


@dataclass(frozen=True)
class ClassWise(Forget):
    """Class-wise forgetting: all samples of D with one label."""

    whole_class = True

    # the class to forget
    class_index: int | str = checked(0, "a class: a number >= 0, or a name", lambda v: isinstance(v, str) or v >= 0)

    def resolved(self, dataset: Dataset) -> ClassWise:
        """Replace the name of the class by its number, which keys hold; unchanged if there is no such class."""
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
    """Sub-class forgetting: all samples of D of one of the finer classes below coarse labels."""

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
    """Corrective unlearning: all samples of D that `dataset.label_noise` mislabelled."""

    def choose(self, candidates: Candidates, seed: int) -> Tensor:
        return candidates.mislabelled

    def check(self, population: Population) -> Iterator[Problem | str]:
        noise = population.dataset.label_noise
        if noise == 0:
            yield Problem("dataset.label_noise", "a fraction above 0, so that there are mislabelled samples", noise)
