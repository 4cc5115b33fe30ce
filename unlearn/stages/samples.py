"""Which samples a stage works on: a rule in its key, tensors when they are needed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unlearn.data.datasets.base import Dataset
from unlearn.data.forget import Forget
from unlearn.data.split import ForgetSplit, Population
from unlearn.stages.base import Stage, Workshop
from unlearn.stages.files import read_tensors
from unlearn.types import Images, Subset

if TYPE_CHECKING:
    from unlearn.data.loader import Augmentation


@dataclass(frozen=True)
class Samples:
    """A subset, named by just what determines it, so that stages share what they can.

    `forget` is None where the subset does not depend on who is forgotten; `mark` is the stage that perturbs it.
    """

    subset: Subset
    population: Population
    forget: Forget | None = None
    mark: Stage | None = None

    def load(self, workshop: Workshop) -> Images:
        """Images, labels and data set indices, on the training device."""
        train, test = load(self.population.dataset, workshop)
        if self.subset is Subset.TEST:
            return test.to(workshop.hardware.device)
        index = self._index(train.labels)
        images = train.images[index]
        if self.mark is not None:
            marked = read_tensors(workshop.need(self.mark), "marked.safetensors")
            of = "holdout" if self.subset is Subset.HOLDOUT else "forget"
            moved = marked["noisy_forget" if self.subset is Subset.NOISY_FORGET else of]
            images = _replaced(images, index, marked[f"{of}_index"], moved)
        return Images(images, train.labels[index], index).to(workshop.hardware.device)

    def _index(self, labels: Tensor) -> Tensor:
        member, validation, holdout = self.population.draw()
        whoever = {Subset.TRAIN: member, Subset.VALIDATION: validation, Subset.HOLDOUT: holdout}
        if self.subset in whoever:
            return whoever[self.subset]
        assert self.forget is not None, f"{self.subset} depends on who is forgotten"
        split = ForgetSplit.draw(self.population, self.forget, labels)
        return split.retain if self.subset is Subset.RETAIN else split.forget


@dataclass(frozen=True)
class Scenario:
    """Who is forgotten out of what, and how the forgotten are marked: gives every subset its `Samples`."""

    dataset: Dataset
    forget: Forget
    seed: int
    mark: Stage | None = None

    def __getitem__(self, subset: Subset) -> Samples:
        population = Population.of(self.dataset, self.seed, self.forget)
        marked = {Subset.TRAIN, Subset.FORGET, Subset.HOLDOUT, Subset.NOISY_FORGET}
        if self.mark is not None and subset in marked:
            return Samples(subset, population, self.forget, self.mark)
        if subset is Subset.CLEAN_FORGET:
            subset = Subset.FORGET
        chosen = subset in {Subset.FORGET, Subset.RETAIN}
        return Samples(subset, population, self.forget if chosen else None)


def augmentation(dataset: Dataset) -> Augmentation:
    """The data set's, as the loader takes it."""
    from unlearn.data.loader import Augmentation

    return Augmentation(dataset.crop_padding, dataset.flip)


def warm_up(dataset: Dataset, workshop: Workshop) -> None:
    """What any stage may be the first to pay for and none is to be charged with: imports and reading data."""
    import pytorch_lightning  # noqa: F401

    load(dataset, workshop)


def load(dataset: Dataset, workshop: Workshop) -> tuple[Images, Images]:
    """Both parts of a data set, held in memory between stages and cells; their content is pinned in the store."""
    kind = type(dataset)
    train, test, digest = _read(kind(root=dataset.root, download=dataset.download))
    workshop.store.pin(kind.__name__.lower(), digest)
    return train, test


@lru_cache(maxsize=1)
def _read(dataset: Dataset) -> tuple[Images, Images, str]:
    train, test = dataset.load()
    digest = hashlib.sha256()
    for tensor in (train.images, train.labels, test.images, test.labels):
        digest.update(tensor.numpy())  # type: ignore[arg-type]  # a buffer
    return train, test, digest.hexdigest()


def _replaced(images: Tensor, index: Tensor, moved_index: Tensor, moved: Tensor) -> Tensor:
    """`images` with those whose data set index is in `moved_index` replaced by `moved`; both indices sorted."""
    images = images.clone()
    images[torch.searchsorted(index, moved_index)] = moved
    return images
