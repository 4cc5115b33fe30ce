"""Which nets cannot be trained on a CUDA device in deterministic mode, found without one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

# Operations whose CUDA kernels raise in deterministic mode: torch's own list of them, as far as a net can meet it
# (torch.use_deterministic_algorithms). Linear interpolation is not among them: there torch takes another way.
RAISING = {
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
MOST = 50_000_000  # parameters of a net that is tried on the CPU
SAID = re.compile(r"(.+?)(?:_out)?(?:_cuda)? does not have a deterministic implementation")


def find_nondeterministic_operations(net: nn.Module, shape: tuple[int, int, int]) -> set[str]:
    """Operations of a training step that raise on a CUDA device in deterministic mode, by torch's names.

    A step with two images of that shape is recorded: on the CPU, or for a net of many parameters on the meta device,
    where it takes no memory but has torch import its compiler.

    Args:
        net: a freshly built net, on the CPU or the meta device; it is moved, and its gradients are left behind.
        shape: (channels, height, width) of an image.
    """
    device = "cpu" if sum(p.numel() for p in net.parameters()) <= MOST else "meta"
    recorder = _Recorder()
    try:
        with torch.random.fork_rng(devices=[]), _deterministic(), recorder:
            _step(_moved(net, device).train(), torch.zeros(2, *shape, device=device))
    except Exception as error:  # a net of one's own may fail in any way; what is wrong with it is told elsewhere
        said = SAID.search(str(error))
        if said is not None:
            return {said[1]}
    return recorder.names & RAISING


@torch.no_grad()
def _moved(net: nn.Module, device: str) -> nn.Module:
    """On that device, its weights drawn or not."""
    if device == "meta" or not any(tensor.is_meta for tensor in net.state_dict().values()):
        return net.to(device)
    net.to_empty(device=device)
    for buffer in net.buffers():
        buffer.zero_()  # an index among them must point somewhere
    return net


def _step(net: nn.Module, images: Tensor) -> None:
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
    """Notes the operations that run."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        self.names |= {name, f"{name}.{func._schema.overload_name}"}
        return func(*args, **(kwargs or {}))
