"""Shadow models as attacks see them, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unlearn.console import duration
from unlearn.evidence import Metric
from unlearn.stages.base import Stage, Workshop
from unlearn.stages.blend import Judged
from unlearn.stages.evaluate import ShadowView
from unlearn.stages.model import ModelStage
from unlearn.stages.predict import Predict
from unlearn.stages.shadow import ShadowScenario
from unlearn.stages.train import Train
from unlearn.types import Subset


@dataclass(frozen=True)
class ShadowModel:
    """One shadow model, and what the unlearning under test makes of it, where an attack asks for that."""

    scenario: ShadowScenario
    trained: Train
    unlearned: Judged | None

    def view(self, metric: Metric) -> ShadowView:
        """What an attack reads of it."""
        model = self.trained if self.unlearned is None else self.unlearned
        predictions = {subset: Predict(model, self.scenario.scenario[subset]) for subset in metric.subsets}
        return ShadowView(
            predictions, self.scenario.half, self.scenario.part(Subset.FORGET) if self.unlearned else None
        )


def trained_once(shadows: Sequence[ShadowModel]) -> tuple[Train, ...]:
    """Each as it was trained, whatever attacks ask for it."""
    return tuple({each.trained.key: each.trained for each in shadows}.values())


def unlearned_once(shadows: Sequence[ShadowModel]) -> tuple[Judged, ...]:
    """Those that the strategy then made forget, for this run alone."""
    made = (each.unlearned for each in shadows if each.unlearned is not None)
    return tuple({stage.key: stage for stage in made}.values())


def say_cost(
    shadows: Sequence[ShadowModel], original: ModelStage, unlearning: tuple[Stage, ...], workshop: Workshop
) -> None:
    """How much of it is still to be done, and about how long that takes, where the store can tell by this run's."""
    alone = (original,) if isinstance(original, Train) else ()
    for what, stages, alike in (
        ("training", trained_once(shadows), alone),
        ("unlearning", unlearned_once(shadows), unlearning),
    ):
        count = sum(workshop.peek(stage) is None for stage in stages)
        if count:
            took = [entry.seconds for stage in alike if (entry := workshop.peek(stage))]
            known = took and len(took) == len(alike)
            each = shadows[0].scenario.half.share * sum(took)
            long = f"about {duration(count * each)} one by one" if known else "how long one takes is not known yet"
            workshop.console.say(f"  {'shadow models':<28} {count} {what}{'s' * (count > 1)} to come, {long}")
