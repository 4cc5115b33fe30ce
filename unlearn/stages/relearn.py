"""How fast a model learns the forget set again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unlearn.core.artifact_store import Entry
from unlearn.core.progress import Tick
from unlearn.core.types import Subset
from unlearn.functional.estimates import correct
from unlearn.metrics.evidence import Relearning
from unlearn.stages.base import BuildContext, Stage
from unlearn.stages.files import read_predictions, write_json
from unlearn.stages.model import Finished
from unlearn.stages.predict import Predict
from unlearn.stages.samples import Sampled, augmentation, warm_up
from unlearn.training.trainer import Numerics


@dataclass(frozen=True)
class Relearn(Stage):
    """A model is taught the forget set alone; every model sees the same batches in the same order.

    Its file: `curve.json`, a row for each look: `step`, from 0 on, and `forget_accuracy`. The weights are not kept.
    """

    how: Relearning
    model: Finished
    original: Predict  # on the forget set: where to come back to
    forget: Sampled
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

        data, augment = self.forget.load(context), augmentation(self.forget.population.dataset)
        loader = PairedLoader({Subset.FORGET: Loader(data, self.how.recipe.batch_size, self.seed, ROLE, augment)})
        model = self.model.load(context).requires_grad_(True)
        before = correct(read_predictions(context.get(self.original))).mean().item()
        module = RelearnerModule(model, self.how, loader, self.seed, data)
        curve = module.relearn(context.hardware, lambda accuracy: self.how.back(accuracy, before), tick)
        write_json(folder / "curve.json", curve)

    def load(self, context: BuildContext) -> dict[int, float]:
        """Forget accuracy (0-1) by steps, from 0 on."""
        return by_step(context.get(self))


def by_step(entry: Entry) -> dict[int, float]:
    """What the artefact says."""
    return {int(row["step"]): row["forget_accuracy"] for row in entry.json("curve.json")}
