"""Forward passes over a data set: predictions, features and batch-norm statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from unlearn.core.memory import MicroBatches
from unlearn.core.types import ImageSource, Predictions, as_float
from unlearn.models.base import Classifier
from unlearn.training.layout import channels_last, prefers_channels_last
from unlearn.training.precision import tf32

BATCH_SIZE = 512  # on a GPU, and for batch-norm statistics, which are averaged over batches
CPU_BATCH_SIZE = 128  # whose activations stay in the processor's cache (scripts/bench/precision.py)


@torch.no_grad()
@tf32(False)  # also for the validation accuracy during a training with TF32
def predict(model: nn.Module, data: ImageSource) -> Predictions:
    """Predict every sample in order, in eval mode; restores each module's mode and leaves buffers as they are."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        logits = [output.float().cpu() for output in _iter_outputs(model, model, data)]
    finally:
        for module in training:
            module.training = True
    return Predictions(torch.cat(logits), data.labels.cpu(), data.index.cpu())


@torch.no_grad()
def refresh_batch_norm(model: nn.Module, data: ImageSource) -> None:
    """Recompute the running statistics of batch normalisation as the plain average over one pass.

    All other layers stay in eval mode. Nothing is done without such layers, or for a single image, which has no
    statistics.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    if not norms or len(data) < 2:
        return
    model.eval()
    set_layout = _select_layout(model, model, data)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch then computes the plain average
        norm.train()
    positions = torch.arange(len(data), device=data.labels.device)
    for images in data.batches(positions.tensor_split(max(1, len(data) // BATCH_SIZE))):
        model(set_layout(as_float(images)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


@torch.no_grad()
@tf32(False)
def features(model: Classifier, data: ImageSource) -> Tensor:
    """Compute penultimate features [n, d] of every sample in order, for a model in eval mode."""
    return torch.cat(list(_iter_outputs(model, lambda images: model.features(images)[0], data)))


def _iter_outputs(model: nn.Module, forward: Callable[[Tensor], Tensor], data: ImageSource) -> Iterator[Tensor]:
    """Yield the output of `forward` for each batch, in order; in smaller batches once memory has run out."""
    set_layout, micro_batches = _select_layout(model, forward, data), MicroBatches()
    size = CPU_BATCH_SIZE if data.labels.device.type == "cpu" else BATCH_SIZE
    for pixels in data.batches(torch.split(torch.arange(len(data), device=data.labels.device), size)):
        yield from micro_batches.map(lambda rows: forward(set_layout(as_float(rows))), pixels)


def _select_layout(
    model: nn.Module, forward: Callable[[Tensor], Tensor], data: ImageSource
) -> Callable[[Tensor], Tensor]:
    """The function that converts images to the faster memory layout."""
    return channels_last if prefers_channels_last(model, forward, data.shape) else lambda images: images
