"""Shadow models as attacks see them, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unlearn.core.types import Subset
from unlearn.metrics.evidence import Metric
from unlearn.stages.blend import FinalModel
from unlearn.stages.cost import Extra
from unlearn.stages.evaluate import ShadowView
from unlearn.stages.predict import Predict
from unlearn.stages.shadow import ShadowDataView
from unlearn.stages.train import Train


@dataclass(frozen=True)
class ShadowModel:
    """One shadow model, and what the unlearning under test makes of it, where an attack asks for that."""

    scenario: ShadowDataView
    trained: Train
    unlearned: FinalModel | None

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


def unlearned_once(shadows: Sequence[ShadowModel]) -> tuple[FinalModel, ...]:
    """Those that the strategy then made forget, for this run alone."""
    made = (each.unlearned for each in shadows if each.unlearned is not None)
    return tuple({stage.key: stage for stage in made}.values())


def extra(shadows: Sequence[ShadowModel]) -> Extra:
    """What they cost: each learns, and forgets, about half of what the original does."""
    half = shadows[0].scenario.half.share if shadows else 1.0
    return Extra("shadow models", trained_once(shadows), unlearned_once(shadows), half)
