"""What several test files share: configs by overrides, and one small finished run."""

from __future__ import annotations

import gc
import importlib
import io
import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import omegaconf._utils
import omegaconf.base
import omegaconf.omegaconf
import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from unlearn import config
from unlearn.core.artifact_store import ArtifactStore
from unlearn.core.progress import Console
from unlearn.pipeline import plan as pipeline
from unlearn.pipeline.config import RunConfig
from unlearn.pipeline.plan import Outcome
from unlearn.stages.base import BuildContext
from unlearn.training import trainer

# As small as a run can be that still has everything in it.
SMALL = (
    "dataset.limit=300",
    "model.width=8",
    "model.hidden=32",
    "train.epochs=5",
    "train.batch_size=16",
    "strategy=top_k",
    "strategy.recipe.epochs=1",
    "spd_gan=marker",
    "spd_gan.steps=10",
    "baseline.seeds=[0,1]",
    "attacks.logistic.splits=2",
    "attacks.logistic.bootstrap=100",
)

config.register()


LOADED: dict[str, object] = {}


def load_yaml(stream: str | IO[str], Loader: type) -> object:
    """`yaml.load` for OmegaConf, with the same text read once."""
    text = stream if isinstance(stream, str) else stream.read()
    if text not in LOADED:
        if not isinstance(stream, str):
            stream.seek(0)  # an error is of the stream: it names the file
        LOADED[text] = yaml.load(stream, Loader=Loader)
    return LOADED[text]


# Hydra reads conf/ again for each config, and OmegaConf parses each `${...}` again and again: that takes minutes.
omegaconf.base.parse = cache(omegaconf.base.parse)
omegaconf._utils.get_yaml_loader = cache(omegaconf._utils.get_yaml_loader)
omegaconf.omegaconf.yaml = SimpleNamespace(**{**vars(yaml), "load": load_yaml})


def write_images(root: Path, n: int = 6, size: tuple[int, int] = (10, 9), nested: bool = False) -> Path:
    """An image folder of the digits 0 to 2 in colour: `n` a class for training, 2 for the test."""
    from PIL import Image
    from sklearn.datasets import load_digits

    bundle = load_digits()
    for digit in range(3):
        pixels = bundle.images[bundle.target == digit][: n + 2] * 255 / 16
        for number, picture in enumerate(pixels.astype("uint8")):
            part = "train" if number < n else "test"
            folder = root / part / f"digit{digit}" / (f"half{number % 2}" if nested else "")
            folder.mkdir(parents=True, exist_ok=True)
            grey = Image.fromarray(picture)
            Image.merge("RGB", (grey, grey.rotate(90), grey.rotate(180))).resize(size).save(folder / f"{number}.png")
    return root


WriteModule = Callable[[str], str]
MODULE_NUMBER = itertools.count()  # no module of a test may be found among those that an earlier test imported


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteModule:
    """`write_module(source)` writes a user's module into the current folder, which is empty, and returns its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    name = f"own{next(MODULE_NUMBER)}"

    def write(source: str) -> str:
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
        importlib.invalidate_caches()
        return name

    return write


def pytest_collection_finish() -> None:
    """Let the garbage collector neither look at what stays until the end nor look often: that takes minutes too."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Name a case by its argument where the value is a file's content: content may hold the time it was written."""
    return argname if isinstance(val, bytes) else None


trainer.FILL_UNINITIALISED = True  # a read of memory that nothing wrote is then NaN, and the same in every run
torch.set_num_threads(1)  # nets this small only wait for more, all the more so while other jobs run


@dataclass(frozen=True)
class Finished:
    """A run and what it left behind."""

    composed: DictConfig
    config: RunConfig
    outcome: Outcome
    console: str

    @property
    def store(self) -> Path:
        return self.outcome.context.store.root

    @property
    def context(self) -> BuildContext:
        return self.outcome.context

    def value(self, role: str, metric: str) -> float | None:
        """The first reading of a metric on a model of that role."""
        return next(m[metric].value for reading, m in self.outcome.measurements if reading.role == role and metric in m)


Compose = Callable[..., DictConfig]
Run = Callable[..., Finished]


@pytest.fixture(scope="session")
def composed() -> Compose:
    """`composed(*overrides)`: what Hydra makes of a command line. Made once each: copy it before changing it."""

    @cache
    def make(*overrides: str) -> DictConfig:
        with initialize_config_dir(str(config.CONF), version_base="1.3"):
            return compose("config", list(overrides))

    return make


@pytest.fixture(scope="session")
def run(composed: Compose) -> Run:
    """`run(store, *overrides)`: a small job, from its command line to its outcome.

    A group that is chosen again comes without what `SMALL` says of it.
    """

    def go(store: Path, *overrides: str) -> Finished:
        chosen = {override.partition("=")[0] for override in overrides}
        small = [each for each in SMALL if each.partition("=")[0].partition(".")[0] not in chosen]
        found = composed(*small, *overrides)
        settings = config.instantiate(found)
        console = io.StringIO()
        context = BuildContext(ArtifactStore(store, settings.rebuild_damaged), settings.trainer, Console(console))
        return Finished(found, settings, pipeline.run(settings, context), console.getvalue())

    return go


@pytest.fixture(scope="session")
def finished(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One small run under the marker, with two retrained models; its store may be read and added to."""
    return run(tmp_path_factory.mktemp("store"))
