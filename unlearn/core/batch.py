"""A labelled batch of images, and loops over a data set that evaluate a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.core.types import ImageSource, as_float


class Batch(NamedTuple):
    """Images float32 [b, c, h, w] in [0, 1] and labels int64 [b].

    `weights` float32 [b] are the factors of the samples in the mean loss; None: 1 / b for every sample. They are set
    where this is one process's part of a larger batch, or a batch from which rows were left out.
    """

    images: Tensor
    labels: Tensor
    weights: Tensor | None = None

    def mean(self, values: Tensor) -> Tensor:
        """Mean of one value per sample over the whole batch; losses that use it are also correct on several devices.

        A weighted mean is computed in 32 bits, because mixed precision would round a product of vectors to 16.

        Args:
            values: one value per sample, float [b].
        """
        if self.weights is None:
            return values.mean()
        wide = values if values.dtype == torch.float64 else values.float()
        with torch.autocast(wide.device.type, enabled=False):
            return wide @ self.weights.to(wide.dtype)

    def cross_entropy(self, logits: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Mean cross-entropy of logits [b, C], in nats."""
        if self.weights is None:
            return F.cross_entropy(logits, self.labels, label_smoothing=label_smoothing)
        losses = F.cross_entropy(logits, self.labels, label_smoothing=label_smoothing, reduction="none")
        return self.mean(losses)


def evenly_spaced(data: ImageSource, limit: int | None) -> ImageSource:
    """At most `limit` samples, evenly spaced, so that data sorted by class keep every class; None: all samples."""
    if limit is None or limit >= len(data):
        return data
    return data.take((torch.arange(limit) * len(data) // limit).to(data.labels.device))


def iter_batches(data: ImageSource, batch_size: int) -> Iterator[Batch]:
    """Yield every sample once, in order and without augmentation."""
    chunks = torch.split(torch.arange(len(data), device=data.labels.device), batch_size)
    for positions, pixels in zip(chunks, data.batches(chunks), strict=True):
        yield Batch(as_float(pixels), data.labels[positions])
