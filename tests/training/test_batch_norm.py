"""Running statistics after an edit: recomputed by one pass, and nothing else changes."""

from __future__ import annotations

import copy

import pytest
import torch
from builders import random_images
from torch import nn

from unlearn.training import prediction
from unlearn.training.prediction import refresh_batch_norm


def norm_and_dropout() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3, momentum=0.3), nn.Flatten(), nn.Dropout(0.5), nn.Linear(12, 2)
    return nn.Sequential(*layers).eval()


def test_statistics_equal_those_of_the_data_by_hand() -> None:
    model, images = norm_and_dropout(), random_images(40, seed=0)
    refresh_batch_norm(model, images)
    maps = model[0](images.images.float() / 255).detach()
    assert torch.allclose(model[1].running_mean, maps.mean((0, 2, 3)), atol=1e-6)
    assert torch.allclose(model[1].running_var, maps.var((0, 2, 3)), atol=1e-6)


def test_all_batches_have_equal_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "BATCH_SIZE", 10)
    model, images = norm_and_dropout(), random_images(40, seed=0)
    refresh_batch_norm(model, images)
    maps = model[0](images.images.float() / 255).detach().view(4, 10, 3, 2, 2)
    assert torch.allclose(model[1].running_mean, maps.mean((0, 1, 3, 4)), atol=1e-6)
    assert torch.allclose(model[1].running_var, maps.var((1, 3, 4)).mean(0), atol=1e-6)


def test_nothing_else_changes() -> None:
    model = norm_and_dropout()
    before, momentum = copy.deepcopy(model.state_dict()), model[1].momentum
    torch.manual_seed(3)
    state = torch.get_rng_state()
    refresh_batch_norm(model, random_images(40, seed=0))
    assert torch.equal(torch.get_rng_state(), state)  # dropout slept
    statistics = {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {"1.running_mean", "1.running_var"} <= changed <= statistics
    assert model[1].momentum == momentum
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_images(n: int) -> None:
    model = norm_and_dropout()
    before = model[1].running_mean.clone()
    refresh_batch_norm(model, random_images(n, seed=0))
    assert torch.equal(model[1].running_mean, before) == (n == 1)


def test_nets_without_batch_norm_stay_as_they_are() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).train()
    refresh_batch_norm(model, random_images(4, seed=0))
    assert model.training
