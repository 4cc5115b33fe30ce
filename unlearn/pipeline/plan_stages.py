"""Plan the stages of a run one by one: data, training, perturbation, unlearning, shadow models and replicas."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

from unlearn.core.sisa_recipe import SisaRecipe
from unlearn.core.types import Role, Subset
from unlearn.data.trained_on import CheckpointFile
from unlearn.metrics.evidence import ShadowRequest
from unlearn.pipeline.config import RunConfig
from unlearn.spd_gan.options import Noise, Off, Probe
from unlearn.stages.base import Stage
from unlearn.stages.blend import Blended, FinalModel
from unlearn.stages.checkpoint import Checkpoint
from unlearn.stages.condense import Condense
from unlearn.stages.history import History
from unlearn.stages.model import ModelStage
from unlearn.stages.own_models import find_source
from unlearn.stages.perturb import Perturb
from unlearn.stages.predict import Predict
from unlearn.stages.samples import DataView, Samples, SampleSource, SubsetSources
from unlearn.stages.score import Score
from unlearn.stages.seed_replica import SeedReplica
from unlearn.stages.shadow import ShadowDataView
from unlearn.stages.shadow_model import ShadowModel
from unlearn.stages.shards import Trained, TrainShards
from unlearn.stages.train import Train
from unlearn.stages.unlearn import Unlearn
from unlearn.strategies.blend import Mix
from unlearn.strategies.one_device import OneDevice
from unlearn.strategies.retain_set import Condensed
from unlearn.strategies.sisa import Sisa
from unlearn.training.trainer import Numerics


def plan_clean_data(config: RunConfig) -> DataView:
    """Plan the unperturbed data; a request that ranks records gets a proxy model's predictions on D."""
    data = DataView(config.dataset, config.forget, config.seeds.split, config.trained_on)
    if not config.forget.ranks:
        return data
    proxy = _plan_single_training(config, Role.PROXY, config.seeds.train, data[Subset.TRAIN])
    return replace(data, ranking=Predict(proxy, data[Subset.TRAIN]))


def plan_original(config: RunConfig, clean: DataView) -> tuple[ModelStage, Perturb | None, DataView]:
    """Plan the original, SPD-GAN, and the data that all other models see.

    The marker perturbs images first, by a guide, and the original is trained on them. The probe perturbs images by the
    original, which is trained on clean data.
    """
    if config.spd_gan.marks:
        guide = _plan_single_training(config, Role.GUIDE, config.seeds.train, clean[Subset.RETAIN])
        spd_gan = _plan_perturbation(config, clean, guide)
        data = replace(clean, perturbed_by=spd_gan, marks=True)
        return _plan_original_on(config, data), spd_gan, data
    original = _plan_original_on(config, clean)
    spd_gan = _plan_perturbation(config, clean, original)
    return original, spd_gan, replace(clean, perturbed_by=spd_gan)


def plan_retrained(config: RunConfig, clean: DataView) -> tuple[Trained, ...]:
    """Plan the retrained models, one per baseline seed, on the retain set or, if labels are corrected, on all of D."""
    samples = clean[_retrained_subset(config)]
    return tuple(_plan_training(config, Role.RETRAINED, seed, samples) for seed in config.baseline.seeds)


def plan_single_model(config: RunConfig, data: DataView) -> Predict | None:
    """Plan one model on all records to compare a SISA ensemble with; only where other models are retrained too."""
    recipe = config.train
    if not (isinstance(recipe, SisaRecipe) and recipe.single_model and config.baseline.seeds):
        return None
    single = _plan_single_training(config, Role.ORIGINAL, config.seeds.train, data[Subset.TRAIN])
    return Predict(single, data[Subset.TEST])


def plan_fresh(config: RunConfig, clean: DataView) -> Trained | None:
    """Plan a second original that SPD-GAN's probe never used, if the config asks for this control."""
    if not (isinstance(config.spd_gan, Probe) and config.spd_gan.fresh):
        return None
    return _plan_training(config, Role.FRESH, config.seeds.train, clean[Subset.TRAIN])


def plan_unlearning(config: RunConfig, data: SubsetSources, original: ModelStage) -> Unlearn:
    """Plan the strategy on an original, with everything that it reads."""
    forget, retain = data[Subset.FORGET], data[Subset.RETAIN]
    plain, seed = config.trainer.numerics.plain, config.seeds.unlearn
    condenses = isinstance(config.retain, Condensed) and config.strategy.reads_retain
    return Unlearn(
        strategy=config.strategy,
        original=original,
        scores=tuple(Score(need, original, data[need.subset]) for need in dict.fromkeys(config.strategy.needs())),
        forget=forget,
        retain=retain,
        validation=data[Subset.VALIDATION],
        seed=seed,
        numerics=_unlearning_numerics(config),
        relabelled=data[Subset.RELABELLED] if config.forget.relabels else None,
        condensed=Condense(config.retain, original, forget, retain, seed, plain) if condenses else None,
        history=_plan_history(original, config.strategy.history),
        rebuilt=_plan_rebuilt(original, data[_retrained_subset(config)]) if isinstance(config.strategy, Sisa) else None,
    )


def _unlearning_numerics(config: RunConfig) -> Numerics:
    """Return what of `trainer` changes the weights: callbacks if there are steps, devices if they share batches."""
    numerics: Numerics = config.trainer.numerics
    strategy = config.strategy
    callbacks = numerics.callbacks if strategy.trains else ()
    devices = numerics.devices if strategy.trains and not isinstance(strategy, OneDevice) else 1
    return replace(numerics, devices=devices, callbacks=callbacks)


