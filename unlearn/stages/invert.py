"""What an attacker who holds the original and a model made of it makes of the two: probing images, a recovered one."""

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
from unlearn.functional.gradient_inversion import Guesses, Probing, Recovery, Truth, truth
from unlearn.stages.base import BuildContext, Stage
from unlearn.stages.files import read_tensors, write_json, write_tensors
from unlearn.stages.model import Finished, ModelStage
from unlearn.stages.samples import DataView, Samples, warm_up

PEERS_BATCH = 512


@dataclass(frozen=True)
class Probes(Stage):
    """Images of whose class the original is sure, shared by all models that are asked about them.

    Its file: `probes.safetensors` (images uint8 [n, c, h, w] and their classes, `labels` int64 [n]).
    """

    original: ModelStage
    settings: Probing
    seed: int

    announced = False
    subset = Subset.PROBES

    @property
    def population(self) -> Population:
        """That of the original, none of whose images are read."""
        return self.original.samples.population

    def build(self, folder: Path, context: BuildContext, tick: Tick) -> None:
        dataset = self.population.dataset
        images, labels = self.settings.images(self.original.load(context), dataset.shape, dataset.classes, self.seed)
        write_tensors(folder / "probes.safetensors", {"images": images, "labels": labels})

    def load(self, context: BuildContext) -> ImageSource:
        """The images, numbered from 0, on the training device."""
        found = read_tensors(context.get(self), "probes.safetensors")
        return Images(**found, index=torch.arange(len(found["labels"]))).to(context.hardware.device)


@dataclass(frozen=True)
class Probed:
    """A run's scenario with probing images in it."""

    scenario: DataView
    probes: Probes

    def __getitem__(self, subset: Subset) -> Samples | Probes:
        return self.probes if subset is Subset.PROBES else self.scenario[subset]


@dataclass(frozen=True)
class Recover(Stage):
    """The image whose forgetting explains best how the weights of the original became the model's; no data are read.

    Its file: `guesses.safetensors` (`Guesses` by field).
    """

    original: ModelStage
    model: Finished
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
        guesses = self.settings.guesses(original, change, dataset.shape, dataset.classes, self.seed, tick)
        write_tensors(folder / "guesses.safetensors", vars(guesses))

    def load(self, context: BuildContext) -> Guesses:
        """On the CPU."""
        return guesses_in(context.get(self))


@dataclass(frozen=True)
class Forgotten(Stage):
    """The one image that was forgotten, and what somebody knows of it who knows its class: the truth and the controls.

    Its files: `truth.safetensors` (`image`, and `mean` and `nearest` if there are peers: float32 [c, h, w] in [0, 1])
    and `truth.json` (`label`, `index` in the data set, and how many `peers`).
    """

    forget: Samples
    others: Samples  # of which those of the same class are the peers

    announced = False

    def prepare(self, context: BuildContext) -> None:
        warm_up(self.forget.population.dataset, context)

    def build(self, folder: Path, context: BuildContext, tick: Tick) -> None:
        forget, others = self.forget.load(context), self.others.load(context)
        (only,) = iter_batches(forget, 1)
        label = int(only.labels)
        found = truth(only.images[0], label, _of_class(others, label))
        tensors = {"image": found.image, "mean": found.mean, "nearest": found.nearest}
        write_tensors(folder / "truth.safetensors", {name: each for name, each in tensors.items() if each is not None})
        write_json(folder / "truth.json", {"label": label, "index": int(forget.index), "peers": found.peers})

    def load(self, context: BuildContext) -> Truth:
        """On the CPU."""
        return truth_in(context.get(self))

    def index(self, context: BuildContext) -> int:
        """Of the image, in the training part of the data set."""
        return int(context.get(self).json("truth.json")["index"])


@dataclass(frozen=True)
class Recovered:
    """What is sought by one model, and the truth it is held against."""

    by: Recover
    forgotten: Forgotten

    def load(self, context: BuildContext) -> tuple[Guesses, Truth]:
        """On the CPU."""
        return self.by.load(context), self.forgotten.load(context)


def guesses_in(entry: Entry) -> Guesses:
    """What the artefact of `Recover` says."""
    return Guesses(**read_tensors(entry, "guesses.safetensors"))


def truth_in(entry: Entry) -> Truth:
    """What the artefact of `Forgotten` says."""
    tensors, told = read_tensors(entry, "truth.safetensors"), entry.json("truth.json")
    return Truth(tensors["image"], told["label"], told["peers"], tensors.get("mean"), tensors.get("nearest"))


def _of_class(data: ImageSource, label: int) -> Iterator[Tensor]:
    """Batches float32 [b, c, h, w] of its images of one class."""
    same = data.take((data.labels == label).nonzero()[:, 0])
    return (batch.images for batch in iter_batches(same, PEERS_BATCH))
