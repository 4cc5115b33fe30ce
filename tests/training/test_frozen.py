"""What may not move is held bit for bit, by integer arithmetic."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from unlearn.training import trainer
from unlearn.training.finite import all_finite
from unlearn.training.frozen import Frozen
from unlearn.training.trainer import TrainerSettings

SPECIAL = (-0.0, 0.0, math.inf, -math.inf, math.nan, 1.5, 5e-324)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_frozen_entries_keep_every_bit_and_others_change(dtype: torch.dtype) -> None:
    """Whatever either value is: NaN times 0 is no 0, and -0.0 plus 0 is no -0.0."""
    before, after = (grid.flatten() for grid in torch.meshgrid([torch.tensor(SPECIAL, dtype=dtype)] * 2, indexing="ij"))
    net = nn.Module()
    net.weight = nn.Parameter(before.repeat(2, 1).clone())
    net.none = nn.Parameter(torch.ones(2, dtype=dtype))  # without a gradient
    trainable_mask = {"weight": torch.tensor([[False], [True]]).expand(2, len(before)), "none": torch.ones(2).bool()}
    frozen = Frozen(net, trainable_mask)
    net.weight.data.copy_(after)
    frozen.restore()
    expected = torch.stack([before, after])
    assert net.weight.detach().view(torch.uint8).equal(expected.view(torch.uint8))
    net.weight.grad = torch.full_like(expected, math.nan)
    frozen.mask_gradients()
    assert net.weight.grad[0].eq(0).all()
    assert net.weight.grad[1].isnan().all()


def test_one_value_that_is_not_finite_is_found() -> None:
    assert all_finite([])
    assert all_finite([torch.ones(3), torch.zeros(2, 2)])
    assert not all_finite([torch.ones(3), torch.tensor([0.0, math.inf])])
    assert not all_finite([torch.tensor(math.nan)])


@pytest.mark.parametrize("deterministic", [True, False])
def test_memory_is_filled_only_in_tests(deterministic: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """And cuDNN chooses kernels by timing where bits need not repeat."""
    assert trainer.FILL_UNINITIALISED
    monkeypatch.setattr(trainer, "FILL_UNINITIALISED", False)
    try:
        TrainerSettings("cpu", deterministic=deterministic).apply()
        assert not torch.utils.deterministic.fill_uninitialized_memory
        assert torch.backends.cudnn.benchmark is not deterministic
    finally:
        monkeypatch.undo()
        TrainerSettings("cpu").apply()
    assert torch.utils.deterministic.fill_uninitialized_memory
