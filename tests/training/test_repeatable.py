"""Nets whose training raises on a CUDA device in deterministic mode are refused without one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.config import CommandLine, preflight
from unlearn.core.errors import ConfigError, UnlearnError
from unlearn.stages.explain import explain_torch_errors
from unlearn.training.repeatable import find_nondeterministic_operations

RAISES: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "pooling to 3 x 3": (nn.AdaptiveAvgPool2d(3), "_adaptive_avg_pool2d_backward"),
    "its largest": (nn.AdaptiveMaxPool2d(3), "adaptive_max_pool2d_backward"),
    "reflection": (nn.ReflectionPad2d(1), "reflection_pad2d_backward"),
    "fractions": (nn.FractionalMaxPool2d(2, output_size=3), "fractional_max_pool2d_backward"),
    "volumes": (lambda x: F.avg_pool3d(x[:, None], 2), "avg_pool3d_backward"),
    "sampling": (lambda x: F.grid_sample(x, torch.zeros(2, 4, 4, 2), align_corners=False), "grid_sampler_2d_backward"),
    "medians": (lambda x: x.median(2).values, "median.dim"),
}
REPEATS: dict[str, Callable[[Tensor], Tensor]] = {
    "pooling to one": nn.AdaptiveAvgPool2d(1),
    "windows": nn.MaxPool2d(2),
    "replication": nn.ReplicationPad2d(1),
    "nearest": nn.Upsample(scale_factor=2),
    "bilinear": nn.Upsample(scale_factor=2, mode="bilinear"),  # torch takes another way on CUDA
    "one that fails": lambda x: x.view(-1, 7),
}


class Net(nn.Module):
    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.between = nn.Conv2d(1, 3, 1), between

    def forward(self, x: Tensor) -> Tensor:
        return self.between(self.first(x)).flatten(1)[:, :4]


@pytest.mark.parametrize("name", RAISES)
def test_nondeterministic_operations_are_found(name: str) -> None:
    between, operation = RAISES[name]
    assert find_nondeterministic_operations(Net(between), (1, 8, 8)) == {operation}


@pytest.mark.parametrize("name", REPEATS)
def test_deterministic_nets_have_none(name: str) -> None:
    before = torch.get_deterministic_debug_mode()
    assert find_nondeterministic_operations(Net(REPEATS[name]), (1, 8, 8)) == set()
    assert torch.get_deterministic_debug_mode() == before


def test_a_vgg_and_an_alexnet_are_refused_with_the_option_named() -> None:
    command = ["model=torchvision", "dataset.limit=300", "trainer=gpu", "cluster=slurm", "cluster.gpus=1"]
    with pytest.raises(ConfigError) as caught:
        preflight(CommandLine([*command, "model.name=vgg11", "dataset=cifar10"], False, None))
    (problem,) = [text for text in caught.value.problems if text.startswith("trainer.")]
    assert problem.startswith("trainer.deterministic: expected false on a CUDA device with this model, whose _adaptive")


def test_on_this_machine_it_is_refused_where_auto_finds_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    words = ["model=torchvision", "model.name=vgg11", "dataset=cifar10", "trainer.accelerator=auto"]
    with pytest.raises(ConfigError, match=r"trainer\.deterministic: expected false on a CUDA device"):
        preflight(CommandLine(words, False, None))
    preflight(CommandLine([*words, "trainer.deterministic=false"], False, None))


def test_an_error_during_training_is_reported_in_one_line() -> None:
    message = (
        "cumsum_cuda_kernel does not have a deterministic implementation, but you set 'torch.use_deterministic_algo"
    )
    with pytest.raises(UnlearnError) as caught, explain_torch_errors("train original (seed 0)", "", "cuda"):
        raise RuntimeError(message)
    assert str(caught.value) == (
        "train original (seed 0): trainer.deterministic: expected operations that repeat bit for bit on cuda, "
        "got cumsum_cuda_kernel; set trainer.deterministic=false, use trainer=cpu, or another model"
    )
    with pytest.raises(RuntimeError, match="other"), explain_torch_errors("train", "", "cuda"):
        raise RuntimeError("other")
