"""The channels-last memory layout, in which convolutions on a CPU are faster (scripts/bench/precision.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from unlearn.core.errors import Problem, first_line


def channels_last(images: Tensor) -> Tensor:
    """Convert images [b, c, h, w] to the channels-last layout; layers then keep it for their outputs.

    A single channel has the same order in memory in both layouts. torch would treat it as contiguous, so the strides
    are set explicitly.
    """
    if images.shape[1] == 1:
        _, _, height, width = images.shape
        return images.contiguous().as_strided(images.shape, (height * width, 1, width, 1))
    return images.contiguous(memory_format=torch.channels_last)


def lay_out_weights(model: nn.Module) -> None:
    """Convert the weights [out, in, h, w] of a model on a GPU to channels last, in place.

    Otherwise cuDNN converts them at every step. On a CPU nothing is done: oneDNN uses its own layout.
    """
    if all(p.is_cuda and p.dim() < 5 for p in model.parameters()):
        model.to(memory_format=torch.channels_last)


@torch.no_grad()
def check_channels_last(model: nn.Module, shape: tuple[int, int, int]) -> Iterator[Problem]:
    """Report a model that accepts images in the usual layout but not in channels last.

    Args:
        model: on the meta device; it is moved to the CPU.
        shape: channels, height and width of an image.
    """
    net = model.to_empty(device="cpu").eval()  # on the meta device layouts differ
    for buffer in net.buffers():
        buffer.zero_()  # a buffer of indices must hold valid ones
    images = torch.zeros(2, *shape)
    try:
        net(images)
    except Exception:  # the layout is not the cause
        return
    try:
        net(channels_last(images))
    except Exception as error:
        expected = f"false for a net that accepts images only in the usual layout ({first_line(error)})"
        yield Problem("trainer.channels_last", expected, True)


@torch.no_grad()
def prefers_channels_last(model: nn.Module, forward: Callable[[Tensor], object], shape: tuple[int, int, int]) -> bool:
    """Whether channels last works and is faster.

    It is faster for nets with convolutions on a CPU; other devices have not been measured. A user-supplied net may
    raise on it, for example where it flattens images by `view`.

    Args:
        model: in eval mode.
        forward: the forward pass of the model.
        shape: channels, height and width of an image.
    """
    first = next(model.parameters(), None)
    if first is None or first.device.type != "cpu" or not any(isinstance(m, nn.Conv2d) for m in model.modules()):
        return False
    try:
        forward(channels_last(torch.zeros(2, *shape, device=first.device)))
    except RuntimeError:  # any other cause is reported by the forward pass itself
        return False
    return True
