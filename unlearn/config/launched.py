"""Cells of a multirun, from configs that are composed already."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf


@contextmanager
def handed_over(compose: Callable[[Sequence[str]], DictConfig | None]) -> Iterator[None]:
    """Launchers in this process take their cells from `compose`, by their overrides, as long as it has them: Hydra
    reads and merges all files anew for each, which takes longer than all else in a cell whose artefacts are there.

    What the checks merge cell by cell is made again for the launch, and not held: a config takes a megabyte.
    """
    loader: Any = ConfigLoaderImpl
    anew = loader.load_sweep_config

    def load(self: ConfigLoaderImpl, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        found = compose(sweep_overrides)
        if found is None:
            whole: DictConfig = anew(self, master_config, sweep_overrides)
            return whole
        found.hydra.mode = RunMode.MULTIRUN
        found.hydra.overrides.hydra = master_config.hydra.overrides.hydra
        OmegaConf.copy_cache(from_config=master_config, to_config=found)
        return found

    loader.load_sweep_config = load
    try:
        yield
    finally:
        loader.load_sweep_config = anew
