"""Perturbations that optimise each image separately, without a generator: the baselines of SPD-GAN."""

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
from unlearn.spd_gan.options import Perturbing
from unlearn.spd_gan.shift import CHUNK, SHIFT_NAMES, measure_shift


@dataclass(frozen=True)
class PixelTask:
    """The images that a perturbation changes, and what it may use.

    The first `forgotten` images are D_f. The others are perturbed in the same way, as a control, and no net is trained
    on them.
    """

    clean: Tensor  # uint8 [n, c, h, w]
    labels: Tensor  # int64 [n]
    forgotten: int  # number of images of D_f
    epsilon: float  # largest change of a pixel; pixels are in [0, 1]
    guide: Classifier  # frozen, trained on D_r
    fresh: Callable[[], Classifier]  # makes an untrained net like the guide
    recipe: Recipe  # that of the guide's training
    batches: Callable[[Tensor, int], Iterator[Batch]]  # of D_r and D_f' (uint8 images) in an epoch
    steps: int  # batches in an epoch
    seed: int
    draws: torch.Generator  # the stream of random starts
    tick: Tick

    @property
    def pixels(self) -> Tensor:
        """The clean images in [0, 1]."""
        return self.clean.float() / 255

    def curve_row(self, step: int, moved: Tensor) -> dict[str, float]:
        """Return a row of the curve: the shift of D_f' and the guide's accuracy on it.

        Args:
            step: the step or epoch.
            moved: all perturbed images [n, c, h, w] in [0, 1].
        """
        clean, labels = self.pixels[: self.forgotten], self.labels[: self.forgotten]
        values = measure_shift(self.guide, clean, moved[: self.forgotten], labels).tolist()
        return {"step": step, **dict(zip(SHIFT_NAMES, values, strict=True))}


@dataclass(frozen=True)
class Direct(Perturbing, ABC):
    """Signed gradient steps on the pixels, as a marker: the forget set is perturbed before the original is trained."""

    marks = True
    title: ClassVar[str]  # its name in the notes of a report

    steps: int = at_least(1, 20)  # gradient steps (each epoch, for error-minimising noise)
    step_size: float = positive(0.125)  # in units of epsilon; 20 steps go 2.5 times as far as is allowed

    @abstractmethod
    def perturb(self, task: PixelTask) -> tuple[Tensor, Curve]:
        """Perturb all images.

        Returns:
            The images, float32 [n, c, h, w] in [0, 1] with |x' - x| <= epsilon, and the curve of the optimisation.
        """

    def sign_step(self, net: nn.Module, moved: Tensor, task: PixelTask, sign: int = 1) -> Tensor:
        """Take one signed gradient step on the loss of a net, and clip to epsilon and [0, 1].

        Args:
            net: in eval mode.
            moved: the perturbed images [n, c, h, w] in [0, 1].
            task: the clean images and labels.
            sign: 1 raises the loss, -1 lowers it.
        """
        size, epsilon = sign * self.step_size * task.epsilon, task.epsilon
        chunks = zip(*(torch.split(tensor, CHUNK) for tensor in (task.pixels, moved, task.labels)), strict=True)
        stepped = [
            (images + size * _gradient_sign(net, images, labels)).clamp(clean - epsilon, clean + epsilon).clamp(0, 1)
            for clean, images, labels in chunks
        ]
        return torch.cat(stepped)


def _gradient_sign(net: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return the sign of the gradient of each image's cross-entropy with respect to the image."""
    images = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(net(images), labels, reduction="sum"), images)
    return gradient.sign()
