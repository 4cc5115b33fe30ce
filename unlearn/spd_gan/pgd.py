"""Projected gradient ascent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn.core.types import Curve
from unlearn.spd_gan.direct import Direct, PixelTask


@dataclass(frozen=True)
class Pgd(Direct):
    """Projected gradient ascent (PGD, Madry et al. 2018); its use as a marker is ours.

    Maximises CE(guide(x'), y) over |x' - x| <= epsilon from a random start. The guide is that of SPD-GAN: trained on
    D_r, and none of the retrained models that are the reference.
    """

    title = "PGD"

    def perturb(self, task: PixelTask) -> tuple[Tensor, Curve]:
        start = task.epsilon * (2 * torch.rand(task.clean.shape, generator=task.draws) - 1)
        moved, curve = (task.pixels + start.to(task.clean.device)).clamp(0, 1), Curve()
        for step in range(self.steps):
            curve.append(task.curve_row(step, moved))
            moved = self.sign_step(task.guide, moved, task)
            task.tick(step + 1, self.steps)
        return moved, [*curve, task.curve_row(self.steps, moved)]
