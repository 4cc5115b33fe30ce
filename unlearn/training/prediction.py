"""One forward pass over a subset."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from unlearn.core.memory import MicroBatches
from unlearn.core.types import ImageSource, Predictions
from unlearn.models.base import Classifier
from unlearn.training.layout import channels_last, prefers_channels_last
from unlearn.training.precision import tf32

BATCH_SIZE = 512  # on a GPU, and where the batches are what is averaged over
CPU_BATCH_SIZE = 128  # whose activations stay near the processor (scripts/bench/precision.py)


@torch.no_grad()
@tf32(False)  # also where training, which asks for a validation accuracy, is allowed it
def predict(model: nn.Module, data: ImageSource) -> Predictions:
    """Logits of every sample in order, in eval mode; every module's mode is put back, buffers stay as they were."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        logits = [each.float().cpu() for each in _passed(model, model, data)]
    finally:
        for module in training:
            module.training = True
    return Predictions(torch.cat(logits), data.labels.cpu(), data.index.cpu())


@torch.no_grad()
def refresh_batch_norm(model: nn.Module, data: ImageSource) -> None:
    """Running statistics of batch normalisation anew: the plain average over one pass; all else stays in eval mode.

    Nothing is done without such layers, nor for a single image, which has no statistics.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    if not norms or len(data) < 2:
        return
    model.eval()
    arrange = _arrangement(model, model, data)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's way to ask for the plain average
        norm.train()
    everything = torch.arange(len(data), device=data.labels.device)
    for images in data.batches(everything.tensor_split(max(1, len(data) // BATCH_SIZE))):
        model(arrange(images.float().div_(255)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


@torch.no_grad()
@tf32(False)
def features(model: Classifier, data: ImageSource) -> Tensor:
    """Penultimate features [n, d] of every sample in order, for a model in eval mode."""
    return torch.cat(list(_passed(model, lambda images: model.features(images)[0], data)))


def _passed(model: nn.Module, forward: Callable[[Tensor], Tensor], data: ImageSource) -> Iterator[Tensor]:
    """What `forward` makes of each batch, in order; in smaller batches once memory has run out."""
    arrange, pieces = _arrangement(model, forward, data), MicroBatches()
    size = CPU_BATCH_SIZE if data.labels.device.type == "cpu" else BATCH_SIZE
    for pixels in data.batches(torch.split(torch.arange(len(data), device=data.labels.device), size)):
        yield from pieces.map(lambda part: forward(arrange(part.float().div_(255))), pixels)


def _arrangement(
    model: nn.Module, forward: Callable[[Tensor], Tensor], data: ImageSource
) -> Callable[[Tensor], Tensor]:
    """How its images are to lie."""
    return channels_last if prefers_channels_last(model, forward, data.shape) else lambda images: images
