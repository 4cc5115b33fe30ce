"""The stage that makes an untrained net."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unlearn.core.progress import Tick
from unlearn.core.types import Role
from unlearn.models.base import Classifier
from unlearn.stages.base import BuildContext, Stage
from unlearn.stages.files import write_tensors
from unlearn.stages.model import ModelStage


@dataclass(frozen=True)
class Untrained(Stage):
    """The original's architecture with random weights, even where the original starts from published weights.

    File: `model.safetensors`.
    """

    original: ModelStage
    seed: int

    is_announced = False

    @property
    def role(self) -> Role:
        """Always `untrained`."""
        return Role.UNTRAINED

    def build(self, folder: Path, context: BuildContext, tick: Tick) -> None:
        write_tensors(folder / "model.safetensors", self.original.fresh("init/untrained", self.seed).state_dict())

    def load(self, context: BuildContext) -> Classifier:
        """Return the net, frozen, in eval mode, on the training device."""
        return self.original.restore(self, context)
