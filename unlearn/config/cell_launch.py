"""Gives Hydra's launchers configs that are composed already."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf


@contextmanager
def launch_with(compose: Callable[[Sequence[str]], DictConfig | None]) -> Iterator[None]:
    """Make launchers in this process compose their cells with `compose`.

    Hydra would read and merge all files again for each cell. When all artifacts of a cell are cached, that takes longer
    than everything else in it. `compose` merges the config again rather than keep it: a config takes a megabyte.

    Args:
        compose: Maps the overrides of a cell to its config, or to None for a cell that it does not know; Hydra then
            composes that cell itself.
    """
    loader_class: Any = ConfigLoaderImpl
    hydras_own = loader_class.load_sweep_config

    def load_sweep_config(self: ConfigLoaderImpl, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        composed = compose(sweep_overrides)
        if composed is None:
            fallback: DictConfig = hydras_own(self, master_config, sweep_overrides)
            return fallback
        composed.hydra.mode = RunMode.MULTIRUN
        composed.hydra.overrides.hydra = master_config.hydra.overrides.hydra
        OmegaConf.copy_cache(from_config=master_config, to_config=composed)
        return composed

    loader_class.load_sweep_config = load_sweep_config
    try:
        yield
    finally:
        loader_class.load_sweep_config = hydras_own
