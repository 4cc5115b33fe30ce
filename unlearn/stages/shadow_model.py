"""Shadow models: what attacks read of them, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unlearn.core.types import Subset
from unlearn.metrics.evidence import Metric
from unlearn.stages.blend import FinalModel
from unlearn.stages.cost import ExtraModels
from unlearn.stages.evaluate import ShadowView
from unlearn.stages.predict import Predict
from unlearn.stages.shadow import ShadowDataView
from unlearn.stages.shards import Trained


@dataclass(frozen=True)
class ShadowModel:
    """A shadow model, and the model that the strategy makes of it where an attack asks for that."""

    data: ShadowDataView
    trained: Trained
    unlearned: FinalModel | None

    def view(self, metric: Metric) -> ShadowView:
        """Plan what an attack reads of it: predictions of the unlearned model if there is one."""
        model = self.trained if self.unlearned is None else self.unlearned
        predictions = {subset: Predict(model, self.data.run_data[subset]) for subset in metric.subsets}
        forget_set = self.data.forget_set(Subset.FORGET) if self.unlearned else None
        return ShadowView(predictions, self.data.train_set, forget_set)


def collect_trained_models(shadows: Sequence[ShadowModel]) -> tuple[Trained, ...]:
    """Return the training stages, each once even if several attacks ask for it."""
    return tuple({shadow.trained.key: shadow.trained for shadow in shadows}.values())


def collect_unlearned_models(shadows: Sequence[ShadowModel]) -> tuple[FinalModel, ...]:
    """Return the models after unlearning, each once even if several attacks ask for it."""
    models = (shadow.unlearned for shadow in shadows if shadow.unlearned is not None)
    return tuple({model.key: model for model in models}.values())


def extra_models(shadows: Sequence[ShadowModel]) -> ExtraModels:
    """List the models for the cost estimate; each learns, and forgets, about half of what the original does."""
    relative_size = shadows[0].data.train_set.relative_size if shadows else 1.0
    trained, unlearned = collect_trained_models(shadows), collect_unlearned_models(shadows)
    return ExtraModels("shadow models", trained, unlearned, relative_size)
