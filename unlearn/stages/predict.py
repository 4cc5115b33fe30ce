"""One forward pass of a model over a subset, kept for every metric and attack."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unlearn.core.errors import DivergenceError
from unlearn.core.progress import Tick
from unlearn.stages.base import BuildContext, Stage
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

    def prepare(self, context: BuildContext) -> None:
        load(self.samples.population.dataset, context)

    def build(self, folder: Path, context: BuildContext, tick: Tick) -> None:
        from unlearn.training.prediction import predict

        predictions = predict(self.model.load(context), self.samples.load(context))
        if not predictions.logits.isfinite().all():
            raise DivergenceError(
                f"{self.label}: expected finite outputs, got infinities or NaN: the weights are too large; lower what "
                "moves them, such as strategy.noise_scale or a learning rate"
            )
        write_predictions(folder / "predictions.safetensors", predictions)
