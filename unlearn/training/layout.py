"""How images and weights lie in memory: channels last, which convolutions on a CPU are faster with
(scripts/bench/precision.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from unlearn.core.errors import Problem, first_line


def channels_last(images: Tensor) -> Tensor:
    """The same images [b, c, h, w], the channels of a pixel side by side; what layers make of them then lies so too.

    A single channel lies the same either way, and torch would take it for the usual layout: only its strides tell.
    """
    if images.shape[1] == 1:
        _, _, height, width = images.shape
        return images.contiguous().as_strided(images.shape, (height * width, 1, width, 1))
    return images.contiguous(memory_format=torch.channels_last)


def lay_out_weights(model: nn.Module) -> None:
    """Let the weights [out, in, h, w] of a model on a GPU lie channels last too, in place; numbers stay as they are.

    Otherwise cuDNN converts them at every step. On a CPU they stay: oneDNN has a layout of its own.
    """
    if all(p.is_cuda and p.dim() < 5 for p in model.parameters()):
        model.to(memory_format=torch.channels_last)


@torch.no_grad()
def check_channels_last(model: nn.Module, shape: tuple[int, int, int]) -> Iterator[Problem]:
    """A model, on the meta device, that takes images but not with channels last."""
    tried = model.to_empty(device="cpu").eval()  # on the meta device it would not lay out as it does here
    for buffer in tried.buffers():
        buffer.zero_()  # an index among them must point somewhere
    images = torch.zeros(2, *shape)
    try:
        tried(images)
    except Exception:  # whatever it lacks, it is not the layout
        return
    try:
        tried(channels_last(images))
    except Exception as error:
        expected = f"false for a net that takes images in the usual layout alone ({first_line(error)})"
        yield Problem("trainer.channels_last", expected, True)


@torch.no_grad()
def prefers_channels_last(model: nn.Module, forward: Callable[[Tensor], object], shape: tuple[int, int, int]) -> bool:
    """Whether `forward` of a `model` in eval mode is faster and works with channels last, for images of that shape.

    It is faster where there are convolutions, on a CPU; on other devices that has not been measured. A net of one's
    own may refuse it: `view` does, of what is to be flattened.
    """
    first = next(model.parameters(), None)
    if first is None or first.device.type != "cpu" or not any(isinstance(m, nn.Conv2d) for m in model.modules()):
        return False
    try:
        forward(channels_last(torch.zeros(2, *shape, device=first.device)))
    except RuntimeError:  # any other reason is told by the pass itself
        return False
    return True
