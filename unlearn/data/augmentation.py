"""Random crops and mirroring of batches, drawn on the CPU and applied on the device of the images."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Augmentation(NamedTuple):
    """Random crop after padding, in pixels, and mirroring, per sample.

    Mirroring is drawn in each epoch, or alternates: the loader then passes which samples are mirrored.
    """

    crop_padding: int = 0
    flip: bool = False
    flip_alternates: bool = False
    crop_fill: str = "zeros"  # or reflect: the content of the padding

    def draw(self, n: int, draws: torch.Generator, is_mirrored: Tensor | None = None) -> Tensor:
        """Draw the augmentation of a batch.

        Args:
            n: the number of samples.
            draws: the random generator.
            is_mirrored: bool [n], given if mirroring alternates; None draws it.

        Returns:
            Row, column and whether to mirror, int64 [3, n].
        """
        drawn = torch.zeros(3, n, dtype=torch.int64)
        if self.crop_padding:
            drawn[:2] = torch.randint(0, 2 * self.crop_padding + 1, (2, n), generator=draws)
        if is_mirrored is not None:
            drawn[2] = is_mirrored
        elif self.flip:
            drawn[2] = torch.rand(n, generator=draws) < 0.5
        return drawn

    def __call__(self, pixels: Tensor, drawn: Tensor) -> Tensor:
        """Crop and mirror a batch.

        Args:
            pixels: uint8 [b, c, h, w]; may be overwritten.
            drawn: int64 [3, b] from `draw`, on the device of `pixels`.

        Returns:
            uint8 [b, c, h, w].
        """
        padding, (_, _, height, width) = self.crop_padding, pixels.shape
        if padding:
            # A view [b, c, 2p+1, 2p+1, h, w] on the padded images: a random crop is then one gather.
            padded = F.pad(pixels, (padding,) * 4)
            if self.crop_fill == "reflect":
                _fill_reflected(padded, padding)
            windows = padded.unfold(2, height, 1).unfold(3, width, 1)
            pixels = _gather_windows(windows, drawn[0], drawn[1])
        if self.flip:
            return _mirror(pixels, drawn[2])
        return pixels


def _fill_reflected(padded: Tensor, padding: int) -> None:
    """Fill the margins of [b, c, h, w] with their mirror image, in place; `F.pad` reflects floats only.

    It copies line by line: flipping whole margins takes twice as long.
    """
    for dim in (3, 2):
        last = padded.shape[dim] - 1
        for line in range(padding):
            padded.select(dim, line).copy_(padded.select(dim, 2 * padding - line))
            padded.select(dim, last - line).copy_(padded.select(dim, last - 2 * padding + line))


# NumPy does this on a CPU, since it copies whole lines where torch copies pixels: four times as fast. On a GPU all
# shapes are known in advance, so that the CPU does not wait for the number of mirrored images.


def _gather_windows(windows: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Select one window [c, h, w] of each image."""
    images = torch.arange(len(rows), device=rows.device)
    if windows.is_cpu:
        return torch.from_numpy(windows.numpy()[images.numpy(), :, rows.numpy(), columns.numpy()])
    return windows[images, :, rows, columns]


def _mirror(images: Tensor, is_mirrored: Tensor) -> Tensor:
    """Mirror the images where `is_mirrored` int64 [b] is 1; on a CPU in place."""
    if not images.is_cpu:
        return torch.where(is_mirrored.bool()[:, None, None, None], images.flip(3), images)
    positions = is_mirrored.nonzero()[:, 0]
    images.numpy()[positions.numpy()] = images.index_select(0, positions).flip(3).numpy()
    return images
