"""Plan which metric is measured on which model, and against which references."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from unlearn.core.plugins import option_name
from unlearn.core.types import Role, Subset
from unlearn.metrics.evidence import Metric, ShadowRequest
from unlearn.pipeline.config import RunConfig
from unlearn.stages.blend import FinalModel
from unlearn.stages.evaluate import Evaluate, EvidenceSpec, ShadowView
from unlearn.stages.invert import DataViewWithProbes, Forgotten, Probes, Recover, RecoveryEvidence
from unlearn.stages.model import LoadableModel, ModelStage
from unlearn.stages.predict import Predict
from unlearn.stages.relearn import Relearn
from unlearn.stages.samples import DataView
from unlearn.stages.score import Score
from unlearn.stages.seed_replica import SeedReplica
from unlearn.stages.shadow_model import ShadowModel
from unlearn.stages.shards import Trained
from unlearn.stages.untrained import Untrained
from unlearn.training.trainer import Numerics


@dataclass(frozen=True)
class RunModels:
    """All models of a run that metrics and attacks measure or compare with."""

    original: ModelStage
    fresh: Trained | None
    retrained: tuple[Trained, ...]
    final_model: FinalModel
    seed_replicas: Mapping[int, SeedReplica]  # by seed
    shadows: Mapping[ShadowRequest, tuple[ShadowModel, ...]]


@dataclass(frozen=True)
class Evaluation:
    """One metric on one model, and against one retrained model where the metric compares with it."""

    role: Role
    seed: int  # of the measured model
    reference_seed: int | None  # training seed of the retrained reference, if there is one
    stage: Evaluate

    def describe(self) -> str:
        """Describe it for the console: `accuracy of unlearned (seed 0)`."""
        against = "" if self.reference_seed is None else f" against retrained (seed {self.reference_seed})"
        return f"{option_name(type(self.stage.metric))} of {self.role} (seed {self.seed}){against}"


def plan_evaluations(config: RunConfig, data: DataView, models: RunModels) -> Iterator[Evaluation]:
    """Plan every metric and attack on every model it measures."""
    numerics = replace(config.trainer.numerics, devices=1, callbacks=())
    planner = EvidencePlanner(data, models.original, config.seeds.evaluate, numerics)
    for metric in config.all_metrics.values():
        if metric.replica_seeds:
            yield from _plan_for_model_groups(metric, models, planner)
        else:
            yield from _plan_for_single_models(metric, models, planner)


@dataclass(frozen=True)
class EvidencePlanner:
    """Plans the stages that compute what a metric reads of a model."""

    data: DataView
    original: ModelStage
    seed: int
    numerics: Numerics

    def plan_evidence(self, model: LoadableModel | None, metric: Metric) -> EvidenceSpec:
        """Plan all that `metric` reads of `model`; nothing for None, a reference that it does not compare with."""
        if model is None:
            return EvidenceSpec()
        probes = metric.probing and Probes(self.original, metric.probing, self.seed)
        data = DataViewWithProbes(self.data, probes) if probes else self.data
        return EvidenceSpec(
            predictions={subset: Predict(model, data[subset]) for subset in metric.subsets},
            scores=tuple(Score(need, model, self.data[need.subset]) for need in metric.needs()),
            weights=model if metric.weights else None,
            recovered=self._plan_recovery(model, metric),
            relearned=self._plan_relearning(model, metric),
        )

    def _plan_recovery(self, model: LoadableModel, metric: Metric) -> RecoveryEvidence | None:
        if metric.recovery is None:
            return None
        forgotten = Forgotten(self.data[Subset.FORGET], self.data[Subset.HOLDOUT])
        return RecoveryEvidence(Recover(self.original, model, metric.recovery, self.seed), forgotten)

    def _plan_relearning(self, model: LoadableModel, metric: Metric) -> Relearn | None:
        if metric.relearning is None:
            return None
        forget = self.data[Subset.FORGET]
        original_predictions = Predict(self.original, forget)
        return Relearn(metric.relearning, model, original_predictions, forget, self.seed, self.numerics)


def _plan_for_single_models(metric: Metric, models: RunModels, planner: EvidencePlanner) -> Iterator[Evaluation]:
    """Plan a metric that measures one model at a time, once per retrained model if it compares with these."""
    controls = (models.fresh,) if models.fresh is not None and metric.needs_spd_gan else ()
    subjects: tuple[LoadableModel, ...] = (models.original, *controls, *models.retrained, models.final_model)
    shadows = tuple(shadow.view(metric) for shadow in models.shadows[metric.shadows]) if metric.shadows else ()
    return plan_single_evaluations(metric, subjects, models.retrained, planner, shadows)


def plan_single_evaluations(
    metric: Metric,
    subjects: Sequence[LoadableModel],
    retrained_models: Sequence[Trained],
    planner: EvidencePlanner,
    shadows: tuple[ShadowView, ...] = (),
) -> Iterator[Evaluation]:
    """Plan a metric on each of some models, once per retrained model if it compares with these."""
    references: Sequence[Trained | None] = retrained_models if Role.RETRAINED in metric.references else (None,)
    original = planner.plan_evidence(planner.original if Role.ORIGINAL in metric.references else None, metric)
    untrained_model = Untrained(planner.original, planner.seed) if Role.UNTRAINED in metric.references else None
    untrained = planner.plan_evidence(untrained_model, metric)
    for subject, retrained in product(subjects, references):
        stage = Evaluate(
            metric=metric,
            model=subject,
            subject=planner.plan_evidence(subject, metric),
            original=original,
            retrained=planner.plan_evidence(retrained, metric),
            untrained=untrained,
            seed=planner.seed,
            shadows=shadows,
        )
        yield Evaluation(subject.role, subject.seed, retrained.seed if retrained else None, stage)


def _plan_for_model_groups(metric: Metric, models: RunModels, planner: EvidencePlanner) -> Iterator[Evaluation]:
    """Plan a metric that compares a group of models, one per seed, with as many retrained models.

    It measures each role once. The retrained models are measured against one another if there are two groups of them.
    """
    count, replicas = len(metric.replica_seeds), [models.seed_replicas[seed] for seed in metric.replica_seeds]
    other_retrained = models.retrained[count : 2 * count] if len(models.retrained) >= 2 * count else ()
    groups: tuple[tuple[LoadableModel, tuple[LoadableModel, ...]], ...] = (
        (models.original, tuple(replica.original for replica in replicas)),
        (models.retrained[0], other_retrained),
        (models.final_model, tuple(replica.unlearned for replica in replicas)),
    )
    reference_models = tuple(planner.plan_evidence(model, metric) for model in models.retrained[:count])
    for model, group in groups:
        stage = Evaluate(
            metric=metric,
            model=model,
            subject=EvidenceSpec(),
            original=EvidenceSpec(),
            retrained=EvidenceSpec(),
            untrained=EvidenceSpec(),
            seed=planner.seed,
            subjects=tuple(planner.plan_evidence(member, metric) for member in group),
            retrained_models=reference_models,
        )
        yield Evaluation(model.role, model.seed, None, stage)
