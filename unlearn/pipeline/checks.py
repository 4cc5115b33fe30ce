"""Checks of a config for settings that do not fit together or do not fit the machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from unlearn.core.errors import Problem, UnlearnError
from unlearn.core.plugins import find_options, option_name
from unlearn.data.earlier import EarlierRequests
from unlearn.data.requests.base import Forget
from unlearn.data.trained_on import CheckpointFile
from unlearn.models.checkpoints.content import file_sha256
from unlearn.models.checkpoints.weights import read_weights
from unlearn.pipeline.config import RunConfig
from unlearn.pipeline.empty_net import build_empty_net, net_cache_key
from unlearn.pipeline.history import check_history
from unlearn.pipeline.sisa_checks import check_sisa
from unlearn.pipeline.stream_checks import check_requests
from unlearn.stages.lineage import Lineage
from unlearn.stages.own_models import find_source
from unlearn.strategies.base import Strategy
from unlearn.strategies.blend import NoBlend
from unlearn.strategies.guarantee import Guarantee
from unlearn.strategies.retain_set import Full
from unlearn.training.layout import check_channels_last
from unlearn.training.repeatable import find_nondeterministic_operations

# Caches, so that a sweep checks each net and reads each checkpoint once.
_raising_operations: dict[tuple[Any, ...], set[str]] = {}
_readable_checkpoints: set[tuple[Any, ...]] = set()


def check_config(config: RunConfig, lineage: Lineage | None) -> Iterator[Problem | str]:
    """Find data, models, requests and strategies that do not fit together, before anything is computed.

    Args:
        config: the config, with what its checkpoint has forgotten filled in.
        lineage: what the checkpoint has forgotten.
    """
    data_problems = _check_data(config, lineage)
    yield from data_problems
    yield from _check_request(config)
    yield from _check_replay(config)
    yield from _check_guarantee(config)
    yield from config.cluster.check(config.trainer.accelerator, config.trainer.devices, config.paths.output)
    if not data_problems and config.requests.is_stream:
        yield from check_requests(config)
    if not data_problems:  # the other checks need valid data and a valid model
        yield from check_sisa(config)
        yield from _check_net(config)
        yield from list(config.forget.check(config.population)) or _check_request_size(config)


def check_machine(config: RunConfig) -> Iterator[Problem | str]:
    """Find settings that do not fit this machine; call it in the process that will run the config."""
    yield from config.trainer.find_missing_devices()
    if config.trainer.accelerator == "auto" and config.trainer.device == "cuda":
        yield from _check_deterministic(config)


def options_with(package: str, base: type, attribute: str) -> str:
    """List the names of the options of a package whose class variable `attribute` is true."""
    return ", ".join(name for name, kind in find_options(package, base).items() if getattr(kind, attribute))


def _check_data(config: RunConfig, lineage: Lineage | None) -> list[Problem | str]:
    """Check the data set, then the model on it, then the checkpoint for both."""
    dataset = config.dataset
    if problems := list(dataset.check()) or list(_check_store(config)):
        return problems
    features = config.spd_gan.features or config.retain.features
    if problems := list(config.model.check(dataset.shape, dataset.classes, features)):
        return problems
    earlier = EarlierRequests.of(config.forget.earlier)
    if config.trained_on is None:
        return list(earlier.check(dataset))
    missing: list[Problem | str] = [*check_history(config, lineage)]
    if config.checkpoint.trained_on is None:
        missing.append("checkpoint.trained_on: expected a value, got none")
    if missing:
        return missing
    return [*config.trained_on.check(dataset, earlier), *_check_checkpoint(config, config.checkpoint)]


def _check_store(config: RunConfig) -> Iterator[Problem]:
    """Refuse a store inside a folder of images: its own images would be read as data."""
    if part := config.dataset.find_part(config.paths.store):
        expected = f"a folder outside of the {part} part"
        yield Problem("paths.store", expected, f"{config.paths.store}, in {config.dataset.folder(part)}")


def _check_net(config: RunConfig) -> Iterator[Problem | str]:
    """Check the strategy, the memory layout and determinism on the net."""
    yield from config.strategy.check(lambda: nn.ModuleDict({"net": build_empty_net(config)}))  # names as in Classifier
    if config.trainer.channels_last:
        yield from check_channels_last(build_empty_net(config), config.dataset.shape)
    if config.trainer.accelerator == "gpu":
        yield from _check_deterministic(config)


def _check_deterministic(config: RunConfig) -> Iterator[Problem]:
    """Refuse deterministic mode for a net that raises in it on a CUDA device."""
    if not config.trainer.deterministic:
        return
    key = net_cache_key(config)
    if key not in _raising_operations:
        _raising_operations[key] = find_nondeterministic_operations(build_empty_net(config), config.dataset.shape)
    if _raising_operations[key]:
        names = ", ".join(sorted(_raising_operations[key]))
        expected = (
            f"false on a CUDA device with this model, whose {names} does not repeat bit for bit there; or trainer=cpu"
        )
        yield Problem("trainer.deterministic", expected, True)


def _check_request_size(config: RunConfig) -> Iterator[Problem]:
    """Refuse metrics and attacks on one forgotten sample for requests of another size."""
    keys = [f"metrics.{name}" for name, metric in config.metrics.items() if metric.needs_one_sample]
    keys += [f"attacks.{name}" for name, attack in config.attacks.items() if attack.needs_one_sample]
    size = config.forget.size(config.population) if keys else None
    if size != 1:
        got = f"forget={option_name(type(config.forget))}" + ("" if size is None else f" of {size} samples")
        expected = "a request that removes one sample: forget=indices that names one, or forget.count=1"
        yield from (Problem(key, expected, got) for key in keys)


def _check_request(config: RunConfig) -> Iterator[Problem]:
    """Refuse strategies and markers that do not support the kind of request."""
    strategy, request = (option_name(type(option)) for option in (config.strategy, config.forget))
    if config.strategy.class_wise_only and not config.forget.whole_class:
        names = options_with("unlearn.data.requests", Forget, "whole_class")
        yield Problem("forget", f"a request for a whole class with strategy={strategy}: {names}", request)
    if config.forget.relabels and not config.strategy.corrects_labels:
        names = options_with("unlearn.strategies", Strategy, "corrects_labels")
        yield Problem("strategy", f"one that corrects labels with forget={request}: {names}", strategy)
    if config.forget.relabels and config.spd_gan.marks:
        expected = f"probe or off with forget={request}: images whose labels are corrected are not marked"
        yield Problem("spd_gan", expected, option_name(type(config.spd_gan)))


def _check_replay(config: RunConfig) -> Iterator[Problem]:
    """Refuse settings with which the last epochs of the original's training cannot be replayed."""
    epochs = config.strategy.history
    if epochs is None:
        return
    if config.trained_on is not None:
        yield Problem("checkpoint", "none: a training that is replayed must have been done here", "file")
    if config.trainer.devices > 1:
        yield Problem("trainer.devices", "1: a training is replayed bit for bit", config.trainer.devices)
    if config.train.patience is not None:
        yield Problem("train.patience", "null: a training that ends early has no last epochs", config.train.patience)
    if epochs > config.train.epochs:
        yield Problem("strategy.replayed", f"at most the {config.train.epochs} epochs of the training", epochs)
    if config.strategy.recipe != config.train:
        yield Problem("strategy.recipe", "that of the training, which is replayed", "another")


