"""The main job on one screen: plan the stages of a run, build them, and evaluate the models."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

from unlearn.core.types import Subset
from unlearn.pipeline.config import RunConfig
from unlearn.pipeline.evaluations import Evaluation, RunModels, plan_evaluations
from unlearn.pipeline.plan_stages import (
    list_unlearning_stages,
    plan_clean_data,
    plan_final_model,
    plan_fresh,
    plan_original,
    plan_retrained,
    plan_seed_replicas,
    plan_shadow_models,
    plan_single_model,
    plan_unlearning,
)
from unlearn.pipeline.run_evaluations import Measured, evaluate
from unlearn.stages import seed_replica, shadow_model
from unlearn.stages.base import BuildContext, Stage
from unlearn.stages.blend import FinalModel
from unlearn.stages.building import build
from unlearn.stages.checkpoint import Checkpoint
from unlearn.stages.copies import Copies
from unlearn.stages.cost import announce_cost
from unlearn.stages.model import ModelStage
from unlearn.stages.perturb import Perturb
from unlearn.stages.plausibility import PlausibilityCheck
from unlearn.stages.predict import Predict
from unlearn.stages.samples import Split
from unlearn.stages.seed_replica import SeedReplica
from unlearn.stages.shadow_model import ShadowModel, collect_trained_models, collect_unlearned_models
from unlearn.stages.shards import Trained
from unlearn.stages.unlearn import Unlearn


def run(config: RunConfig, context: BuildContext) -> Outcome:
    """Train, retrain, perturb, unlearn and evaluate, building only what the store does not have.

    Args:
        config: a checked config.
        context: the store, the hardware and the console.

    Raises:
        DataError: the checkpoint does not know the data that it is said to be trained on.
        UnlearnError: a stage cannot be built.
    """
    plan = make_plan(config)
    _verify_checkpoint(config, plan, context)
    build((*plan.setup_stages, plan.unlearned, plan.final_model), context)
    _announce_extra_models(plan, context)
    build((*plan.trained_for_metrics, *plan.unlearned_for_metrics), context)
    return Outcome(plan, context, evaluate(plan.evaluations, context))


def build_shared(config: RunConfig, context: BuildContext) -> None:
    """Build only what the cells of a sweep share: everything before unlearning, and models that metrics train."""
    plan = make_plan(config)
    _verify_checkpoint(config, plan, context)
    build(plan.shared_stages, context)


def make_plan(config: RunConfig) -> Plan:
    """Plan all stages of a run and connect them by their inputs, without computing anything."""
    clean = plan_clean_data(config)
    original, spd_gan, data = plan_original(config, clean)
    retrained, fresh = plan_retrained(config, clean), plan_fresh(config, clean)
    unlearned = plan_unlearning(config, data, original)
    final_model = plan_final_model(config, unlearned)
    shadows, replicas = plan_shadow_models(config, data), plan_seed_replicas(config, data)
    models = RunModels(original, fresh, retrained, final_model, replicas, shadows)
    return Plan(
        split=Split(clean[Subset.FORGET]),
        copies=None if config.forget.relabels else Copies(clean[Subset.FORGET]),
        spd_gan=spd_gan,
        original=original,
        fresh=fresh,
        retrained=retrained,
        single_model=plan_single_model(config, data),
        unlearned=unlearned,
        final_model=final_model,
        shadows=tuple(chain(*shadows.values())),
        seed_replicas=tuple(replicas.values()),
        evaluations=tuple(plan_evaluations(config, data, models)),
    )


@dataclass(frozen=True)
class Plan:
    """All stages of one run."""

    split: Split
    copies: Copies | None  # copies of forgotten images in other subsets; None where labels are corrected
    spd_gan: Perturb | None
    original: ModelStage
    fresh: Trained | None  # a second original, which SPD-GAN never used
    retrained: tuple[Trained, ...]
    single_model: Predict | None  # of SISA: the test set by one model on all records, to compare the ensemble with
    unlearned: Unlearn
    final_model: FinalModel  # measured as `unlearned`: the unlearned model, or its blend with the original
    shadows: tuple[ShadowModel, ...]  # for all attacks; two attacks may list the same model
    seed_replicas: tuple[SeedReplica, ...]  # for metrics on groups of models
    evaluations: tuple[Evaluation, ...]

    @property
    def plausibility_check(self) -> PlausibilityCheck | None:
        """The check that a checkpoint knows its training data; None for an original that is trained here."""
        if not isinstance(self.original, Checkpoint):
            return None
        return PlausibilityCheck(self.original, self.split.forget)

    @property
    def setup_stages(self) -> tuple[Stage, ...]:
        """The split, and the models and images that unlearning starts from or is compared with."""
        models = (self.original, self.fresh, *self.retrained, self.single_model)
        stages = (self.split, self.copies, *models, self.spd_gan)
        return tuple(stage for stage in stages if stage is not None)

    @property
    def unlearning_stages(self) -> tuple[Stage, ...]:
        """The stages that only unlearning needs: they make up its cost."""
        return list_unlearning_stages(self.final_model)

    @property
    def trained_for_metrics(self) -> tuple[Trained, ...]:
        """Shadow models and originals of other seeds, which do not depend on the strategy."""
        return (*collect_trained_models(self.shadows), *(replica.original for replica in self.seed_replicas))

    @property
    def unlearned_for_metrics(self) -> tuple[FinalModel, ...]:
        """Shadow models and originals of other seeds after the strategy unlearned on them."""
        return (*collect_unlearned_models(self.shadows), *(replica.unlearned for replica in self.seed_replicas))

    @property
    def shared_stages(self) -> tuple[Stage, ...]:
        """The stages that the cells of a sweep share."""
        return (*self.setup_stages, *self.trained_for_metrics)


@dataclass(frozen=True)
class Outcome:
    """A finished run: its plan, and the measurements of every evaluation."""

    plan: Plan
    context: BuildContext
    measurements: Measured


def _verify_checkpoint(config: RunConfig, plan: Plan, context: BuildContext) -> None:
    """Check, before anything is trained, that a checkpoint knows its training data.

    Raises:
        DataError: it does not.
    """
    if plan.plausibility_check is not None:
        build((plan.split, plan.original), context)
        plan.plausibility_check.verify(context, config.checkpoint.accept_accuracy)


def _announce_extra_models(plan: Plan, context: BuildContext) -> None:
    """Print how many shadow models and replicas are still to build, and how long that takes."""
    training = () if isinstance(plan.original, Checkpoint) else (plan.original,)
    for models in (shadow_model.extra_models(plan.shadows), seed_replica.extra_models(plan.seed_replicas)):
        announce_cost(models, training, plan.unlearning_stages, context)
