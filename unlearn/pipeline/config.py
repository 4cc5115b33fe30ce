"""What a run is told, and what cannot be asked for together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from omegaconf import MISSING
from torch import nn

from unlearn.core.errors import Problem, UnlearnError
from unlearn.core.plugins import options, snake_case
from unlearn.core.types import Role
from unlearn.core.validation import at_least, one_of, runtime, share
from unlearn.data.population import Population
from unlearn.data.requests.base import Forget
from unlearn.data.trained_on import CheckpointFile, TrainedOn
from unlearn.metrics.evidence import Metric
from unlearn.models.checkpoints.content import file_sha256
from unlearn.models.checkpoints.weights import read_weights
from unlearn.spd_gan.options import Off
from unlearn.stages.own_models import find_source
from unlearn.strategies.base import Strategy
from unlearn.training.layout import refused
from unlearn.training.repeatable import raising_operations
from unlearn.training.trainer import TrainerSettings

UNSEEN = re.compile(
    r"test|holdout|recovery|mia_|membership|nomus|tug_of_war|/aus$|^average_"
)  # in names of what a search may not look at
END, BASELINE = "end", "baseline"


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
class Page:
    """What lies beside a run's `report.json`; no result depends on it."""

    html: bool = runtime(True)  # the page, report.html
    images: bool | None = runtime(None)  # show forgotten images; null: those of public data sets only
    audit: bool = runtime(False)  # audit.json, and the key of its HMACs in audit.key (docs/audit.md)
    tolerance: float = runtime(share(0.02, zero=False))  # of accuracy or AUC: what the verdict calls equal


@dataclass(frozen=True)
class RunConfig:
    """Everything a run is told. The option chosen in each group brings its type."""

    dataset: Any = MISSING
    forget: Any = MISSING
    model: Any = MISSING
    checkpoint: Any = MISSING
    train: Any = MISSING
    baseline: Any = MISSING
    strategy: Any = MISSING
    retain: Any = MISSING
    blend: Any = MISSING
    spd_gan: Any = MISSING
    metrics: dict[str, Any] = field(default_factory=dict)
    attacks: dict[str, Any] = field(default_factory=dict)
    seeds: Seeds = field(default_factory=Seeds)
    seed: int = at_least(0, 0)
    trainer: Any = MISSING
    logger: Any = MISSING
    cluster: Any = MISSING
    paths: Paths = field(default_factory=Paths)
    report: Page = field(default_factory=Page)
    objective: str | None = None  # the number of the report by which a search judges a cell
    until: str = one_of(END, BASELINE)  # baseline: originals, SPD-GANs and retrained models, which cells share
    rebuild_damaged: bool = False  # build artefacts anew that the store finds damaged

    @property
    def measures(self) -> dict[str, Metric]:
        """Metrics and attacks together, by name."""
        return {**self.metrics, **self.attacks}

    @property
    def trained_on(self) -> TrainedOn | None:
        """What the checkpoint was trained on, if there is one."""
        return self.checkpoint.members if isinstance(self.checkpoint, CheckpointFile) else None

    @property
    def population(self) -> Population:
        """Who is in D, validation and holdout."""
        return Population.of(self.dataset, self.seeds.split, self.forget, self.trained_on)


_threads: dict[tuple[Any, ...], TrainerSettings] = {}  # what was settled, so that a grid looks at each net once


def settled(config: RunConfig) -> RunConfig:
    """The same run, with the number of CPU threads that its net is worth where none is set."""
    asked = (config.trainer, repr(config.model), config.dataset.shape, config.dataset.classes)
    if asked not in _threads:
        _threads[asked] = config.trainer.settled(lambda: empty_net(config), config.dataset.shape)
    return replace(config, trainer=_threads[asked])


def check(config: RunConfig) -> Iterator[Problem | str]:
    """Data, models, requests and strategies that do not fit together, found before anything is computed."""
    found = list(config.dataset.check()) or list(_check_store(config))
    features = config.spd_gan.features or config.retain.features
    found = found or list(config.model.check(config.dataset.shape, config.dataset.classes, features))
    if not found and config.trained_on is not None:
        found = [*config.trained_on.check(config.dataset), *_check_checkpoint(config, config.checkpoint)]
    yield from found
    yield from _check_request(config)
    yield from _check_replay(config)
    yield from config.cluster.check(config.trainer.accelerator, config.trainer.devices, config.paths.output)
    if not found:  # the rest asks what those tell
        yield from config.strategy.check(lambda: nn.ModuleDict({"net": empty_net(config)}))  # named as in a classifier
        if config.trainer.channels_last:
            yield from refused(empty_net(config), config.dataset.shape)
        if config.trainer.accelerator == "gpu":
            yield from _check_repeatable(config)
        wrong = list(config.forget.check(config.population))
        yield from wrong or _check_size(config)


