"""The samples of a stage: a rule that enters its key, and the images, loaded when they are needed."""

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

PINNED_IMAGES = 64  # of a streamed part, hashed to notice changed data
WITH_CORRECTED_LABELS = {Subset.CORRECTED, Subset.RELABELLED}
DEPEND_ON_REQUEST = {Subset.FORGET, Subset.RETAIN} | WITH_CORRECTED_LABELS
PERTURBED = {  # perturbed subset -> the subset whose images are replaced, and their name in SPD-GAN's artifact
    Subset.PERTURBED_FORGET: (Subset.FORGET, "forget"),
    Subset.NOISY_FORGET: (Subset.FORGET, "noisy_forget"),
    Subset.PERTURBED_HOLDOUT: (Subset.HOLDOUT, "holdout"),
    Subset.TRAIN: (Subset.FORGET, "forget"),
}


class SampleSource(Protocol):
    """Images that a model learns or forgets, selected by a rule."""

    @property
    def population(self) -> Population:
        """The population that they are selected from."""

    def load(self, context: BuildContext) -> ImageSource:
        """Return images, labels and data set indices, on the training device."""


class SubsetSources(Protocol):
    """A mapping from each subset to its samples."""

    def __getitem__(self, subset: Subset) -> SampleSource: ...


@dataclass(frozen=True)
class Samples:
    """A subset, with only the fields that determine it, so that as many stages as possible share it."""

    subset: Subset
    population: Population
    forget: Forget | None = None  # None where the subset does not depend on the request
    ranking: Stage | None = None  # a proxy's predictions on D, for a request that ranks records
    perturbed_by: Stage | None = None

    def load(self, context: BuildContext) -> ImageSource:
        """Return images, labels and data set indices, on the training device."""
        contents = load_dataset(self.population.dataset, context)
        labels = self._labels(contents.train.labels)
        part, positions = self._select(contents, context)
        samples = part.relabelled(labels).take(positions) if part is contents.train else part.take(positions)
        if self.perturbed_by is not None:
            replaced, name = PERTURBED[self.subset]
            images = read_tensors(context.get(self.perturbed_by), "moved.safetensors")
            samples = samples.replaced(images[f"{replaced}_index"], images[name])
        return samples.to(context.hardware.device)

    def identity(self) -> dict[str, Any]:
        """Return the digest of a request that asks for more than records to forget, such as corrected labels."""
        digest = None if self.forget is None else self.forget.digest(self.population.dataset)
        return {} if digest is None else {"asked": digest}

    def _labels(self, clean: Tensor) -> Tensor:
        """Return the labels of the whole training part, int64 [n]."""
        if self.subset not in WITH_CORRECTED_LABELS:
            return self.population.labels(clean)
        assert self.forget is not None, f"{self.subset} needs a request that corrects labels"
        return self.population.corrected(self.forget, clean)

    def _select(self, contents: Contents, context: BuildContext) -> tuple[ImageSource, Tensor]:
        """Return the part of the data set that holds the subset, and positions int64 [n] in it."""
        drawn = self.population.draw()
        unseen = contents.train if drawn.test is None else contents.test  # the part of validation and holdout
        test = torch.arange(len(contents.test)) if drawn.test is None else drawn.test
        holdout = (unseen, drawn.holdout)
        independent = {  # subsets that do not depend on the request
            Subset.TRAIN: (contents.train, drawn.member),
            Subset.CORRECTED: (contents.train, drawn.member),
            Subset.VALIDATION: (unseen, drawn.validation),
            Subset.HOLDOUT: holdout,
            Subset.PERTURBED_HOLDOUT: holdout,
            Subset.TEST: (contents.test, test),
            Subset.EARLIER_FORGET: (contents.train, self.population.kept_out),
        }
        if self.subset is Subset.VALIDATION and contents.validation is not None:
            return contents.validation, drawn.validation
        if self.subset in independent:
            return independent[self.subset]
        split = self.split(contents, context)
        return contents.train, split.retain if self.subset is Subset.RETAIN else split.forget

    def split(self, contents: Contents, context: BuildContext) -> ForgetSplit:
        """Return the split of the training part into forget, retain, validation and holdout."""
        assert self.forget is not None, f"{self.subset} needs a request"
        loss = None if self.ranking is None else cross_entropy(read_predictions(context.get(self.ranking)))
        return ForgetSplit.draw(self.population, self.forget, contents.train.labels, contents.subclass, loss)


