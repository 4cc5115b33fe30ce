"""The stage that blends the unlearned model with the original."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

from unlearn.core.progress import Tick
from unlearn.core.recipe import Recipe
from unlearn.core.types import Role
from unlearn.functional.estimates import is_correct
from unlearn.models.base import Classifier
from unlearn.stages.base import BuildContext, Stage
from unlearn.stages.files import write_json, write_tensors
from unlearn.stages.model import ModelStage
from unlearn.stages.samples import SampleSource, warm_up
from unlearn.stages.unlearn import Unlearn
from unlearn.strategies.blend import Mix, interpolate


@dataclass(frozen=True)
class Blended(Stage):
    """A blend of the original and the unlearned model that reaches a validation accuracy.

    It is measured in place of the unlearned model. Files: `model.safetensors`, and `blend.json` with the original's
    fraction `a`, the `validation_accuracy` and its `target`.
    """

    original: ModelStage
    unlearned: Unlearn
    blend: Mix
    validation: SampleSource

    @property
    def label(self) -> str:
        return self.unlearned.label.replace("unlearn", "blend", 1)

    @property
    def seed(self) -> int:
        """Seed of the unlearned model; blending draws nothing at random."""
        return self.unlearned.seed

    @property
    def role(self) -> Role:
        """Always `unlearned`."""
        return Role.UNLEARNED

    def prepare(self, context: BuildContext) -> None:
        warm_up(self.validation.population.dataset, context)
        self.original.warm_up(Recipe(), context)

    def build(self, folder: Path, context: BuildContext, tick: Tick) -> None:
        from unlearn.training.prediction import predict

        model, data = self.unlearned.load(context), self.validation.load(context)
        original, unlearned = self.original.load(context).state_dict(), self.unlearned.load(context).state_dict()
        evaluations = count(1)

        def mix(a: float) -> Classifier:
            state = model.state_dict()  # keeps the version metadata that some nets read
            state.update(interpolate(original, unlearned, a))
            model.load_state_dict(state)
            return model

        def accuracy(a: float) -> float:
            tick(next(evaluations), self.blend.scan + self.blend.steps + 1)  # both ends, and each step between
            return is_correct(predict(mix(a), data)).mean().item()

        best = self.blend.find_fraction(accuracy)
        write_tensors(folder / "model.safetensors", mix(best.a).state_dict())
        write_json(folder / "blend.json", asdict(best))

    def load(self, context: BuildContext) -> Classifier:
        """Return the blended model, frozen, in eval mode, on the training device."""
        return self.original.restore(self, context)


FinalModel = Unlearn | Blended  # the model with the role `unlearned`
