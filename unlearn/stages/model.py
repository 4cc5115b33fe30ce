"""What every stage that makes a classifier has in common, however it comes by the weights."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import Protocol

import torch

from unlearn.core.random_streams import stream_seed
from unlearn.core.recipe import Recipe
from unlearn.core.types import Role
from unlearn.models.base import Classifier, Model
from unlearn.stages.base import BuildContext, Stage
from unlearn.stages.files import read_tensors
from unlearn.stages.samples import Sampled, warm_up


class Finished(Protocol):
    """A model that can be looked at: trained, read from a checkpoint, unlearned or blended."""

    @property
    def role(self) -> Role:
        """Which model it is."""

    @property
    def seed(self) -> int:
        """What its making drew from."""

    @property
    def key(self) -> str:
        """Its artefact's."""

    def load(self, context: BuildContext) -> Classifier:
        """The model, frozen, in eval mode, on the training device."""


@dataclass(frozen=True, kw_only=True)
class ModelStage(Stage, ABC):
    """A classifier that knows `samples`. Its file: `model.safetensors`."""

    role: Role  # names the random streams: roles start from different weights
    samples: Sampled
    model: Model
    seed: int

    def prepare(self, context: BuildContext) -> None:
        warm_up(self.samples.population.dataset, context)

    def warm_up(self, recipe: Recipe, context: BuildContext) -> None:
        """Let a copy of the net do one step by a recipe: no stage is charged with what a GPU's first step costs."""
        from unlearn.training.warm_up import training_step, warm_up_once

        hardware, shape = context.hardware, self.samples.population.dataset.shape
        name = (repr(self.model), shape, recipe.batch_size, recipe.optimizer, hardware.numerics)
        warm_up_once(hardware, name, lambda: training_step(self.fresh("init/warm_up", 0), recipe, shape, hardware))

    def fresh(self, purpose: str, seed: int) -> Classifier:
        """A newly initialised model of this architecture, its weights drawn from the stream of that purpose."""
        dataset = self.samples.population.dataset
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(seed, purpose))
            return Classifier(self.model.net(dataset.shape, dataset.classes), *dataset.normalisation)

    def load(self, context: BuildContext) -> Classifier:
        """The model, frozen, in eval mode, on the training device."""
        return self.restore(self, context)

    def restore(self, stage: Stage, context: BuildContext) -> Classifier:
        """The model that `stage` made, of this architecture: frozen, in eval mode, on the training device."""
        return context.models.get(stage.key, lambda: self._read(stage, context))

    def _read(self, stage: Stage, context: BuildContext) -> Classifier:
        classifier = self.fresh("init/overwritten", 0)
        state = classifier.state_dict()  # with the versions that some nets ask for
        state.update(read_tensors(context.get(stage), "model.safetensors"))
        classifier.load_state_dict(state)
        return classifier.to(context.hardware.device).eval().requires_grad_(False)
