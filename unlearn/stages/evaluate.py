"""One metric or attack on one model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from unlearn.core.progress import Tick
from unlearn.core.types import Measurement, Subset
from unlearn.core.validation import ADDED
from unlearn.metrics.evidence import Evidence, Metric, ModelEvidence, Shadow
from unlearn.stages.base import BuildContext, Stage
from unlearn.stages.files import read_predictions, write_json
from unlearn.stages.invert import Recovered
from unlearn.stages.model import Finished
from unlearn.stages.predict import Predict
from unlearn.stages.relearn import Relearn
from unlearn.stages.score import Score
from unlearn.stages.shadow import ShadowForgetSet, ShadowTrainSet


@dataclass(frozen=True)
class EvidenceSpec:
    """What a metric reads of one model."""

    predictions: Mapping[Subset, Predict] = field(default_factory=dict)
    scores: tuple[Score, ...] = ()
    weights: Finished | None = None
    recovered: Recovered | None = field(default=None, metadata=ADDED)
    relearned: Relearn | None = field(default=None, metadata=ADDED)

    def load(self, context: BuildContext) -> ModelEvidence:
        """As a metric sees it, predictions on the CPU, scores and weights on the training device."""
        predictions = {subset: read_predictions(context.get(stage)) for subset, stage in self.predictions.items()}
        scores = {stage.need: stage.load(context) for stage in self.scores}
        parameters = {} if self.weights is None else dict(self.weights.load(context).named_parameters())
        recovered = None if self.recovered is None else self.recovered.load(context)
        relearned = {} if self.relearned is None else self.relearned.load(context)
        return ModelEvidence(predictions, scores, parameters, recovered, relearned)


@dataclass(frozen=True)
class ShadowView:
    """What an attack reads of one shadow model."""

    predictions: Mapping[Subset, Predict]
    half: ShadowTrainSet  # which it learnt
    forgotten: ShadowForgetSet | None  # of that half

    def load(self, context: BuildContext) -> Shadow:
        """As an attack sees it, on the CPU."""
        found = {subset: read_predictions(context.get(stage)) for subset, stage in self.predictions.items()}
        learnt = self.half.learnt()
        forgot = torch.zeros_like(learnt) if self.forgotten is None else self.forgotten.forgotten(context)
        places = {subset: self.half.places(subset, each.index) for subset, each in found.items()}
        return Shadow(found, *({subset: mask[at] for subset, at in places.items()} for mask in (learnt, forgot)))


@dataclass(frozen=True)
class Evaluate(Stage):
    """Its file: `measurements.json`, by name. References that the metric does not ask for are empty.

    A metric of many models sees `subjects` and `retrained_models` in place of `subject` and references.
    """

    metric: Metric
    model: Finished
    subject: EvidenceSpec
    original: EvidenceSpec
    retrained: EvidenceSpec
    untrained: EvidenceSpec
    seed: int
    shadows: tuple[ShadowView, ...] = ()
    subjects: tuple[EvidenceSpec, ...] = field(default=(), metadata=ADDED)
    retrained_models: tuple[EvidenceSpec, ...] = field(default=(), metadata=ADDED)

    announced = False

    @property
    def label(self) -> str:
        return f"{type(self.metric).__name__} of {self.model.role}"

    def build(self, folder: Path, context: BuildContext, tick: Tick) -> None:
        measured = self.metric.measure(self.evidence(context))
        write_json(folder / "measurements.json", {name: asdict(value) for name, value in measured.items()})

    def evidence(self, context: BuildContext) -> Evidence:
        """What the metric looks at."""
        views = (self.subject, self.original, self.retrained, self.untrained)
        subject, original, retrained, untrained = (view.load(context) for view in views)
        shadows = tuple(view.load(context) for view in self.shadows)
        many = (tuple(view.load(context) for view in views) for views in (self.subjects, self.retrained_models))
        return Evidence(subject, original, retrained, untrained, self.seed, shadows, *many)

    def load(self, context: BuildContext) -> dict[str, Measurement]:
        """The measurements by name, without the role."""
        found = context.get(self).json("measurements.json")
        return {name: Measurement(**fields) for name, fields in found.items()}
