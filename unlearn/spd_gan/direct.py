"""Perturbations that perturb each image by itself, without a generator: what SPD-GAN is held against."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.core.batch import Batch
from unlearn.core.progress import Tick
from unlearn.core.recipe import Recipe
from unlearn.core.types import Curve
from unlearn.core.validation import at_least, positive
from unlearn.models.base import Classifier
from unlearn.spd_gan.look import CHUNK, SHIFT_NAMES, measure_shift
from unlearn.spd_gan.options import Perturbing


@dataclass(frozen=True)
class PixelTask:
    """What a perturbation has to work with: the images that it moves, and what it may measure_shift at besides.

    Of the images the first `forgotten` are D_f; the others are moved alike, as a control, and no net learns from them.
    """

    clean: Tensor  # uint8 [n, c, h, w]
    labels: Tensor  # int64 [n]
    forgotten: int
    epsilon: float
    guide: Classifier  # frozen, trained on D_r
    fresh: Callable[[], Classifier]  # another net of the guide's kind, untrained
    recipe: Recipe  # the guide's
    batches: Callable[[Tensor, int], Iterator[Batch]]  # of D_r and D_f', its images uint8, in an epoch
    steps: int  # batches of an epoch
    seed: int
    draws: torch.Generator
    tick: Tick

    @property
    def pixels(self) -> Tensor:
        """The clean images in [0, 1]."""
        return self.clean.float() / 255

    def row(self, step: int, moved: Tensor) -> dict[str, float]:
        """Of a curve: what D_f' [n, c, h, w], in [0, 1], has come to."""
        clean, labels = self.pixels[: self.forgotten], self.labels[: self.forgotten]
        found = measure_shift(self.guide, clean, moved[: self.forgotten], labels).tolist()
        return {"step": step, **dict(zip(SHIFT_NAMES, found, strict=True))}


@dataclass(frozen=True)
class Direct(Perturbing, ABC):
    """Signed gradient steps on the pixels themselves, in the marker's protocol: the forget set is moved before the
    original is trained on it."""

    marks = True
    title: ClassVar[str]  # what notes call it

    steps: int = at_least(1, 20)
    step_size: float = positive(0.125)  # of epsilon: 20 steps go 2.5 times as far as is allowed

    @abstractmethod
    def perturb(self, pixel_task: PixelTask) -> tuple[Tensor, Curve]:
        """All images moved, float32 [n, c, h, w] in [0, 1] with |x' - x| <= epsilon, and what that went through."""

    def sign_step(self, net: nn.Module, moved: Tensor, pixel_task: PixelTask, sign: int = 1) -> Tensor:
        """One step up the loss of a net in eval mode, or down it with `sign` -1, kept within epsilon and [0, 1]."""
        size = sign * self.step_size * pixel_task.epsilon
        parts = zip(*(torch.split(each, CHUNK) for each in (pixel_task.pixels, moved, pixel_task.labels)), strict=True)
        return torch.cat(
            [
                (now + size * _slope(net, now, labels))
                .clamp(clean - pixel_task.epsilon, clean + pixel_task.epsilon)
                .clamp(0, 1)
                for clean, now, labels in parts
            ]
        )


def _slope(net: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The sign of each image's own gradient of its cross-entropy."""
    images = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(net(images), labels, reduction="sum"), images)
    return gradient.sign()
