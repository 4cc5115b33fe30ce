"""The stage that predicts a subset with a model, shared by all metrics and attacks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unlearn.core.errors import DivergenceError
from unlearn.core.progress import Tick
from unlearn.stages.base import BuildContext, Stage
from unlearn.stages.files import write_predictions
from unlearn.stages.invert import Probes
from unlearn.stages.model import LoadableModel
from unlearn.stages.samples import Samples, load_dataset


@dataclass(frozen=True)
class Predict(Stage):
    """The predictions of a model on a subset.

    File: `predictions.safetensors` (logits float32 [n, C], labels and data set index int64 [n]).
    """

    model: LoadableModel
    samples: Samples | Probes

    version = 2  # logits are rounded as in channels last; a report must not mix both
    is_announced = False

    @property
    def label(self) -> str:
        return f"predict {self.model.role} on {self.samples.subset}"

    def prepare(self, context: BuildContext) -> None:
        load_dataset(self.samples.population.dataset, context)

    def build(self, folder: Path, context: BuildContext, tick: Tick) -> None:
        from unlearn.training.prediction import predict

        predictions = predict(self.model.load(context), self.samples.load(context))
        if not predictions.logits.isfinite().all():
            raise DivergenceError(
                f"{self.label}: expected finite outputs, got infinities or NaN: the weights are too large; lower what "
                "moves them, such as strategy.noise_scale or a learning rate"
            )
        write_predictions(folder / "predictions.safetensors", predictions)