def _check_store(config: RunConfig) -> Iterator[Problem]:
    """A folder of images with the store in it, which holds images too."""
    if part := config.dataset.part_around(config.paths.store):
        expected = f"a folder outside of the {part} part"
        yield Problem("paths.store", expected, f"{config.paths.store}, in {config.dataset.folder(part)}")


def check_here(config: RunConfig) -> Iterator[Problem | str]:
    """What does not fit the machine that this process runs on, where cells of this config are run."""
    yield from config.trainer.lacking()
    if config.trainer.accelerator == "auto" and config.trainer.device == "cuda":
        yield from _check_repeatable(config)


_repeatable: dict[tuple[Any, ...], set[str]] = {}  # what raises, by net and shape, so that a grid asks once


def _check_repeatable(config: RunConfig) -> Iterator[Problem]:
    """A net whose training raises on a CUDA device in deterministic mode."""
    if not config.trainer.deterministic:
        return
    asked = (repr(config.model), config.dataset.shape, config.dataset.classes)
    if asked not in _repeatable:
        _repeatable[asked] = raising_operations(empty_net(config), config.dataset.shape)
    if _repeatable[asked]:
        names = ", ".join(sorted(_repeatable[asked]))
        expected = (
            f"false on a CUDA device with this model, whose {names} does not repeat bit for bit there; or trainer=cpu"
        )
        yield Problem("trainer.deterministic", expected, True)


def _check_size(config: RunConfig) -> Iterator[Problem]:
    """Metrics and attacks that speak of a single forgotten sample."""
    alone = [f"{group}.{name}" for group, name, metric in _chosen(config) if metric.needs_one_sample]
    size = config.forget.size(config.population) if alone else None
    if size != 1:
        got = f"forget={snake_case(type(config.forget).__name__)}" + ("" if size is None else f" of {size} samples")
        expected = "a request that removes one sample: forget=indices that names one, or forget.count=1"
        yield from (Problem(key, expected, got) for key in alone)


def _check_request(config: RunConfig) -> Iterator[Problem]:
    """Strategies and markers that do not serve the kind of request."""
    strategy, request = (snake_case(type(each).__name__) for each in (config.strategy, config.forget))
    if config.strategy.class_wise_only and not config.forget.whole_class:
        able = _able("unlearn.data.requests", Forget, "whole_class")
        yield Problem("forget", f"a request for a whole class with strategy={strategy}: {able}", request)
    if config.forget.relabels and not config.strategy.corrects_labels:
        able = _able("unlearn.strategies", Strategy, "corrects_labels")
        yield Problem("strategy", f"one that corrects labels with forget={request}: {able}", strategy)
    if config.forget.relabels and config.spd_gan.marks:
        expected = f"probe or off with forget={request}: images whose labels are corrected are not marked"
        yield Problem("spd_gan", expected, snake_case(type(config.spd_gan).__name__))


def _check_replay(config: RunConfig) -> Iterator[Problem]:
    """What stands against doing the end of the original's training again."""
    replayed = config.strategy.history
    if replayed is None:
        return
    if config.trained_on is not None:
        yield Problem("checkpoint", "none: a training that is replayed must have been done here", "file")
    if config.trainer.devices > 1:
        yield Problem("trainer.devices", "1: a training is replayed bit for bit", config.trainer.devices)
    if config.train.patience is not None:
        yield Problem("train.patience", "null: a training that ends early has no last epochs", config.train.patience)
    if replayed > config.train.epochs:
        yield Problem("strategy.replayed", f"at most the {config.train.epochs} epochs of the training", replayed)
    if config.strategy.recipe != config.train:
        yield Problem("strategy.recipe", "that of the training, which is replayed", "another")


def _able(package: str, base: type, what: str) -> str:
    """The options whose class variable `what` is true."""
    return ", ".join(name for name, kind in options(package, base).items() if getattr(kind, what))


