"""Which samples a stage works on: a rule in its key, images when they are needed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from unlearn.core.progress import Tick
from unlearn.core.types import Images, ImageSource, Subset
from unlearn.data.datasets.base import Contents, Dataset
from unlearn.data.population import Population
from unlearn.data.requests.base import Forget
from unlearn.data.splits import ForgetSplit
from unlearn.data.trained_on import TrainedOn
from unlearn.functional.estimates import cross_entropy
from unlearn.stages.base import BuildContext, Stage
from unlearn.stages.files import read_predictions, read_tensors, write_tensors

if TYPE_CHECKING:
    from unlearn.data.augmentation import Augmentation

LOOKED_AT = 64  # images of a streamed part, for the pin
RIGHT = {Subset.CORRECTED, Subset.RELABELLED}  # under the labels that a request asks for
BY_REQUEST = {Subset.FORGET, Subset.RETAIN} | RIGHT
MOVED = {  # what SPD-GAN made -> whose images they replace, and their name in its artefact
    Subset.PERTURBED_FORGET: (Subset.FORGET, "forget"),
    Subset.NOISY_FORGET: (Subset.FORGET, "noisy_forget"),
    Subset.PERTURBED_HOLDOUT: (Subset.HOLDOUT, "holdout"),
    Subset.TRAIN: (Subset.FORGET, "forget"),
}


class Sampled(Protocol):
    """Images that a model learns or forgets, by a rule that tells which."""

    @property
    def population(self) -> Population:
        """What they are taken from."""

    def load(self, context: BuildContext) -> ImageSource:
        """Images, labels and data set indices, on the training device."""


class Subsets(Protocol):
    """What gives each subset its samples."""

    def __getitem__(self, subset: Subset) -> Sampled: ...


@dataclass(frozen=True)
class Samples:
    """A subset, named by just what determines it, so that stages share what they can.

    `forget` is None where the subset does not depend on who is forgotten; `ranking` holds a proxy's predictions on D
    for a rule that needs them; `moved` is the stage that perturbs the subset.
    """

    subset: Subset
    population: Population
    forget: Forget | None = None
    ranking: Stage | None = None
    moved: Stage | None = None

    def load(self, context: BuildContext) -> ImageSource:
        """Images, labels and data set indices, on the training device."""
        contents = load(self.population.dataset, context)
        labels = self._labels(contents.train.labels)
        source, index = self._where(contents, context)
        found = source.relabelled(labels).take(index) if source is contents.train else source.take(index)
        if self.moved is not None:
            of, name = MOVED[self.subset]
            moved = read_tensors(context.get(self.moved), "moved.safetensors")
            found = found.replaced(moved[f"{of}_index"], moved[name])
        return found.to(context.hardware.device)

    def identity(self) -> dict[str, Any]:
        """What a request asks for besides whom it names, where there is more and the subset depends on it."""
        asked = None if self.forget is None else self.forget.digest(self.population.dataset)
        return {} if asked is None else {"asked": asked}

    def _labels(self, clean: Tensor) -> Tensor:
        """Of the whole training part, int64 [n]."""
        if self.subset not in RIGHT:
            return self.population.labels(clean)
        assert self.forget is not None, f"{self.subset} depends on what is corrected"
        return self.population.corrected(self.forget, clean)

    def _where(self, contents: Contents, context: BuildContext) -> tuple[ImageSource, Tensor]:
        """The part of the data set that holds the subset, and where in it."""
        drawn = self.population.draw()
        aside = contents.train if drawn.test is None else contents.test
        everywhere = torch.arange(len(contents.test)) if drawn.test is None else drawn.test
        holdout = (aside, drawn.holdout)
        whoever = {
            Subset.TRAIN: (contents.train, drawn.member),
            Subset.CORRECTED: (contents.train, drawn.member),
            Subset.VALIDATION: (aside, drawn.validation),
            Subset.HOLDOUT: holdout,
            Subset.PERTURBED_HOLDOUT: holdout,
            Subset.TEST: (contents.test, everywhere),
        }
        if self.subset is Subset.VALIDATION and contents.validation is not None:
            return contents.validation, drawn.validation
        if self.subset in whoever:
            return whoever[self.subset]
        split = self.split(contents, context)
        return contents.train, split.retain if self.subset is Subset.RETAIN else split.forget

    def split(self, contents: Contents, context: BuildContext) -> ForgetSplit:
        """Who is in which subset."""
        assert self.forget is not None, f"{self.subset} depends on who is forgotten"
        loss = None if self.ranking is None else cross_entropy(read_predictions(context.get(self.ranking)))
        return ForgetSplit.draw(self.population, self.forget, contents.train.labels, contents.subclass, loss)


@dataclass(frozen=True)
class DataView:
    """Who is forgotten out of what, and how the forgotten are perturbed: gives every subset its `Samples`."""

    dataset: Dataset
    forget: Forget
    seed: int
    trained_on: TrainedOn | None = None
    ranking: Stage | None = None
    moved: Stage | None = None  # SPD-GAN, in either reading
    marks: bool = False  # the marker: models are trained on what it moved

    def __getitem__(self, subset: Subset) -> Samples:
        population = Population.of(self.dataset, self.seed, self.forget, self.trained_on)
        if self.marks and subset in {Subset.FORGET, Subset.HOLDOUT}:
            subset = Subset(f"perturbed_{subset}")
        if subset in MOVED and (self.marks or subset is not Subset.TRAIN):
            return Samples(subset, population, self.forget, self.ranking, self.moved)
        if subset is Subset.CLEAN_FORGET:
            subset = Subset.FORGET
        if subset in BY_REQUEST:
            return Samples(subset, population, self.forget, self.ranking)
        return Samples(subset, population)


@dataclass(frozen=True)
class Split(Stage):
    """The record of who is in which subset, for the books: nothing reads it.

    Its file: `split.safetensors`, indices int64 into the training part of forget, retain, validation, holdout and the
    records whose label is wrong by label noise, and into the test part of test. Beside a checkpoint validation and
    holdout may come from the test part: they are then called `validation_of_test` and `holdout_of_test`. A validation
    split of its own is `validation_of_val`. Of a request
    that corrects labels it tells whose, as `forget`, and no label: a purge leaves the record where it is [ours].
    """

    forget: Samples

    announced = False

    def build(self, folder: Path, context: BuildContext, tick: Tick) -> None:
        contents = load(self.forget.population.dataset, context)
        clean = contents.train.labels
        wrong = (self.forget.population.labels(clean) != clean).nonzero()[:, 0]
        split, drawn = dict(vars(self.forget.split(contents, context))), self.forget.population.draw()
        of = "" if drawn.test is None else "_of_test"
        of_validation = of if contents.validation is None else "_of_val"
        aside = {f"{name}{of}": split.pop(name) for name, of in (("validation", of_validation), ("holdout", of))}
        test = torch.arange(len(contents.test)) if drawn.test is None else drawn.test
        write_tensors(folder / "split.safetensors", split | aside | {"test": test, "mislabelled": wrong})


def augmentation(dataset: Dataset) -> Augmentation:
    """The data set's, as the loader takes it."""
    from unlearn.data.augmentation import Augmentation

    return Augmentation(dataset.crop_padding, dataset.flip, dataset.flip_alternates, dataset.crop_fill)


