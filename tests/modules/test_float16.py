"""Float16 with a scaled loss: decided where the job runs; steps that it skips are counted and are no updates."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unlearn.modules.precision import INITIAL_SCALE, CountingScaler


def test_a_step_of_infinite_gradients_is_skipped_and_counted() -> None:
    weight = nn.Parameter(torch.ones(1))
    optimizer, scaler = torch.optim.SGD([weight], lr=0.1), CountingScaler("cpu")
    for gradient in (1.0, float("inf"), 1.0):
        optimizer.zero_grad()
        scaler.scale(weight.sum() * gradient).backward()
        scaler.step(optimizer)
        scaler.update()
    assert scaler.skipped == 1
    assert weight.item() == pytest.approx(0.8)
    assert scaler.get_scale() == INITIAL_SCALE / 2