def plan_final_model(config: RunConfig, unlearned: Unlearn) -> FinalModel:
    """Plan the model that is measured as `unlearned`: the unlearned model itself, or its blend with the original."""
    if not isinstance(config.blend, Mix):
        return unlearned
    return Blended(unlearned.original, unlearned, config.blend, unlearned.validation)


def list_unlearning_stages(model: FinalModel) -> tuple[Stage, ...]:
    """List the stages that only unlearning needs: they make up its cost."""
    unlearned = model.unlearned if isinstance(model, Blended) else model
    condensed = (unlearned.condensed,) if unlearned.condensed else ()
    blended = (model,) if isinstance(model, Blended) else ()
    return (*unlearned.scores, *condensed, unlearned, *blended)


def plan_shadow_models(config: RunConfig, data: DataView) -> dict[ShadowRequest, tuple[ShadowModel, ...]]:
    """Plan the shadow models that attacks ask for, by request."""
    requests = dict.fromkeys(metric.shadows for metric in config.all_metrics.values() if metric.shadows)
    return {request: tuple(_plan_shadows(config, data, request)) for request in requests}


def plan_seed_replicas(config: RunConfig, data: DataView) -> dict[int, SeedReplica]:
    """Plan the models from other seeds that metrics on groups of models ask for, by seed."""
    seeds = dict.fromkeys(chain(*(metric.replica_seeds for metric in config.all_metrics.values())))
    return {seed: _plan_seed_replica(config, data, seed) for seed in seeds}


def _retrained_subset(config: RunConfig) -> Subset:
    """Return what retrained models are trained on."""
    return Subset.CORRECTED if config.forget.relabels else Subset.RETAIN


def _plan_training(config: RunConfig, role: Role, seed: int, samples: SampleSource) -> Trained:
    """Plan the training of one model, or of the shards of one ensemble."""
    if not isinstance(config.train, SisaRecipe):
        return _plan_single_training(config, role, seed, samples)
    return TrainShards(
        role=role,
        samples=samples,
        model=config.model,
        seed=seed,
        recipe=config.train,
        numerics=config.trainer.numerics,
    )


def _plan_single_training(config: RunConfig, role: Role, seed: int, samples: SampleSource) -> Train:
    recipe = config.train.of_single_model if isinstance(config.train, SisaRecipe) else config.train
    return Train(
        role=role,
        samples=samples,
        model=config.model,
        seed=seed,
        validation=Samples(Subset.VALIDATION, samples.population),
        recipe=recipe,
        numerics=config.trainer.numerics,
    )


def _plan_rebuilt(original: ModelStage, samples: SampleSource) -> TrainShards | None:
    """Plan the ensemble that the original's training makes of the remaining records, as a retrained model."""
    ensemble = original.ensemble
    return replace(ensemble, role=Role.RETRAINED, samples=samples) if ensemble else None  # check_sisa refuses others


def _plan_original_on(config: RunConfig, data: DataView) -> ModelStage:
    """Plan the original's training on these data, or read it from a checkpoint."""
    if not isinstance(config.checkpoint, CheckpointFile):
        return _plan_training(config, Role.ORIGINAL, config.seeds.train, data[Subset.TRAIN])
    source = find_source(config.checkpoint.file, config.checkpoint.entry, config.paths.store)
    return Checkpoint(
        role=Role.ORIGINAL,
        samples=data[Subset.TRAIN],
        model=config.model,
        seed=config.seeds.train,
        file=str(source.path),
        entry=source.entry,
        threads=config.trainer.numerics.threads,
        device=config.trainer.device,
    )


def _plan_perturbation(config: RunConfig, clean: DataView, guide: ModelStage) -> Perturb | None:
    if isinstance(config.spd_gan, Off):
        return None
    return Perturb(
        settings=config.spd_gan,
        forget=clean[Subset.FORGET],
        retain=clean[Subset.RETAIN],
        holdout=clean[Subset.HOLDOUT],
        guide=None if isinstance(config.spd_gan, Noise) else guide,
        seed=config.seeds.train,
        numerics=config.trainer.numerics.plain,
    )


def _plan_history(original: ModelStage, replayed_epochs: int | None) -> History | None:
    if replayed_epochs is None:
        return None
    assert isinstance(original, Train), "check_config refuses other originals"
    return History(original, original.recipe.epochs - replayed_epochs)


def _plan_shadows(config: RunConfig, data: DataView, request: ShadowRequest) -> Iterator[ShadowModel]:
    """Plan shadow models by number; a larger count leaves those with smaller numbers unchanged."""
    for number in range(request.count):
        shadow_data = ShadowDataView(data, number, request.count)
        trained = _plan_training(config, Role.SHADOW, number, shadow_data.train_set)
        unlearned = plan_unlearning(config, shadow_data, trained) if request.unlearned else None
        yield ShadowModel(shadow_data, trained, unlearned and plan_final_model(config, unlearned))


def _plan_seed_replica(config: RunConfig, data: DataView, seed: int) -> SeedReplica:
    """Plan an original and its unlearned model under the keys that a run with this seed gives them.

    The forget set and SPD-GAN's images stay those of the run.
    """
    seeded = replace(config, seeds=replace(config.seeds, train=seed, unlearn=seed))
    original = _plan_original_on(seeded, data)
    assert isinstance(original, Trained), "check_metrics refuses a checkpoint here"
    return SeedReplica(original, plan_final_model(seeded, plan_unlearning(seeded, data, original)))
