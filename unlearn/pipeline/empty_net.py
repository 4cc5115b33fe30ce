"""The net of a config without weights, for checks that only need names and shapes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from unlearn.pipeline.config import RunConfig
from unlearn.training.trainer import TrainerSettings

# Caches, so that a sweep builds each net, and times its threads, once.
_empty_nets: dict[tuple[Any, ...], nn.Module] = {}
_trainer_settings: dict[tuple[Any, ...], TrainerSettings] = {}


def net_cache_key(config: RunConfig) -> tuple[Any, ...]:
    """Return what determines the net of a config: its model, the image shape and the number of classes."""
    return repr(config.model), config.dataset.shape, config.dataset.classes


def build_empty_net(config: RunConfig) -> nn.Module:
    """Build the net of a config on the meta device: names and shapes without values.

    Returns:
        A cached net, shared by all callers: do not change it.
    """
    key = net_cache_key(config)
    if key not in _empty_nets:
        # A user-supplied function may ignore the meta device and build on the CPU.
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            _empty_nets[key] = config.model.net(config.dataset.shape, config.dataset.classes)
    return _empty_nets[key]


def set_thread_count(config: RunConfig) -> RunConfig:
    """Return the config with `trainer.threads` chosen by the size of the net, where it is not set."""
    key = (config.trainer, *net_cache_key(config))
    if key not in _trainer_settings:
        _trainer_settings[key] = config.trainer.with_threads(lambda: build_empty_net(config), config.dataset.shape)
    return replace(config, trainer=_trainer_settings[key])
