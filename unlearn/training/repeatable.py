"""Finds nets that cannot be trained on a CUDA device in deterministic mode, without needing such a device."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

# Operations whose CUDA kernels raise in deterministic mode: those of torch's list that a net can use
# (torch.use_deterministic_algorithms). Linear interpolation is not among them: torch computes it in another way.
NONDETERMINISTIC = {
    "_adaptive_avg_pool2d_backward",
    "_adaptive_avg_pool3d_backward",
    "adaptive_max_pool2d_backward",
    "adaptive_max_pool3d_backward",
    "avg_pool3d_backward",
    "fractional_max_pool2d_backward",
    "fractional_max_pool3d_backward",
    "max_unpool2d",
    "max_unpool3d",
    "_upsample_bilinear2d_aa_backward",
    "_upsample_bicubic2d_aa_backward",
    "reflection_pad1d_backward",
    "reflection_pad2d_backward",
    "reflection_pad3d_backward",
    "nll_loss2d_forward",
    "_ctc_loss_backward",
    "put_",
    "histc",
    "median.dim",
    "nanmedian.dim",
    "grid_sampler_2d_backward",
    "grid_sampler_3d_backward",
}
MAX_CPU_PARAMETERS = 50_000_000  # of a net whose step is run on the CPU
MESSAGE = re.compile(r"(.+?)(?:_out)?(?:_cuda)? does not have a deterministic implementation")


def find_nondeterministic_operations(net: nn.Module, shape: tuple[int, int, int]) -> set[str]:
    """Find the operations of a training step that raise on a CUDA device in deterministic mode.

    A step with two images is run and recorded on the CPU. A net with many parameters is run on the meta device, which
    takes no memory but makes torch import its compiler.

    Args:
        net: a freshly built net, on the CPU or the meta device; it is moved, and its gradients stay set.
        shape: channels, height and width of an image.

    Returns:
        Names of operations as torch has them.
    """
    device = "cpu" if sum(p.numel() for p in net.parameters()) <= MAX_CPU_PARAMETERS else "meta"
    recorder = _Recorder()
    try:
        with torch.random.fork_rng(devices=[]), _deterministic(), recorder:
            _train_step(_move(net, device).train(), torch.zeros(2, *shape, device=device))
    except Exception as error:  # a user's net may raise anything; other checks report its problems
        match = MESSAGE.search(str(error))
        if match is not None:
            return {match[1]}
    return recorder.names & NONDETERMINISTIC


@torch.no_grad()
def _move(net: nn.Module, device: str) -> nn.Module:
    """Move a net to a device; from the meta device its weights stay uninitialised."""
    if device == "meta" or not any(tensor.is_meta for tensor in net.state_dict().values()):
        return net.to(device)
    net.to_empty(device=device)
    for buffer in net.buffers():
        buffer.zero_()  # a buffer of indices must hold valid ones
    return net


def _train_step(net: nn.Module, images: Tensor) -> None:
    logits = net(images)
    loss = F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=images.device))
    loss.backward()  # type: ignore[no-untyped-call]


@contextmanager
def _deterministic() -> Iterator[None]:
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("error")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)


class _Recorder(TorchDispatchMode):
    """Records the names of the operations that run."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        self.names |= {name, f"{name}.{func._schema.overload_name}"}
        return func(*args, **(kwargs or {}))
