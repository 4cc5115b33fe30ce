"""A batch as losses see it, and passes that evaluate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn.core.types import ImageSource


class Batch(NamedTuple):
    """Images float32 [b, c, h, w] in [0, 1], labels int64 [b].

    Where this is one process's share of a batch, or a batch without some of its rows, `weights` float32 [b] say by
    how much each sample enters the loss; None: each by 1 / b.
    """

    images: Tensor
    labels: Tensor
    weights: Tensor | None = None

    def mean(self, values: Tensor) -> Tensor:
        """Of one value per sample [b], over the whole batch; losses that use it are right on several devices too.

        Weighted means are computed in 32 bits, where mixed precision would round a product of vectors to 16.
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


def evenly_spaced(data: ImageSource, most: int | None) -> ImageSource:
    """At most so many samples, evenly spaced: data in an order by class lose no class."""
    if most is None or most >= len(data):
        return data
    return data.take((torch.arange(most) * len(data) // most).to(data.labels.device))


def iter_batches(data: ImageSource, batch_size: int) -> Iterator[Batch]:
    """Every sample once, in order, unaugmented."""
    chunks = torch.split(torch.arange(len(data), device=data.labels.device), batch_size)
    for chosen, pixels in zip(chunks, data.batches(chunks), strict=True):
        yield Batch(pixels.float().div_(255), data.labels[chosen])