def warm_up(dataset: Dataset, context: BuildContext) -> None:
    """What any stage may be the first to pay for and none is to be charged with: imports and reading data."""
    import pytorch_lightning  # noqa: F401

    load(dataset, context)


_held: list[tuple[Dataset, Contents, str]] = []  # the data set read last, for the other stages and cells


def load(dataset: Dataset, context: BuildContext) -> Contents:
    """A data set as far as its `limit` at least, held between stages and cells; content that its key does not tell is
    pinned in the store, all of it."""
    source, wanted = dataset.source(), int(dataset.records[-1]) + 1
    if not (_held and _held[0][0] == source and len(_held[0][1].train) >= wanted):
        contents = source.load()
        digest = "" if source.pin is None else _digest(contents)
        _held[:] = [(source, contents.first(wanted), digest)]
    _, contents, digest = _held[0]
    if source.pin is not None:
        looked_at = "" if isinstance(contents.train, Images) else "-streamed"
        context.store.pin(source.pin + looked_at, digest)
    return contents


def _digest(contents: Contents) -> str:
    """Of all labels, and of all images in memory; of a part that is streamed, of some."""
    digest = hashlib.sha256()
    for part in (contents.train, contents.test):
        n = len(part)
        looked_at = torch.arange(n) if isinstance(part, Images) else torch.arange(0, n, max(1, n // LOOKED_AT))
        for pixels in part.batches(torch.split(looked_at, 4096)):
            digest.update(pixels.numpy())  # type: ignore[arg-type]  # a buffer
        digest.update(part.labels.numpy())  # type: ignore[arg-type]
    return digest.hexdigest()
