"""Projected gradient ascent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn.core.types import Curve
from unlearn.spd_gan.direct import Direct, PixelTask


@dataclass(frozen=True)
class Pgd(Direct):
    """max CE(guide(x'), y) over |x' - x| <= epsilon, by projected gradient ascent from a random start (Madry et al.
    2018); as a marker, ours. The guide is SPD-GAN's: trained on D_r, and not one of the retrained models that judge.
    """

    title = "PGD"

    def perturb(self, pixel_task: PixelTask) -> tuple[Tensor, Curve]:
        start = pixel_task.epsilon * (2 * torch.rand(pixel_task.clean.shape, generator=pixel_task.draws) - 1)
        moved, curve = (pixel_task.pixels + start.to(pixel_task.clean.device)).clamp(0, 1), Curve()
        for step in range(self.steps):
            curve.append(pixel_task.row(step, moved))
            moved = self.sign_step(pixel_task.guide, moved, pixel_task)
            pixel_task.tick(step + 1, self.steps)
        return moved, [*curve, pixel_task.row(self.steps, moved)]
