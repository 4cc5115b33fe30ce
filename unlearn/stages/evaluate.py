"""The stage that measures one metric or attack on one model, and the stages that it reads."""

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
from unlearn.stages.invert import RecoveryEvidence
from unlearn.stages.model import LoadableModel
from unlearn.stages.predict import Predict
from unlearn.stages.relearn import Relearn
from unlearn.stages.score import Score
from unlearn.stages.shadow import ShadowForgetSet, ShadowTrainSet


@dataclass(frozen=True)
class EvidenceSpec:
    """The stages that compute what a metric reads of one model."""

    predictions: Mapping[Subset, Predict] = field(default_factory=dict)
    scores: tuple[Score, ...] = ()
    weights: LoadableModel | None = None
    recovered: RecoveryEvidence | None = field(default=None, metadata=ADDED)
    relearned: Relearn | None = field(default=None, metadata=ADDED)

    def load(self, context: BuildContext) -> ModelEvidence:
        """Return the evidence: predictions on the CPU, scores and weights on the training device."""
        return ModelEvidence(
            predictions={subset: read_predictions(context.get(stage)) for subset, stage in self.predictions.items()},
            scores={stage.need: stage.load(context) for stage in self.scores},
            weights={} if self.weights is None else dict(self.weights.load(context).named_parameters()),
            recovered=None if self.recovered is None else self.recovered.load(context),
            relearned={} if self.relearned is None else self.relearned.load(context),
        )


@dataclass(frozen=True)
class ShadowView:
    """The stages that compute what an attack reads of one shadow model."""

    predictions: Mapping[Subset, Predict]
    train_set: ShadowTrainSet
    forget_set: ShadowForgetSet | None  # of a shadow model after unlearning

    def load(self, context: BuildContext) -> Shadow:
        """Return the evidence on the CPU: predictions, and which of their samples it learned and forgot."""
        predictions = {subset: read_predictions(context.get(stage)) for subset, stage in self.predictions.items()}
        learnt = self.train_set.train_mask()
        forgot = torch.zeros_like(learnt) if self.forget_set is None else self.forget_set.forget_mask(context)
        positions = {subset: self.train_set.pool_positions(subset, p.index) for subset, p in predictions.items()}
        return Shadow(
            predictions, *({subset: mask[at] for subset, at in positions.items()} for mask in (learnt, forgot))
        )


@dataclass(frozen=True)
class Evaluate(Stage):
    """The measurements of a metric or attack on one model.

    File: `measurements.json`, by metric name. References that the metric does not compare with are empty. A metric on
    groups of models reads `subjects` and `retrained_models` instead of `subject` and the references.
    """

    metric: Metric
    model: LoadableModel
    subject: EvidenceSpec
    original: EvidenceSpec
    retrained: EvidenceSpec
    untrained: EvidenceSpec
    seed: int
    shadows: tuple[ShadowView, ...] = ()
    subjects: tuple[EvidenceSpec, ...] = field(default=(), metadata=ADDED)
    retrained_models: tuple[EvidenceSpec, ...] = field(default=(), metadata=ADDED)

    is_announced = False

    @property
    def label(self) -> str:
        return f"{type(self.metric).__name__} of {self.model.role}"

    def build(self, folder: Path, context: BuildContext, tick: Tick) -> None:
        measurements = self.metric.measure(self.evidence(context))
        write_json(folder / "measurements.json", {name: asdict(value) for name, value in measurements.items()})

    def evidence(self, context: BuildContext) -> Evidence:
        """Return what the metric reads, of the model and of its references."""
        return Evidence(
            subject=self.subject.load(context),
            original=self.original.load(context),
            retrained=self.retrained.load(context),
            untrained=self.untrained.load(context),
            seed=self.seed,
            shadows=tuple(view.load(context) for view in self.shadows),
            subjects=tuple(spec.load(context) for spec in self.subjects),
            retrained_models=tuple(spec.load(context) for spec in self.retrained_models),
        )

    def load(self, context: BuildContext) -> dict[str, Measurement]:
        """Return the measurements by metric name, without the role."""
        rows = context.get(self).json("measurements.json")
        return {name: Measurement(**row) for name, row in rows.items()}