def _check_checkpoint(config: RunConfig, checkpoint: CheckpointFile) -> Iterator[Problem | str]:
    if config.spd_gan.marks:
        expected = "probe or off with a checkpoint: the marker must be there before the original is trained"
        yield Problem("spd_gan", expected, type(config.spd_gan).__name__.lower())
    if config.dataset.label_noise:
        expected = "0 with a checkpoint: it was trained on the labels as they are"
        yield Problem("dataset.label_noise", expected, config.dataset.label_noise)
    misfit = _misfit(config, checkpoint)
    if misfit:
        yield misfit


_fitting: set[tuple[Any, ...]] = set()  # what is known to fit, so that a grid reads its checkpoint once


def _misfit(config: RunConfig, checkpoint: CheckpointFile) -> str | None:
    """Why the checkpoint cannot be read as the model."""
    dataset = config.dataset
    normalisation = tuple(tuple(values) for values in dataset.normalisation)
    try:
        source = find_source(checkpoint.file, checkpoint.entry, config.paths.store)
        read_as = (repr(config.model), dataset.shape, dataset.classes, dataset.class_names, normalisation)
        asked = (file_sha256(source.path), source.entry, *read_as)
        if asked not in _fitting:
            net = empty_net(config)
            read_weights(source.path, net, dataset.normalisation, source.entry, dataset.class_names)
            _fitting.add(asked)
    except UnlearnError as error:
        return str(error)
    return None


def check_metrics(config: RunConfig) -> Iterator[Problem]:
    """Metrics and attacks that need what is switched off, and an objective that nothing may be chosen by."""
    if config.objective is not None and UNSEEN.search(config.objective):
        yield Problem(
            "objective", "a number that neither test nor holdout enters: selection/average_gap", config.objective
        )
    if config.objective and config.objective.startswith("selection/") and "selection" not in config.attacks:
        yield Problem("objective", "attacks=[default,selection], which measures it", config.objective)
    for group, name, metric in _chosen(config):
        yield from _missing(config, f"{group}.{name}", metric)


def _chosen(config: RunConfig) -> Iterator[tuple[str, str, Metric]]:
    """Group, name and settings of each metric and attack."""
    for group, chosen in (("metrics", config.metrics), ("attacks", config.attacks)):
        yield from ((group, name, metric) for name, metric in chosen.items())


def _missing(config: RunConfig, key: str, metric: Metric) -> Iterator[Problem]:
    if Role.RETRAINED in metric.references and not config.baseline.seeds:
        yield Problem(key, "a retrained model: baseline=retrain, or metrics=without_baseline", "baseline.seeds=[]")
    if metric.needs_spd_gan and isinstance(config.spd_gan, Off):
        yield Problem(key, "perturbed data: spd_gan=probe or marker, or metrics=spd_gan_off", "spd_gan=off")
    if metric.siblings and len(config.baseline.seeds) < len(metric.siblings):
        expected = f"{len(metric.siblings)} or more, as many as {key} has models of each other kind"
        yield Problem("baseline.seeds", expected, config.baseline.seeds)
    if metric.siblings and isinstance(config.checkpoint, CheckpointFile):
        yield Problem("checkpoint", f"none with {key}: originals of other seeds must be trained here", "file")
    if metric.shadows and metric.shadows.unlearned and config.forget.relabels:
        expected = "a request that removes its records: shadow models are not taught other labels"
        yield Problem(key, expected, f"forget={snake_case(type(config.forget).__name__)}")
    if metric.needs_relabel and not config.forget.relabels:
        got = f"forget={snake_case(type(config.forget).__name__)}"
        yield Problem(key, f"a request that corrects labels: {_able('unlearn.data.requests', Forget, 'relabels')}", got)


_empty_nets: dict[tuple[Any, ...], nn.Module] = {}  # so that a grid builds each net once


def empty_net(config: RunConfig) -> nn.Module:
    """Names, shapes and no weights; not to be changed."""
    asked = (repr(config.model), config.dataset.shape, config.dataset.classes)
    if asked not in _empty_nets:
        # a net of one's own is built on the CPU all the same
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            _empty_nets[asked] = config.model.net(config.dataset.shape, config.dataset.classes)
    return _empty_nets[asked]
