"""The real command line on a simulated GPU: no tensor is on the wrong device, and weights are those of a CPU."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from simulated import simulated_cuda
from torch import Tensor

from unlearn.cli.run import main
from unlearn.core.plugins import find_options
from unlearn.strategies.base import Strategy

TINY = (
    *("dataset.limit=160", "train.epochs=1", "train.batch_size=32"),
    *("baseline.seeds=[0]", "report.html=false", "logger=none"),
)
CNN = ("model.width=2", "model.hidden=8")
ALONE = (*CNN, "spd_gan=off", "attacks=none", "metrics=[accuracy]", "forget=class_wise", "baseline=none")
STRATEGIES = {name: kind() for name, kind in find_options("unlearn.strategies", Strategy).items()}
del STRATEGIES["sisa"]  # for train=sisa alone
REPLAYING = [name for name, strategy in STRATEGIES.items() if strategy.history]
TRAINING = [name for name, strategy in STRATEGIES.items() if hasattr(strategy, "recipe") and name not in REPLAYING]
ROUNDED = {"unlearn Ssd (seed 0)"}  # sums of squared gradients are made layer by layer in another way on CUDA
Weights = dict[str, dict[str, Tensor]]
OF_EACH_KIND = ["scrub", "ssd", "top_k", "mini_unlearning"]  # two losses, scores, an edit with fine-tuning, a replay
SPD_GAN = ("marker", "probe", "noise", "pgd", "error_minimising")
TRAINED = "strategy.recipe.epochs=1"


def unlearn(folder: Path, trainer: str, *overrides: str, status: int = 0) -> None:
    """One command, in this process, that ends with that status."""
    paths = (f"paths.store={folder / 'store'}", f"paths.output={folder / 'out'}")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["unlearn", f"trainer={trainer}", *TINY, *paths, *overrides])
        with pytest.raises(SystemExit) as ended:
            main()
    assert (ended.value.code or 0) == status


def sweep(folder: Path, trainer: str, strategies: list[str]) -> None:
    """Apply the strategies to one original."""
    settings = {TRAINED: TRAINING, "strategy.replayed=1": REPLAYING, "seed=0": {*STRATEGIES} - {*TRAINING, *REPLAYING}}
    for override, names in settings.items():
        if chosen := [name for name in strategies if name in names]:
            unlearn(folder, trainer, *ALONE, "-m", f"strategy={','.join(chosen)}", override)


def weights(folder: Path) -> Weights:
    """Of each model, by the label of its stage."""
    found = {}
    for meta in folder.glob("store/**/meta.json"):
        model = meta.with_name("model.safetensors")
        if model.exists():
            found[json.loads(meta.read_text())["label"]] = load_file(model)
    return found


@pytest.mark.parametrize(
    "strategies", [OF_EACH_KIND, pytest.param([*STRATEGIES], marks=pytest.mark.slow)], ids=["one of each kind", "all"]
)
def test_strategies_make_the_weights_of_a_cpu(tmp_path: Path, strategies: list[str]) -> None:
    gpu, cpu = tmp_path / "gpu", tmp_path / "cpu"
    with simulated_cuda():
        sweep(gpu, "gpu", strategies)
    sweep(cpu, "cpu", strategies)
    found, expected = weights(gpu), weights(cpu)
    assert len(expected) > len(strategies)
    assert found.keys() == expected.keys()
    apart = {label for label in expected if any(not torch.equal(*pair) for pair in pairs(found, expected, label))}
    assert apart <= ROUNDED
    for label in apart:
        for pair in pairs(found, expected, label):
            torch.testing.assert_close(*pair, rtol=0, atol=1e-6)


def pairs(found: Weights, expected: Weights, label: str) -> Iterator[tuple[Tensor, Tensor]]:
    assert found[label].keys() == expected[label].keys()
    return ((found[label][name], tensor) for name, tensor in expected[label].items())


@pytest.mark.slow
def test_all_metrics_and_attacks_run(tmp_path: Path) -> None:
    few = ("attacks.lira.models=4", "attacks.rmia.models=4", "spd_gan.steps=3", TRAINED)
    with simulated_cuda():
        unlearn(tmp_path, "gpu", *CNN, "strategy=finetune", "spd_gan=marker", "metrics=full", "attacks=full", *few)


@pytest.mark.parametrize(
    "reading", [SPD_GAN[0], *(pytest.param(reading, marks=pytest.mark.slow) for reading in SPD_GAN[1:])]
)
def test_every_reading_of_spd_gan_runs(reading: str, tmp_path: Path) -> None:
    steps = () if reading == "noise" else ("spd_gan.steps=3",)
    with simulated_cuda():
        unlearn(tmp_path, "gpu", *CNN, "strategy=identity", "attacks=none", f"spd_gan={reading}", *steps)


def test_a_net_without_deterministic_kernels_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """VGG pools adaptively; it is known before anything is read, and the message names the option."""
    data = ("dataset=python", "dataset.factory=own_data:digits", "dataset.size_px=32", "dataset.limit=60")
    net = ("model=torchvision", "model.name=vgg11")
    with simulated_cuda():
        unlearn(tmp_path, "gpu", *data, *net, "strategy=identity", status=2)
    assert "trainer.deterministic" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()
