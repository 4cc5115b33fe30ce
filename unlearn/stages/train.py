"""Train a classifier from scratch: original, retrained and guide differ in index set and role alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from unlearn.console import Tick
from unlearn.models.base import Classifier, Model
from unlearn.modules.trainer import Numerics
from unlearn.recipe import Recipe
from unlearn.seeding import stream_seed
from unlearn.stages.base import Stage, Workshop
from unlearn.stages.files import read_tensors, write_json, write_tensors
from unlearn.stages.samples import Samples, augmentation, warm_up
from unlearn.types import Role


@dataclass(frozen=True)
class Train(Stage):
    """A model trained on `samples`. Its files: `model.safetensors`, `curve.json`."""

    role: Role  # names the random streams: roles start from different weights
    samples: Samples
    validation: Samples
    model: Model
    recipe: Recipe
    seed: int
    numerics: Numerics

    @property
    def label(self) -> str:
        return f"train {self.role} (seed {self.seed})"

    def prepare(self, workshop: Workshop) -> None:
        warm_up(self.samples.population.dataset, workshop)

    def build(self, folder: Path, workshop: Workshop, tick: Tick) -> None:
        from unlearn.data.loader import Loader, PairedLoader
        from unlearn.modules.classifier import ClassifierModule

        classifier = self.fresh(f"init/{self.role}", self.seed).to(workshop.hardware.device)
        data, augment = self.samples.load(workshop), augmentation(self.samples.population.dataset)
        loader = PairedLoader({"train": Loader(data, self.recipe.batch_size, self.seed, self.role, augment)})
        module = ClassifierModule(classifier, self.recipe, loader, self.seed, self.role)
        curve = module.run(workshop.hardware, self.validation.load(workshop), tick)
        write_tensors(folder / "model.safetensors", classifier.state_dict())
        write_json(folder / "curve.json", curve)

    def fresh(self, purpose: str, seed: int) -> Classifier:
        """A newly initialised model of this architecture, its weights drawn from the stream of that purpose."""
        dataset = self.samples.population.dataset
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(seed, purpose))
            return Classifier(self.model.net(dataset.shape, dataset.classes), dataset.mean, dataset.std)

    def load(self, workshop: Workshop) -> Classifier:
        """The trained model, frozen, in eval mode, on the training device."""
        return self.restore(self, workshop)

    def restore(self, stage: Stage, workshop: Workshop) -> Classifier:
        """The model that `stage` made, of this architecture: frozen, in eval mode, on the training device."""
        classifier = self.fresh("init/overwritten", 0)
        classifier.load_state_dict(read_tensors(workshop.need(stage), "model.safetensors"))
        return classifier.to(workshop.hardware.device).eval().requires_grad_(False)
