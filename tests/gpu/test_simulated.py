"""The simulated device refuses and counts what CUDA refuses and waits for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from simulated import TORCH, simulated_cuda
from torch import nn


def test_it_is_written_for_the_locked_torch() -> None:
    """With another it would skip every test here: adapt it, then raise `TORCH`."""
    lock = Path(__file__).parents[2] / "requirements.lock"
    assert f"torch=={TORCH} \\\n" in lock.read_text()


def test_what_mixes_devices_raises() -> None:
    with simulated_cuda():
        there = torch.ones(2, device="cuda")
        with pytest.raises(RuntimeError, match="expected all tensors on the same device"):
            there + torch.ones(2)
        with pytest.raises(RuntimeError, match="indices should be on the CPU"):
            torch.ones(2)[torch.zeros(1, dtype=torch.int64, device="cuda")]
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        with pytest.raises(RuntimeError, match="'cuda' device type for generator"):
            torch.rand(2, device="cuda", generator=torch.Generator())
        assert (there + torch.tensor(1.0)).tolist() == [2, 2]  # a number may come from the CPU
    assert not torch.cuda.is_available()


def test_copies_and_waits_are_counted() -> None:
    with simulated_cuda() as device:
        there = torch.ones(2).pin_memory().to("cuda", non_blocking=True)
        assert not device.copies
        torch.ones(2).to("cuda", non_blocking=True)  # of memory that is not pinned: it waits
        torch.ones(2).to("cuda")
        there[torch.tensor([0])]
        assert sum(device.copies.values()) == 3
        assert not device.synchronisations
        there.sum().item(), there.cpu(), there.nonzero(), there[there > 0]
        assert sum(device.synchronisations.values()) == 4


def test_adaptive_pooling_cannot_be_trained_deterministically() -> None:
    torch.set_deterministic_debug_mode("error")
    with simulated_cuda():
        images = torch.ones(1, 1, 4, 4, device="cuda", requires_grad=True)
        out = nn.functional.adaptive_avg_pool2d(images, 3)
        with pytest.raises(RuntimeError, match="does not have a deterministic implementation"):
            out.sum().backward()
