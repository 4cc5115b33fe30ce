"""The unlearned model, mixed with the original up to a validation accuracy."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

from unlearn.core.progress import Tick
from unlearn.core.recipe import Recipe
from unlearn.core.types import Role
from unlearn.functional.estimates import correct
from unlearn.models.base import Classifier
from unlearn.stages.base import BuildContext, Stage
from unlearn.stages.files import write_json, write_tensors
from unlearn.stages.model import ModelStage
from unlearn.stages.samples import Sampled, warm_up
from unlearn.stages.unlearn import Unlearn
from unlearn.strategies.blend import Mix, interpolate


@dataclass(frozen=True)
class Blended(Stage):
    """A mixture of the original and the unlearned model, judged in the latter's place.

    Its files: `model.safetensors`, and `blend.json`: the original's share `a`, `validation_accuracy`, `target`.
    """

    original: ModelStage
    unlearned: Unlearn
    blend: Mix
    validation: Sampled

    @property
    def label(self) -> str:
        return self.unlearned.label.replace("unlearn", "blend", 1)

    @property
    def seed(self) -> int:
        """The unlearned model's: nothing is drawn here."""
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
        tried = count(1)

        def mix(a: float) -> Classifier:
            state = model.state_dict()  # with the versions that some nets ask for
            state.update(interpolate(original, unlearned, a))
            model.load_state_dict(state)
            return model

        def accuracy(a: float) -> float:
            tick(next(tried), self.blend.scan + self.blend.steps + 1)  # both ends and all between
            return correct(predict(mix(a), data)).mean().item()

        found = self.blend.find(accuracy)
        write_tensors(folder / "model.safetensors", mix(found.a).state_dict())
        write_json(folder / "blend.json", asdict(found))

    def load(self, context: BuildContext) -> Classifier:
        """The blended model, frozen, in eval mode, on the training device."""
        return self.original.restore(self, context)


FinalModel = Unlearn | Blended  # whichever the role `unlearned` is played by
