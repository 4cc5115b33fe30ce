"""The main job on one screen: from a config to a graph of stages, and through it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain

from unlearn.core.types import Measurement, Role, Subset
from unlearn.data.trained_on import CheckpointFile
from unlearn.metrics.evidence import ShadowRequest
from unlearn.pipeline.config import RunConfig
from unlearn.pipeline.evaluations import Evaluation, Models, evaluations
from unlearn.spd_gan.options import Noise, Off, Probe
from unlearn.stages import shadow_model, sibling
from unlearn.stages.base import BuildContext, Stage
from unlearn.stages.blend import Blended, FinalModel
from unlearn.stages.checkpoint import Checkpoint
from unlearn.stages.condense import Condense
from unlearn.stages.copies import Copies
from unlearn.stages.cost import say_cost
from unlearn.stages.history import History
from unlearn.stages.model import ModelStage
from unlearn.stages.own_models import find_source
from unlearn.stages.perturb import Perturb
from unlearn.stages.plausibility import OwnData
from unlearn.stages.predict import Predict
from unlearn.stages.samples import DataView, Sampled, Samples, Split, Subsets
from unlearn.stages.score import Score
from unlearn.stages.shadow import ShadowDataView
from unlearn.stages.shadow_model import ShadowModel, trained_once, unlearned_once
from unlearn.stages.sibling import SeedReplica
from unlearn.stages.together import build
from unlearn.stages.train import Train
from unlearn.stages.unlearn import Unlearn
from unlearn.strategies.blend import Mix
from unlearn.strategies.retain_set import Condensed


@dataclass(frozen=True)
class Plan:
    """The graph of one run."""

    split: Split
    copies: Copies | None  # of forgotten images, where these are to be removed
    spd_gan: Perturb | None
    original: ModelStage
    fresh: Train | None  # a second original, outside SPD-GAN's loop
    retrained: tuple[Train, ...]
    unlearned: Unlearn
    judged: FinalModel  # what the evaluations call unlearned: that, or its blend
    shadows: tuple[ShadowModel, ...]  # what attacks ask for, some of it the same
    siblings: tuple[SeedReplica, ...]  # what metrics of many models ask for
    evaluations: tuple[Evaluation, ...]

    @property
    def own_data(self) -> OwnData | None:
        """A checkpoint and what it was trained on; None for an original that is trained here."""
        if not isinstance(self.original, Checkpoint):
            return None
        return OwnData(self.original, self.split.forget)

    @property
    def own(self) -> tuple[Stage, ...]:
        """What the strategy starts from and is held against."""
        stages = (self.split, self.copies, self.original, self.fresh, *self.retrained, self.spd_gan)
        return tuple(stage for stage in stages if stage is not None)

    @property
    def trained_for_metrics(self) -> tuple[Train, ...]:
        """By the original's recipe, beside it, whatever the strategy."""
        return (*trained_once(self.shadows), *(each.original for each in self.siblings))

    @property
    def shared(self) -> tuple[Stage, ...]:
        """What cells of a grid have in common."""
        return (*self.own, *self.trained_for_metrics)

    @property
    def unlearning(self) -> tuple[Stage, ...]:
        """What only unlearning needs: its cost."""
        condensed = (self.unlearned.condensed,) if self.unlearned.condensed else ()
        blended = (self.judged,) if isinstance(self.judged, Blended) else ()
        return (*self.unlearned.scores, *condensed, self.unlearned, *blended)

    @property
    def unlearned_for_metrics(self) -> tuple[FinalModel, ...]:
        """By the strategy under test, beside what is judged itself."""
        return (*unlearned_once(self.shadows), *(each.unlearned for each in self.siblings))


@dataclass(frozen=True)
class Outcome:
    """A finished run: its plan, and what every reading measured."""

    plan: Plan
    context: BuildContext
    measurements: tuple[tuple[Evaluation, dict[str, Measurement]], ...]


def run(config: RunConfig, context: BuildContext) -> Outcome:
    """Train, retrain, perturb, unlearn and evaluate, building only what the store does not have."""
    todo = plan(config)
    _verify_original(config, todo, context)
    build((*todo.own, todo.unlearned, todo.judged), context)
    training = (todo.original,) if isinstance(todo.original, Train) else ()
    for extra in (shadow_model.extra(todo.shadows), sibling.extra(todo.siblings)):
        say_cost(extra, training, todo.unlearning, context)
    build((*todo.trained_for_metrics, *todo.unlearned_for_metrics), context)
    measured = []
    with context.console.working("evaluate") as tick:
        for done, reading in enumerate(todo.evaluations, start=1):
            measured.append((reading, reading.stage.load(context)))
            tick(done, len(todo.evaluations))
    return Outcome(todo, context, tuple(measured))


def share(config: RunConfig, context: BuildContext) -> None:
    """Only build what the cells of a grid share."""
    todo = plan(config)
    _verify_original(config, todo, context)
    build(todo.shared, context)


def _verify_original(config: RunConfig, todo: Plan, context: BuildContext) -> None:
    """Before anything is trained, see that a checkpoint is what it was said to be.

    Raises:
        DataError: it is not.
    """
    if todo.own_data is not None:
        build((todo.split, todo.original), context)
        todo.own_data.verify(context, config.checkpoint.accept_accuracy)


