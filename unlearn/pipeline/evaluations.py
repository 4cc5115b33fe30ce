"""Which metric looks at which model, beside what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product

from unlearn.core.types import Role, Subset
from unlearn.metrics.evidence import Metric, ShadowRequest
from unlearn.pipeline.config import RunConfig
from unlearn.stages.blend import FinalModel
from unlearn.stages.evaluate import Evaluate, EvidenceSpec
from unlearn.stages.invert import Forgotten, Probed, Probes, Recover, Recovered
from unlearn.stages.model import Finished, ModelStage
from unlearn.stages.predict import Predict
from unlearn.stages.relearn import Relearn
from unlearn.stages.samples import DataView
from unlearn.stages.score import Score
from unlearn.stages.shadow_model import ShadowModel
from unlearn.stages.sibling import SeedReplica
from unlearn.stages.train import Train
from unlearn.stages.untrained import Untrained
from unlearn.training.trainer import Numerics


@dataclass(frozen=True)
class Models:
    """All models of a run that are measured, or that metrics and attacks planner at beside them."""

    original: ModelStage
    fresh: Train | None
    retrained: tuple[Train, ...]
    judged: FinalModel
    siblings: Mapping[int, SeedReplica]  # by seed
    shadows: Mapping[ShadowRequest, tuple[ShadowModel, ...]]


@dataclass(frozen=True)
class Evaluation:
    """One metric on one model, perhaps against one of several retrained models."""

    role: Role
    seed: int  # the model's own
    reference_seed: int | None  # the retrained reference's training seed, where there is one
    stage: Evaluate


def evaluations(config: RunConfig, scenario: DataView, models: Models) -> Iterator[Evaluation]:
    """Every metric and attack on every model."""
    planner = EvidencePlanner(
        scenario, models.original, config.seeds.evaluate, replace(config.trainer.numerics, devices=1)
    )
    for metric in config.measures.values():
        yield from (_of_many if metric.siblings else _of_each)(metric, models, planner)


@dataclass(frozen=True)
class EvidencePlanner:
    """How metrics planner at a model."""

    scenario: DataView
    original: ModelStage
    seed: int
    numerics: Numerics

    def at(self, model: Finished | None, metric: Metric) -> EvidenceSpec:
        """All that the metric asks for of it."""
        if model is None:
            return EvidenceSpec()
        probes = metric.probing and Probes(self.original, metric.probing, self.seed)
        data = Probed(self.scenario, probes) if probes else self.scenario
        predictions = {subset: Predict(model, data[subset]) for subset in metric.subsets}
        scores = tuple(Score(need, model, self.scenario[need.subset]) for need in metric.needs())
        weights = model if metric.weights else None
        return EvidenceSpec(predictions, scores, weights, self._recovered(model, metric), self._again(model, metric))

    def _recovered(self, model: Finished, metric: Metric) -> Recovered | None:
        if metric.recovery is None:
            return None
        forgotten = Forgotten(self.scenario[Subset.FORGET], self.scenario[Subset.HOLDOUT])
        return Recovered(Recover(self.original, model, metric.recovery, self.seed), forgotten)

    def _again(self, model: Finished, metric: Metric) -> Relearn | None:
        if metric.relearning is None:
            return None
        forget = self.scenario[Subset.FORGET]
        before = Predict(self.original, forget)
        return Relearn(metric.relearning, model, before, forget, self.seed, self.numerics)


def _of_each(metric: Metric, models: Models, planner: EvidencePlanner) -> Iterator[Evaluation]:
    """Each model alone, against each retrained one if the metric asks for that."""
    original, fresh = models.original, models.fresh
    against: tuple[Train | None, ...] = models.retrained if Role.RETRAINED in metric.references else (None,)
    untouched = original if Role.ORIGINAL in metric.references else None
    untrained = Untrained(original, planner.seed) if Role.UNTRAINED in metric.references else None
    controls = (fresh,) if fresh is not None and metric.needs_spd_gan else ()
    subjects: tuple[Finished, ...] = (original, *controls, *models.retrained, models.judged)
    beside = tuple(each.view(metric) for each in models.shadows[metric.shadows]) if metric.shadows else ()
    for model, judge in product(subjects, against):
        subject, before, wanted, blank = (planner.at(each, metric) for each in (model, untouched, judge, untrained))
        stage = Evaluate(metric, model, subject, before, wanted, blank, planner.seed, beside)
        yield Evaluation(model.role, model.seed, judge.seed if judge else None, stage)


def _of_many(metric: Metric, models: Models, planner: EvidencePlanner) -> Iterator[Evaluation]:
    """Each role once, by as many models as there are seeds; the retrained ones beyond these are their own floor."""
    n, made = len(metric.siblings), [models.siblings[seed] for seed in metric.siblings]
    others = models.retrained[n : 2 * n] if len(models.retrained) >= 2 * n else ()
    wanted = tuple(planner.at(each, metric) for each in models.retrained[:n])
    kinds: tuple[tuple[Finished, tuple[Finished, ...]], ...] = (
        (models.original, tuple(each.original for each in made)),
        (models.retrained[0], others),
        (models.judged, tuple(each.unlearned for each in made)),
    )
    for model, alike in kinds:
        subjects, blank = tuple(planner.at(each, metric) for each in alike), EvidenceSpec()
        stage = Evaluate(metric, model, blank, blank, blank, blank, planner.seed, (), subjects, wanted)
        yield Evaluation(model.role, model.seed, None, stage)
