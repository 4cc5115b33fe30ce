"""The main job on one screen: from a config to a graph of stages, and through it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import torch
from omegaconf import MISSING

from unlearn.checks import at_least
from unlearn.errors import Problem
from unlearn.spd_gan.options import Marker, Off
from unlearn.stages.base import Workshop
from unlearn.stages.evaluate import Evaluate
from unlearn.stages.mark import Mark
from unlearn.stages.predict import Predict
from unlearn.stages.samples import Scenario
from unlearn.stages.train import Train
from unlearn.stages.unlearn import Score, Unlearn
from unlearn.types import Measurement, Metric, Role, Subset


@dataclass(frozen=True)
class Seeds:
    """Where each kind of randomness starts; all follow `seed` unless set."""

    split: int = at_least(0, 0)
    train: int = at_least(0, 0)
    unlearn: int = at_least(0, 0)
    evaluate: int = at_least(0, 0)


@dataclass(frozen=True)
class Baseline:
    """Training seeds of the retrained models; with two or more they give the noise floor. Empty: no baseline."""

    seeds: list[int] = field(default_factory=list)

    def problems(self, key: str) -> Iterator[Problem]:
        """Each seed once."""
        if len(set(self.seeds)) < len(self.seeds):
            yield Problem(f"{key}.seeds", "each seed once", self.seeds)


@dataclass(frozen=True)
class Paths:
    """Where things lie; no result depends on it."""

    store: str = "artifacts"
    output: str = "outputs"
    data: str = "data"


@dataclass(frozen=True)
class RunConfig:
    """Everything a run is told. The option chosen in each group brings its type."""

    dataset: Any = MISSING
    forget: Any = MISSING
    model: Any = MISSING
    train: Any = MISSING
    baseline: Any = MISSING
    strategy: Any = MISSING
    spd_gan: Any = MISSING
    metrics: dict[str, Any] = field(default_factory=dict)
    attacks: dict[str, Any] = field(default_factory=dict)
    seeds: Seeds = field(default_factory=Seeds)
    seed: int = at_least(0, 0)
    trainer: Any = MISSING
    logger: Any = MISSING
    paths: Paths = field(default_factory=Paths)
    rebuild_damaged: bool = False  # build artefacts anew that the store finds damaged

    @property
    def measures(self) -> dict[str, Metric]:
        """Metrics and attacks together, by name."""
        return {**self.metrics, **self.attacks}


@dataclass(frozen=True)
class Reading:
    """One metric on one model, perhaps against one of several retrained models."""

    role: Role
    seed: int  # the model's own
    reference_seed: int | None  # the retrained reference's training seed, where there is one
    stage: Evaluate


@dataclass(frozen=True)
class Plan:
    """The graph of one run."""

    mark: Mark | None
    original: Train
    retrained: tuple[Train, ...]
    unlearned: Unlearn
    readings: tuple[Reading, ...]


@dataclass(frozen=True)
class Outcome:
    """A finished run: its plan, and what every reading measured."""

    plan: Plan
    workshop: Workshop
    measurements: tuple[tuple[Reading, dict[str, Measurement]], ...]


def run(config: RunConfig, workshop: Workshop) -> Outcome:
    """Train, mark, retrain, unlearn and evaluate, building only what the store does not have."""
    todo = plan(config)
    for model in (todo.original, *todo.retrained, todo.unlearned):
        workshop.need(model)
    measured = []
    with workshop.console.working("evaluate") as tick:
        for done, reading in enumerate(todo.readings, start=1):
            measured.append((reading, reading.stage.load(workshop)))
            tick(done, len(todo.readings))
    return Outcome(todo, workshop, tuple(measured))


def plan(config: RunConfig) -> Plan:
    """The stages of a run and how they hang together; nothing is computed."""
    clean = Scenario(config.dataset, config.forget, config.seeds.split)

    def train(role: Role, seed: int, scenario: Scenario, subset: Subset) -> Train:
        validation = clean[Subset.VALIDATION]
        return Train(role, scenario[subset], validation, config.model, config.train, seed, numerics)

    numerics = config.trainer.numerics
    seeds = config.seeds
    guide = train(Role.GUIDE, seeds.train, clean, Subset.RETAIN)
    mark = _mark(config, clean, guide)
    scenario = replace(clean, mark=mark)
    original = train(Role.ORIGINAL, seeds.train, scenario, Subset.TRAIN)
    retrained = tuple(train(Role.RETRAINED, seed, clean, Subset.RETAIN) for seed in config.baseline.seeds)
    forget, retain = scenario[Subset.FORGET], scenario[Subset.RETAIN]
    scores = tuple(Score(need, original, scenario[need.subset]) for need in config.strategy.needs())
    unlearned = Unlearn(
        config.strategy,
        original,
        scores,
        forget,
        retain,
        scenario[Subset.VALIDATION],
        seeds.unlearn,
        numerics,
    )
    readings = tuple(_readings(config, scenario, original, retrained, unlearned))
    return Plan(mark, original, retrained, unlearned, readings)


def _mark(config: RunConfig, clean: Scenario, guide: Train) -> Mark | None:
    if isinstance(config.spd_gan, Off):
        return None
    retain = clean[Subset.RETAIN]
    needed = guide if isinstance(config.spd_gan, Marker) else None
    return Mark(config.spd_gan, clean[Subset.FORGET], retain, clean[Subset.HOLDOUT], needed, config.seeds.train)


def _readings(
    config: RunConfig, scenario: Scenario, original: Train, retrained: tuple[Train, ...], unlearned: Unlearn
) -> Iterator[Reading]:
    for metric in config.measures.values():
        against: tuple[Train | None, ...] = retrained if Role.RETRAINED in metric.references else (None,)
        untouched = original if Role.ORIGINAL in metric.references else None
        models: tuple[Train | Unlearn, ...] = (original, *retrained, unlearned)
        for model, judge in product(models, against):
            subject, before, wanted = (_views(metric, scenario, each) for each in (model, untouched, judge))
            stage = Evaluate(metric, subject, before, wanted, config.seeds.evaluate)
            yield Reading(model.role, model.seed, judge.seed if judge else None, stage)


def _views(metric: Metric, scenario: Scenario, model: Train | Unlearn | None) -> dict[Subset, Predict]:
    return {} if model is None else {subset: Predict(model, scenario[subset]) for subset in metric.subsets}


def check(config: RunConfig) -> Iterator[Problem | str]:
    """Requests and strategies that do not fit the data or the net, found before anything is computed."""
    yield from config.strategy.check(lambda: _blank_net(config))
    yield from config.forget.check(config.dataset)


def check_metrics(config: RunConfig) -> Iterator[Problem]:
    """Metrics and attacks that need what is switched off."""
    for group, chosen in (("metrics", config.metrics), ("attacks", config.attacks)):
        for name, metric in chosen.items():
            yield from _missing(config, f"{group}.{name}", metric)


def _missing(config: RunConfig, key: str, metric: Metric) -> Iterator[Problem]:
    if Role.RETRAINED in metric.references and not config.baseline.seeds:
        yield Problem(key, "a retrained model: baseline=retrain, or metrics=without_baseline", "baseline.seeds=[]")
    if metric.needs_spd_gan and isinstance(config.spd_gan, Off):
        yield Problem(key, "perturbed data: spd_gan=marker, or metrics=spd_gan_off", "spd_gan=off")


def _blank_net(config: RunConfig) -> torch.nn.Module:
    """Shapes without values; parameters are named as in the classifier."""
    with torch.device("meta"):
        return torch.nn.ModuleDict({"net": config.model.net(config.dataset.shape, config.dataset.classes)})
