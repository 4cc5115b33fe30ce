"""Every strategy that fine-tunes does in two processes what it does in one, up to rounding."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_contract import STRATEGIES, original, scenario, unlearn

from unlearn.core.progress import Tick
from unlearn.core.recipe import Recipe
from unlearn.strategies.iterative import Iterative
from unlearn.strategies.one_device import OneDevice
from unlearn.training.ranks import rank, run_ranks

TOLERANCE = 1e-5  # as conf/trainer/ddp.yaml says; long steps would amplify the rounding of sums in another order
GENTLE = Recipe(epochs=1, batch_size=4, lr=0.005, momentum=0.9, weight_decay=0.1)
TRAINING = {
    name: replace(strategy, recipe=GENTLE)
    for name, strategy in STRATEGIES.items()
    if isinstance(strategy, Iterative) and strategy.history is None and not isinstance(strategy, OneDevice)
}


def each(folder: Path, tick: Tick) -> None:
    """What each process does."""
    torch.set_num_threads(1)
    for name, strategy in TRAINING.items():
        forget = "class" if strategy.class_wise_only else "random"
        model = unlearn(strategy, original("cnn"), scenario(forget)).model
        save_file(dict(model.state_dict()), folder / f"{name}-{rank()}.safetensors")


@pytest.mark.slow
def test_two_processes_agree_with_each_other_and_with_one(tmp_path: Path) -> None:
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    alone.mkdir()
    shared.mkdir()
    each(alone, lambda done, total: None)
    run_ranks(partial(each, shared), 2, "cpu", lambda done, total: None)
    before = original("cnn").state_dict()
    assert {(TRAINING[name].js_weight, TRAINING[name].js_while) for name in ("top_k", "random_k")} == {
        (-1.0, "remembered")  # with the gate, which draws its samples on each process
    }
    for name in TRAINING:
        one, first, second = (load_file(path) for path in sorted(tmp_path.glob(f"*/{name}-[01].safetensors")))
        assert all(torch.equal(value, second[key]) for key, value in first.items()), name
        away = {key: (value - one[key]).abs().max().item() for key, value in first.items()}
        assert max(away.values()) < TOLERANCE, f"{name}: {away}"
        assert any(not torch.equal(value, before[key]) for key, value in first.items()), name
