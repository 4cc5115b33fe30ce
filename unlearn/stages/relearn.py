"""The stage that measures how fast a model relearns the forget set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unlearn.core.artifact_store import Entry
from unlearn.core.progress import Tick
from unlearn.core.types import Subset
from unlearn.functional.estimates import is_correct
from unlearn.metrics.evidence import Relearning
from unlearn.stages.base import BuildContext, Stage
from unlearn.stages.files import read_predictions, write_json
from unlearn.stages.model import LoadableModel
from unlearn.stages.predict import Predict
from unlearn.stages.samples import SampleSource, make_augmentation, warm_up
from unlearn.training.trainer import Numerics


@dataclass(frozen=True)
class Relearn(Stage):
    """Training of a model on the forget set alone; every model sees the same batches in the same order.

    File: `curve.json`, one row per evaluation: `step`, from 0, and `forget_accuracy`. The weights are not kept.
    """

    settings: Relearning
    model: LoadableModel
    original: Predict  # on the forget set: the accuracy to return to
    forget: SampleSource
    seed: int
    numerics: Numerics

    @property
    def label(self) -> str:
        return f"relearn {self.model.role} (seed {self.model.seed})"

    def prepare(self, context: BuildContext) -> None:
        warm_up(self.forget.population.dataset, context)

    def build(self, folder: Path, context: BuildContext, tick: Tick) -> None:
        from unlearn.data.loaders import Loader, PairedLoader
        from unlearn.training.relearner import ROLE, RelearnerModule

        data, augment = self.forget.load(context), make_augmentation(self.forget.population.dataset)
        loader = PairedLoader({Subset.FORGET: Loader(data, self.settings.recipe.batch_size, self.seed, ROLE, augment)})
        model = self.model.load(context).requires_grad_(True)
        original_accuracy = is_correct(read_predictions(context.get(self.original))).mean().item()
        module = RelearnerModule(model, self.settings, loader, self.seed, data)
        curve = module.relearn(
            context.hardware.without_callbacks(),
            lambda accuracy: self.settings.has_recovered(accuracy, original_accuracy),
            tick,
        )
        write_json(folder / "curve.json", curve)

    def load(self, context: BuildContext) -> dict[int, float]:
        """Return forget accuracy (0-1) by step, from 0."""
        return read_accuracy_by_step(context.get(self))


def read_accuracy_by_step(entry: Entry) -> dict[int, float]:
    """Read an artifact of `Relearn`: forget accuracy (0-1) by step."""
    return {int(row["step"]): row["forget_accuracy"] for row in entry.json("curve.json")}