@dataclass(frozen=True)
class DataView:
    """The data of a run, which returns the `Samples` of any subset: data set, request, split seed, perturbation."""

    dataset: Dataset
    forget: Forget
    seed: int
    trained_on: TrainedOn | None = None
    ranking: Stage | None = None
    perturbed_by: Stage | None = None  # SPD-GAN, as marker or probe
    marks: bool = False  # the marker: models are trained on perturbed images

    def __getitem__(self, subset: Subset) -> Samples:
        population = Population.of(self.dataset, self.seed, self.forget, self.trained_on)
        if self.marks and subset in {Subset.FORGET, Subset.HOLDOUT}:
            subset = Subset(f"perturbed_{subset}")
        if subset in PERTURBED and (self.marks or subset is not Subset.TRAIN):
            return Samples(subset, population, self.forget, self.ranking, self.perturbed_by)
        if subset is Subset.CLEAN_FORGET:
            subset = Subset.FORGET
        if subset in DEPEND_ON_REQUEST:
            return Samples(subset, population, self.forget, self.ranking)
        return Samples(subset, population)


@dataclass(frozen=True)
class Split(Stage):
    """The indices of every subset, as a record for audits and purges; no model is built from it.

    File: `split.safetensors`, int64 indices by subset.
    - `forget`, `retain`, `validation`, `holdout` and `mislabelled` (records with label noise) index the training part,
      `test` indexes the test part.
    - With a checkpoint, validation and holdout may come from the test part: `validation_of_test`, `holdout_of_test`. A
      validation part of the data set is `validation_of_val`.
    - For a request that corrects labels, `forget` holds the indices of its records and no labels, because a purge
      keeps these records [ours].
    - `earlier`, only where there are some: records of the training part that earlier requests removed.
    """

    forget: Samples

    is_announced = False

    def build(self, folder: Path, context: BuildContext, tick: Tick) -> None:
        contents = load_dataset(self.forget.population.dataset, context)
        clean = contents.train.labels
        mislabelled = (self.forget.population.labels(clean) != clean).nonzero()[:, 0]
        split, drawn = dict(vars(self.forget.split(contents, context))), self.forget.population.draw()
        suffix = "" if drawn.test is None else "_of_test"
        suffixes = {"validation": suffix if contents.validation is None else "_of_val", "holdout": suffix}
        unseen = {f"{name}{suffix}": split.pop(name) for name, suffix in suffixes.items()}
        test = torch.arange(len(contents.test)) if drawn.test is None else drawn.test
        kept_out = self.forget.population.kept_out
        earlier = {"earlier": kept_out} if len(kept_out) else {}
        others = {"test": test, "mislabelled": mislabelled}
        write_tensors(folder / "split.safetensors", split | unseen | others | earlier)


def make_augmentation(dataset: Dataset) -> Augmentation:
    """Return the augmentation of a data set, for its loader."""
    from unlearn.data.augmentation import Augmentation

    return Augmentation(dataset.crop_padding, dataset.flip, dataset.flip_alternates, dataset.crop_fill)


def warm_up(dataset: Dataset, context: BuildContext) -> None:
    """Import Lightning and read the data, so that no stage's `seconds` include it."""
    import pytorch_lightning  # noqa: F401

    load_dataset(dataset, context)


_contents_cache: list[tuple[Dataset, Contents, str]] = []  # the data set read last, its contents and their digest


def load_dataset(dataset: Dataset, context: BuildContext) -> Contents:
    """Load the records of a data set up to its `limit`, or return them from the cache of the last data set.

    The store pins a digest of content that the key does not determine.

    Raises:
        StoreError: the content differs from what earlier artifacts in the store were built from.
    """
    source, count = dataset.source(), int(dataset.records[-1]) + 1
    if not (_contents_cache and _contents_cache[0][0] == source and len(_contents_cache[0][1].train) >= count):
        contents = source.load()
        digest = "" if source.pin is None else _hash_contents(contents)
        _contents_cache[:] = [(source, contents.first(count), digest)]
    _, contents, digest = _contents_cache[0]
    if source.pin is not None:
        suffix = "" if isinstance(contents.train, Images) else "-streamed"
        context.store.pin(source.pin + suffix, digest)
    return contents


def _hash_contents(contents: Contents) -> str:
    """Hash all labels, all images in memory, and some images of a streamed part."""
    digest = hashlib.sha256()
    for part in (contents.train, contents.test):
        n = len(part)
        positions = torch.arange(n) if isinstance(part, Images) else torch.arange(0, n, max(1, n // PINNED_IMAGES))
        for pixels in part.batches(torch.split(positions, 4096)):
            digest.update(pixels.numpy())  # type: ignore[arg-type]  # a buffer
        digest.update(part.labels.numpy())  # type: ignore[arg-type]
    return digest.hexdigest()