def plan(config: RunConfig) -> Plan:
    """The stages of a run and how they hang together; nothing is computed."""
    seeds = config.seeds
    clean = _clean(config)
    guide = _train(config, Role.GUIDE, seeds.train, clean[Subset.RETAIN])
    if config.spd_gan.marks:
        perturb = _perturb(config, clean, guide)
        scenario = replace(clean, moved=perturb, marks=True)
        original = _original(config, scenario)
    else:
        original = _original(config, clean)
        perturb = _perturb(config, clean, original)
        scenario = replace(clean, moved=perturb)
    learnt = Subset.CORRECTED if config.forget.relabels else Subset.RETAIN
    retrained = tuple(_train(config, Role.RETRAINED, seed, clean[learnt]) for seed in config.baseline.seeds)
    wants_fresh = isinstance(config.spd_gan, Probe) and config.spd_gan.fresh
    fresh = _train(config, Role.FRESH, seeds.train, clean[Subset.TRAIN]) if wants_fresh else None
    unlearned = _unlearned(config, scenario, original)
    judged = _judged(config, unlearned)
    asked = dict.fromkeys(metric.shadows for metric in config.measures.values() if metric.shadows)
    shadows = {each: tuple(_shadows(config, scenario, each)) for each in asked}
    more = dict.fromkeys(chain(*(metric.siblings for metric in config.measures.values())))
    siblings = {seed: _sibling(config, scenario, seed) for seed in more}
    models = Models(original, fresh, retrained, judged, siblings, shadows)
    read = tuple(evaluations(config, scenario, models))
    split, every = Split(clean[Subset.FORGET]), tuple(chain(*shadows.values()))
    copies = None if config.forget.relabels else Copies(clean[Subset.FORGET])
    others = every, tuple(siblings.values())
    return Plan(split, copies, perturb, original, fresh, retrained, unlearned, judged, *others, read)


def _clean(config: RunConfig) -> DataView:
    """Who is forgotten; a rule that ranks gets a proxy's predictions on D."""
    plain = DataView(config.dataset, config.forget, config.seeds.split, config.trained_on)
    if not config.forget.ranks:
        return plain
    proxy = _train(config, Role.PROXY, config.seeds.train, plain[Subset.TRAIN])
    return replace(plain, ranking=Predict(proxy, plain[Subset.TRAIN]))


def _train(config: RunConfig, role: Role, seed: int, samples: Sampled) -> Train:
    return Train(
        role=role,
        samples=samples,
        model=config.model,
        seed=seed,
        validation=Samples(Subset.VALIDATION, samples.population),
        recipe=config.train,
        numerics=config.trainer.numerics,
    )


def _original(config: RunConfig, scenario: DataView) -> ModelStage:
    if not isinstance(config.checkpoint, CheckpointFile):
        return _train(config, Role.ORIGINAL, config.seeds.train, scenario[Subset.TRAIN])
    source = find_source(config.checkpoint.file, config.checkpoint.entry, config.paths.store)
    return Checkpoint(
        role=Role.ORIGINAL,
        samples=scenario[Subset.TRAIN],
        model=config.model,
        seed=config.seeds.train,
        file=str(source.path),
        entry=source.entry,
        threads=config.trainer.numerics.threads,
        device=config.trainer.device,
    )


def _perturb(config: RunConfig, clean: DataView, guide: ModelStage) -> Perturb | None:
    if isinstance(config.spd_gan, Off):
        return None
    forget, retain, holdout = (clean[subset] for subset in (Subset.FORGET, Subset.RETAIN, Subset.HOLDOUT))
    needed = None if isinstance(config.spd_gan, Noise) else guide
    return Perturb(config.spd_gan, forget, retain, holdout, needed, config.seeds.train, config.trainer.numerics.plain)


def _unlearned(config: RunConfig, scenario: Subsets, original: ModelStage) -> Unlearn:
    forget, retain = scenario[Subset.FORGET], scenario[Subset.RETAIN]
    numerics, seed = config.trainer.numerics, config.seeds.unlearn
    condense = isinstance(config.retain, Condensed) and config.strategy.reads_retain
    return Unlearn(
        strategy=config.strategy,
        original=original,
        scores=tuple(Score(need, original, scenario[need.subset]) for need in dict.fromkeys(config.strategy.needs())),
        forget=forget,
        retain=retain,
        validation=scenario[Subset.VALIDATION],
        seed=seed,
        numerics=numerics if config.strategy.trains else replace(numerics, devices=1),
        relabelled=scenario[Subset.RELABELLED] if config.forget.relabels else None,
        condensed=Condense(config.retain, original, forget, retain, seed, numerics.plain) if condense else None,
        history=_history(original, config.strategy.history),
    )


def _history(original: ModelStage, replayed: int | None) -> History | None:
    if replayed is None:
        return None
    assert isinstance(original, Train), "refused beforehand"
    return History(original, original.recipe.epochs - replayed)


def _judged(config: RunConfig, unlearned: Unlearn) -> FinalModel:
    if not isinstance(config.blend, Mix):
        return unlearned
    return Blended(unlearned.original, unlearned, config.blend, unlearned.validation)


def _shadows(config: RunConfig, scenario: DataView, asked: ShadowRequest) -> Iterator[ShadowModel]:
    """The first ones of an endless row: more of them leave these as they are."""
    for number in range(asked.count):
        own = ShadowDataView(scenario, number, asked.count)
        trained = _train(config, Role.SHADOW, number, own.half)
        judged = _judged(config, _unlearned(config, own, trained)) if asked.unlearned else None
        yield ShadowModel(own, trained, judged)


def _sibling(config: RunConfig, scenario: DataView, seed: int) -> SeedReplica:
    """Under the keys of a run with these seeds of training and unlearning, where nobody is moved or ranked by them."""
    own = replace(config, seeds=replace(config.seeds, train=seed, unlearn=seed))
    original = _original(own, scenario)
    assert isinstance(original, Train), "refused beforehand"
    return SeedReplica(original, _judged(own, _unlearned(own, scenario, original)))
