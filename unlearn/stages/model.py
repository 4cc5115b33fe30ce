"""The base of stages that produce a classifier, by training or from a checkpoint."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from unlearn.core.random_streams import stream_seed
from unlearn.core.recipe import Recipe
from unlearn.core.types import Role
from unlearn.models.base import Classifier, Model
from unlearn.stages.base import BuildContext, Stage
from unlearn.stages.files import read_tensors
from unlearn.stages.samples import SampleSource, warm_up

if TYPE_CHECKING:
    from unlearn.stages.shards import TrainShards


class LoadableModel(Protocol):
    """A stage whose model metrics can read: trained, from a checkpoint, unlearned or blended."""

    @property
    def role(self) -> Role:
        """Role of the model in the run."""

    @property
    def seed(self) -> int:
        """Seed of its random draws."""

    @property
    def key(self) -> str:
        """Key of its artifact."""

    def load(self, context: BuildContext) -> Classifier:
        """Return the model, frozen, in eval mode, on the training device."""


@dataclass(frozen=True, kw_only=True)
class ModelStage(Stage, ABC):
    """A classifier trained on `samples`. File: `model.safetensors`."""

    role: Role  # names the random streams, so that roles start from different weights
    samples: SampleSource
    model: Model
    seed: int

    @property
    def ensemble(self) -> TrainShards | None:
        """The ensemble of SISA that this model is; None if it is another model."""
        return None

    def prepare(self, context: BuildContext) -> None:
        warm_up(self.samples.population.dataset, context)

    def warm_up(self, recipe: Recipe, context: BuildContext) -> None:
        """Run one step of a recipe on a copy of the net, so that no stage's `seconds` include a GPU's first step."""
        from unlearn.training.warm_up import training_step, warm_up_once

        hardware, shape = context.hardware, self.samples.population.dataset.shape
        name = (repr(self.model), shape, recipe.batch_size, recipe.optimizer, hardware.numerics)
        warm_up_once(hardware, name, lambda: training_step(self.fresh("init/warm_up", 0), recipe, shape, hardware))

    def fresh(self, purpose: str, seed: int) -> Classifier:
        """Return a newly initialised model of this architecture, with weights from the random stream of `purpose`."""
        dataset = self.samples.population.dataset
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(seed, purpose))
            return Classifier(self.model.net(dataset.shape, dataset.classes), *dataset.normalisation)

    def load(self, context: BuildContext) -> Classifier:
        """Return the model, frozen, in eval mode, on the training device."""
        return self.restore(self, context)

    def restore(self, stage: Stage, context: BuildContext) -> Classifier:
        """Return the model that `stage` built, of this architecture: frozen, in eval mode, on the training device."""
        return context.models.get(stage.key, lambda: self._read_model(stage, context))

    def _read_model(self, stage: Stage, context: BuildContext) -> Classifier:
        classifier = self.fresh("init/overwritten", 0)
        state = classifier.state_dict()  # keeps the version metadata that some nets read
        state.update(read_tensors(context.get(stage), "model.safetensors"))
        classifier.load_state_dict(state)
        return classifier.to(context.hardware.device).eval().requires_grad_(False)
