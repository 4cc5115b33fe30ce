"""One forward pass of a model over a subset, kept for every metric and attack."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unlearn.console import Tick
from unlearn.errors import DivergenceError
from unlearn.stages.base import Stage, Workshop
from unlearn.stages.files import write_predictions
from unlearn.stages.invert import Probes
from unlearn.stages.model import Finished
from unlearn.stages.samples import Samples, load


@dataclass(frozen=True)
class Predict(Stage):
    """Its file: `predictions.safetensors` (logits float32 [n, C], labels and data set index int64 [n])."""

    model: Finished
    samples: Samples | Probes

    version = 2  # logits round as those of channels last; those of one report must be of one kind
    announced = False

    @property
    def label(self) -> str:
        return f"predict {self.model.role} on {self.samples.subset}"

    def prepare(self, workshop: Workshop) -> None:
        load(self.samples.population.dataset, workshop)

    def build(self, folder: Path, workshop: Workshop, tick: Tick) -> None:
        from unlearn.modules.prediction import predict

        predictions = predict(self.model.load(workshop), self.samples.load(workshop))
        if not predictions.logits.isfinite().all():
            raise DivergenceError(
                f"{self.model.role}: the predictions on {self.samples.subset} are not finite: weights are too large; "
                "lower the learning rate, or the noise"
            )
        write_predictions(folder / "predictions.safetensors", predictions)
