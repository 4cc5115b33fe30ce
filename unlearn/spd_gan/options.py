"""What `spd_gan=` offers, and how a shift becomes stored bytes."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from unlearn.core.validation import at_least, checked, one_of, positive, runtime
from unlearn.spd_gan.losses import TERMS, Guide
from unlearn.spd_gan.networks import Discriminator, Generator

BISECTIONS = 12  # to less than one grey level


@dataclass(frozen=True)
class SpdGan(ABC):
    """How the forget set is perturbed, if at all."""

    marks: ClassVar[bool] = False  # before training: the original is trained on the perturbed forget set
    features: ClassVar[bool] = False  # needs a model's penultimate features


@dataclass(frozen=True)
class Off(SpdGan):
    """Nothing is perturbed: as most tables in the literature, and blind to memory that generalises [P]."""


@dataclass(frozen=True)
class Perturbing(SpdGan, ABC):
    """Moves the forget set slightly, D_f to D_f'."""

    epsilon: float | None = checked(None, "a number in (0, 1]", lambda v: 0 < v <= 1)  # null: see `bound`

    def bound(self, channels: int) -> float:
        """Largest change of a pixel in [0, 1]: unless told, 0.2 for grey images and 8/255 for colour (our choice)."""
        return self.epsilon or (0.2 if channels == 1 else 8 / 255)


@dataclass(frozen=True)
class Gan(Perturbing, ABC):
    """SPD-GAN's settings.

    A network that perturbs the distribution of the data to be unlearned, so that the difference of performance before
    and after shows the degree of unlearning, is the paper's [P]; when it is applied, and all of its design, are ours.
    """

    features = True

    term: str = one_of(*TERMS)  # see losses.py
    term_weight: float = at_least(0, 1.0)  # beside the least-squares GAN loss
    steps: int = at_least(1, 240)  # a discriminator and a generator update each
    batch_size: int = at_least(1, 32)
    lr: float = positive(1e-3)  # Adam; 3e-3 saturates
    width: int = at_least(1, 16)  # channels of the first layers

    def networks(self, channels: int) -> tuple[Generator, Discriminator]:
        """Fresh networks for images of that many channels."""
        return Generator(channels, self.bound(channels), self.width), Discriminator(channels, self.width)

    def loss(self, moved: Tensor, labels: Tensor, guide: Guide) -> Tensor:
        """The term that makes the generator perturb images away from their class."""
        return TERMS[self.term](moved, labels, guide)


@dataclass(frozen=True)
class Marker(Gan):
    """The marker reading [ours]: the forget set is moved before training, away from what a model without it knows.

    The original is trained on D_r and D_f'; the retrained model never sees D_f'. What the original knows of D_f'
    beyond the retrained model it can only have from training on it.
    """

    marks = True


@dataclass(frozen=True)
class Probe(Gan):
    """The probe reading [ours]: everything is trained on clean data, and the forget set is moved afterwards, guided by
    the original, to be looked at alone. It works with any checkpoint.

    Its number is mostly not memory: the original was in the generator's loop and the retrained models were not, and
    that alone moves it. Read it beside its controls: clean D_f, equal noise, the equally perturbed holdout and, with
    `fresh`, another original that was never in the loop.
    """

    term: str = one_of("pin", *sorted(set(TERMS) - {"pin"}))  # see losses.py
    fresh: bool = runtime(False)  # train a second original as a control; what is perturbed does not change


@dataclass(frozen=True)
class Noise(Perturbing):
    """The marker's control: the same protocol with random signs times epsilon instead of SPD-GAN."""

    marks = True


def quantise(clean: Tensor, moved: Tensor) -> Tensor:
    """Moved images in [0, 1] as uint8, rounded towards the clean uint8 ones, so that no pixel exceeds epsilon."""
    change = (moved * 255 - clean.float()).trunc()
    return (clean.float() + change).clamp(0, 255).to(torch.uint8)


def add_noise(clean: Tensor, size: Tensor, generator: torch.Generator) -> Tensor:
    """Clean uint8 [n, c, h, w] plus random signs times `size` [n] (pixels in [0, 1]), clipped, as uint8."""
    signs = torch.randint(0, 2, clean.shape, generator=generator).to(clean.device) * 2 - 1
    moved = clean.float() / 255 + size.view(-1, 1, 1, 1) * signs
    return quantise(clean, moved.clamp(0, 1))


def add_noise_like(clean: Tensor, moved: Tensor, generator: torch.Generator) -> Tensor:
    """Random signs whose root mean square change, after clipping, is that of `moved` for each image."""
    wanted = rms(clean, moved)
    low, high = torch.zeros_like(wanted), torch.ones_like(wanted)
    state = generator.get_state()
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        small = rms(clean, add_noise(clean, middle, generator.set_state(state))) < wanted
        low, high = torch.where(small, middle, low), torch.where(small, high, middle)
    return add_noise(clean, high, generator.set_state(state))


def rms(clean: Tensor, moved: Tensor) -> Tensor:
    """Root mean square change [n] between uint8 images, in pixels of [0, 1]."""
    return ((moved.float() - clean.float()) / 255).square().mean((1, 2, 3)).sqrt()
