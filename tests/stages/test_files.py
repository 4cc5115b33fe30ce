"""Tensors on disk."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from unlearn.stages.files import write_tensors


def test_weights_that_share_memory_are_written_and_read(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    write_tensors(tmp_path / "model.safetensors", net.state_dict())
    found = load_file(tmp_path / "model.safetensors")
    assert found.keys() == net.state_dict().keys()
    assert torch.equal(found["1.weight"], net[0].weight)
