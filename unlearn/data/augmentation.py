"""Random crops and mirrors of a batch: drawn on the CPU, applied where the images lie."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Augmentation(NamedTuple):
    """Random crop after padding, in pixels, and mirroring, per sample.

    Mirroring is drawn again in each epoch, or alternates: the loader then says which samples are mirrored.
    """

    crop_padding: int = 0
    flip: bool = False
    flip_alternates: bool = False
    crop_fill: str = "zeros"  # or reflect: what the padding holds

    def draw(self, n: int, draws: torch.Generator, mirrored: Tensor | None = None) -> Tensor:
        """Row, column and whether to mirror, of each of `n` samples: int64 [3, n].

        `mirrored` bool [n] is whose turn it is, where mirroring alternates.
        """
        drawn = torch.zeros(3, n, dtype=torch.int64)
        if self.crop_padding:
            drawn[:2] = torch.randint(0, 2 * self.crop_padding + 1, (2, n), generator=draws)
        if mirrored is not None:
            drawn[2] = mirrored
        elif self.flip:
            drawn[2] = torch.rand(n, generator=draws) < 0.5
        return drawn

    def __call__(self, pixels: Tensor, drawn: Tensor) -> Tensor:
        """uint8 [b, c, h, w], which it may overwrite, cropped and mirrored as `drawn` [3, b], on its device, says."""
        padding, (_, _, height, width) = self.crop_padding, pixels.shape
        if padding:
            # A view [b, c, 2p+1, 2p+1, h, w] on the padded images: a random crop is then one gather.
            padded = F.pad(pixels, (padding,) * 4)
            if self.crop_fill == "reflect":
                _reflect(padded, padding)
            windows = padded.unfold(2, height, 1).unfold(3, width, 1)
            pixels = _gathered(windows, drawn[0], drawn[1])
        if self.flip:
            return _mirrored(pixels, drawn[2])
        return pixels


def _reflect(padded: Tensor, padding: int) -> None:
    """Fill the margins of [b, c, h, w] with what they mirror, in place; `F.pad` does so for floats alone.

    A line at a time: to flip whole margins takes twice as long.
    """
    for dim in (3, 2):
        last = padded.shape[dim] - 1
        for line in range(padding):
            padded.select(dim, line).copy_(padded.select(dim, 2 * padding - line))
            padded.select(dim, last - line).copy_(padded.select(dim, last - 2 * padding + line))


# On a CPU by NumPy, which copies whole lines where torch copies pixels: four times as fast. On a GPU all shapes are
# known beforehand, so that the CPU need not wait to learn how many images are mirrored.


def _gathered(windows: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """One window [c, h, w] of each image."""
    images = torch.arange(len(rows), device=rows.device)
    if windows.is_cpu:
        return torch.from_numpy(windows.numpy()[images.numpy(), :, rows.numpy(), columns.numpy()])
    return windows[images, :, rows, columns]


def _mirrored(images: Tensor, which: Tensor) -> Tensor:
    """The images, on a CPU overwritten, those where `which` int64 [b] is 1 mirrored."""
    if not images.is_cpu:
        return torch.where(which.bool()[:, None, None, None], images.flip(3), images)
    chosen = which.nonzero()[:, 0]
    images.numpy()[chosen.numpy()] = images.index_select(0, chosen).flip(3).numpy()
    return images