def _check_guarantee(config: RunConfig) -> Iterator[Problem]:
    """Refuse settings that bring more of the original into the result than a strategy's bound allows for."""
    if not isinstance(config.strategy, Guarantee):
        return
    name = option_name(type(config.strategy))
    if not isinstance(config.blend, NoBlend):
        yield Problem("blend", f"none with strategy={name}: the original's weights have no noise", "mix")
    if not isinstance(config.retain, Full):
        expected = f"full with strategy={name}: the original, which saw the forget set, makes the condensed images"
        yield Problem("retain", expected, option_name(type(config.retain)))
    if callbacks := config.trainer.numerics.callbacks:
        expected = f"passive callbacks with strategy={name}: its bound knows of no other change of the weights"
        yield Problem("trainer.callbacks", expected, ", ".join(callback.factory for callback in callbacks))


def _check_checkpoint(config: RunConfig, checkpoint: CheckpointFile) -> Iterator[Problem | str]:
    """Refuse settings that a checkpoint cannot have been trained with, and a file that does not fit the model."""
    if config.spd_gan.marks:
        expected = "probe or off with a checkpoint: the marker must be there before the original is trained"
        yield Problem("spd_gan", expected, type(config.spd_gan).__name__.lower())
    if config.dataset.label_noise:
        expected = "0 with a checkpoint: it was trained on the labels as they are"
        yield Problem("dataset.label_noise", expected, config.dataset.label_noise)
    try:
        _read_checkpoint(config, checkpoint)
    except UnlearnError as error:
        yield str(error)


def _read_checkpoint(config: RunConfig, checkpoint: CheckpointFile) -> None:
    """Read the checkpoint into the empty net, unless this content was read into this net before.

    Raises:
        UnlearnError: the checkpoint cannot be read, or does not fit the model.
    """
    normalisation = tuple(tuple(values) for values in config.dataset.normalisation)
    source = find_source(checkpoint.file, checkpoint.entry, config.paths.store)
    key = (file_sha256(source.path), source.entry, config.dataset.class_names, normalisation, *net_cache_key(config))
    if key not in _readable_checkpoints:
        net, dataset = build_empty_net(config), config.dataset
        read_weights(source.path, net, dataset.normalisation, source.entry, dataset.class_names)
        _readable_checkpoints.add(key)
