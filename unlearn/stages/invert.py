"""Stages of attacks that hold both the original and the unlearned model: probe images and image recovery."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from unlearn.core.artifact_store import Entry
from unlearn.core.batch import iter_batches
from unlearn.core.progress import Tick
from unlearn.core.types import Images, ImageSource, Subset
from unlearn.data.population import Population
from unlearn.functional.gradient_inversion import ForgottenImage, Probing, Reconstructions, Recovery, describe_forgotten
from unlearn.stages.base import BuildContext, Stage
from unlearn.stages.files import read_tensors, write_json, write_tensors
from unlearn.stages.model import LoadableModel, ModelStage
from unlearn.stages.samples import DataView, Samples, warm_up

PEERS_BATCH = 512


@dataclass(frozen=True)
class Probes(Stage):
    """Generated images that the original classifies with confidence; all models predict on the same ones.

    File: `probes.safetensors` (`images` uint8 [n, c, h, w], and their classes `labels` int64 [n]).
    """

    original: ModelStage
    settings: Probing
    seed: int

    is_announced = False
    subset = Subset.PROBES

    @property
    def population(self) -> Population:
        """Population of the original; none of its images are read."""
        return self.original.samples.population

    def build(self, folder: Path, context: BuildContext, tick: Tick) -> None:
        dataset = self.population.dataset
        images, labels = self.settings.generate(self.original.load(context), dataset.shape, dataset.classes, self.seed)
        write_tensors(folder / "probes.safetensors", {"images": images, "labels": labels})

    def load(self, context: BuildContext) -> ImageSource:
        """Return the images, indexed from 0, on the training device."""
        tensors = read_tensors(context.get(self), "probes.safetensors")
        return Images(**tensors, index=torch.arange(len(tensors["labels"]))).to(context.hardware.device)


@dataclass(frozen=True)
class DataViewWithProbes:
    """A run's data with the probe images as one more subset."""

    data: DataView
    probes: Probes

    def __getitem__(self, subset: Subset) -> Samples | Probes:
        return self.probes if subset is Subset.PROBES else self.data[subset]


@dataclass(frozen=True)
class Recover(Stage):
    """The image whose forgetting best explains the change from the original's weights to the model's; reads no data.

    File: `guesses.safetensors` (`Reconstructions` by field).
    """

    original: ModelStage
    model: LoadableModel
    settings: Recovery
    seed: int

    @property
    def label(self) -> str:
        return f"recover by {self.model.role} (seed {self.model.seed})"

    def prepare(self, context: BuildContext) -> None:
        warm_up(self.original.samples.population.dataset, context)

    def build(self, folder: Path, context: BuildContext, tick: Tick) -> None:
        original, dataset = self.original.load(context), self.original.samples.population.dataset
        after = dict(self.model.load(context).named_parameters())
        change = {name: after[name] - before for name, before in original.named_parameters()}
        guesses = self.settings.reconstruct(original, change, dataset.shape, dataset.classes, self.seed, tick)
        write_tensors(folder / "guesses.safetensors", vars(guesses))

    def load(self, context: BuildContext) -> Reconstructions:
        """Return it on the CPU."""
        return read_guesses(context.get(self))


@dataclass(frozen=True)
class Forgotten(Stage):
    """The one forgotten image, which recovery is scored against, and the controls of an attacker who knows its class.

    Files: `truth.safetensors` (`image`, and `mean` and `nearest` if there are peers: float32 [c, h, w] in [0, 1]) and
    `truth.json` (`label`, `index` in the data set, and `peers`, the number of them).
    """

    forget: Samples
    others: Samples  # those of the same class are the peers

    is_announced = False

    def prepare(self, context: BuildContext) -> None:
        warm_up(self.forget.population.dataset, context)

    def build(self, folder: Path, context: BuildContext, tick: Tick) -> None:
        forget, others = self.forget.load(context), self.others.load(context)
        (batch,) = iter_batches(forget, 1)
        label = int(batch.labels)
        truth = describe_forgotten(batch.images[0], label, _iter_class_batches(others, label))
        tensors = {"image": truth.image, "mean": truth.mean, "nearest": truth.nearest}
        write_tensors(folder / "truth.safetensors", {name: t for name, t in tensors.items() if t is not None})
        write_json(folder / "truth.json", {"label": label, "index": int(forget.index), "peers": truth.peers})

    def load(self, context: BuildContext) -> ForgottenImage:
        """Return it on the CPU."""
        return read_truth(context.get(self))

    def index(self, context: BuildContext) -> int:
        """Return the index of the image in the training part of the data set."""
        return int(context.get(self).json("truth.json")["index"])


@dataclass(frozen=True)
class RecoveryEvidence:
    """The image recovered from one model, and the forgotten image that it is compared with."""

    by: Recover
    forgotten: Forgotten

    def load(self, context: BuildContext) -> tuple[Reconstructions, ForgottenImage]:
        """Return it on the CPU."""
        return self.by.load(context), self.forgotten.load(context)


def read_guesses(entry: Entry) -> Reconstructions:
    """Read an artifact of `Recover`."""
    return Reconstructions(**read_tensors(entry, "guesses.safetensors"))


def read_truth(entry: Entry) -> ForgottenImage:
    """Read an artifact of `Forgotten`."""
    tensors, facts = read_tensors(entry, "truth.safetensors"), entry.json("truth.json")
    return ForgottenImage(tensors["image"], facts["label"], facts["peers"], tensors.get("mean"), tensors.get("nearest"))


def _iter_class_batches(data: ImageSource, label: int) -> Iterator[Tensor]:
    """Yield batches float32 [b, c, h, w] of the images of one class."""
    members = data.take((data.labels == label).nonzero()[:, 0])
    return (batch.images for batch in iter_batches(members, PEERS_BATCH))
