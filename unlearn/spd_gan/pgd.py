"""Projected gradient ascent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn.core.types import Curve
from unlearn.spd_gan.direct import Direct, Scene


@dataclass(frozen=True)
class Pgd(Direct):
    """max CE(guide(x'), y) over |x' - x| <= epsilon, by projected gradient ascent from a random start (Madry et al.
    2018); as a marker, ours. The guide is SPD-GAN's: trained on D_r, and not one of the retrained models that judge.
    """

    said = "PGD"

    def move(self, scene: Scene) -> tuple[Tensor, Curve]:
        start = scene.epsilon * (2 * torch.rand(scene.clean.shape, generator=scene.draws) - 1)
        moved, curve = (scene.pixels + start.to(scene.clean.device)).clamp(0, 1), Curve()
        for step in range(self.steps):
            curve.append(scene.row(step, moved))
            moved = self.climb(scene.guide, moved, scene)
            scene.tick(step + 1, self.steps)
        return moved, [*curve, scene.row(self.steps, moved)]
