"""Train a classifier from scratch: original, retrained, fresh and guide differ in index set and role alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unlearn.console import Tick
from unlearn.modules.trainer import Numerics
from unlearn.recipe import Recipe
from unlearn.stages.base import Workshop
from unlearn.stages.files import write_json, write_tensors
from unlearn.stages.model import ModelStage
from unlearn.stages.samples import Samples, augmentation


@dataclass(frozen=True, kw_only=True)
class Train(ModelStage):
    """A model trained on `samples`. Its files: `model.safetensors`, `curve.json`."""

    validation: Samples
    recipe: Recipe
    numerics: Numerics

    @property
    def label(self) -> str:
        return f"train {self.role} (seed {self.seed})"

    def build(self, folder: Path, workshop: Workshop, tick: Tick) -> None:
        from unlearn.data.loader import Loader, PairedLoader
        from unlearn.modules.classifier import ClassifierModule

        classifier = self.fresh(f"init/{self.role}", self.seed).to(workshop.hardware.device)
        self.model.load_published(classifier.net)
        data, augment = self.samples.load(workshop), augmentation(self.samples.population.dataset)
        loader = PairedLoader({"train": Loader(data, self.recipe.batch_size, self.seed, self.role, augment)})
        module = ClassifierModule(classifier, self.recipe, loader, self.seed, self.role)
        curve = module.run(workshop.hardware, self.validation.load(workshop), tick)
        write_tensors(folder / "model.safetensors", classifier.state_dict())
        write_json(folder / "curve.json", curve)
