"""What `spd_gan=` offers, and how a shift becomes stored bytes."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn.checks import at_least, checked, one_of, positive
from unlearn.spd_gan.losses import TERMS, Guide
from unlearn.spd_gan.networks import Discriminator, Generator

BISECTIONS = 12  # to less than one grey level


def _epsilon(default: float) -> float:
    value: float = checked(default, "a number in (0, 1]", lambda v: 0 < v <= 1)
    return value


@dataclass(frozen=True)
class SpdGan(ABC):
    """How the forget set is perturbed, if at all."""


@dataclass(frozen=True)
class Off(SpdGan):
    """Nothing is perturbed: as most tables in the literature, and blind to memory that generalises [P]."""


@dataclass(frozen=True)
class Marker(SpdGan):
    """SPD-GAN, the marker reading [ours]: before training, the forget set is moved slightly, D_f to D_f'.

    The original is trained on D_r and D_f'; the retrained model never sees D_f'. What the original knows of D_f'
    beyond the retrained model it can only have from training on it. (A network that perturbs the distribution of
    the data to be unlearned, so that the difference of performance before and after shows the degree of
    unlearning, is the paper's [P]; when it is applied, and all of its design, are ours.)
    """

    epsilon: float = _epsilon(0.2)  # largest change of a pixel in [0, 1]
    term: str = one_of(*TERMS)  # see losses.py
    term_weight: float = at_least(0, 1.0)  # beside the least-squares GAN loss
    steps: int = at_least(1, 240)  # a discriminator and a generator update each
    batch_size: int = at_least(1, 32)
    lr: float = positive(1e-3)  # Adam; 3e-3 saturates
    width: int = at_least(1, 16)  # channels of the first layers

    def networks(self, channels: int) -> tuple[Generator, Discriminator]:
        """Fresh networks for images of that many channels."""
        return Generator(channels, self.epsilon, self.width), Discriminator(channels, self.width)

    def loss(self, moved: Tensor, labels: Tensor, guide: Guide) -> Tensor:
        """The term that makes the generator move images away from their class."""
        return TERMS[self.term](moved, labels, guide)


@dataclass(frozen=True)
class Noise(SpdGan):
    """The marker's control: the same protocol with random signs times epsilon instead of SPD-GAN."""

    epsilon: float = _epsilon(0.2)  # change of every pixel in [0, 1], before clipping


def quantise(clean: Tensor, moved: Tensor) -> Tensor:
    """Moved images in [0, 1] as uint8, rounded towards the clean uint8 ones, so that no pixel exceeds epsilon."""
    change = (moved * 255 - clean.float()).trunc()
    return (clean.float() + change).clamp(0, 255).to(torch.uint8)


def noisy(clean: Tensor, size: Tensor, generator: torch.Generator) -> Tensor:
    """Clean uint8 [n, c, h, w] plus random signs times `size` [n] (pixels in [0, 1]), clipped, as uint8."""
    signs = torch.randint(0, 2, clean.shape, generator=generator).to(clean.device) * 2 - 1
    moved = clean.float() / 255 + size.view(-1, 1, 1, 1) * signs
    return quantise(clean, moved.clamp(0, 1))


def noisy_like(clean: Tensor, moved: Tensor, generator: torch.Generator) -> Tensor:
    """Random signs whose root mean square change, after clipping, is that of `moved` for each image."""
    wanted = rms(clean, moved)
    low, high = torch.zeros_like(wanted), torch.ones_like(wanted)
    state = generator.get_state()
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        small = rms(clean, noisy(clean, middle, generator.set_state(state))) < wanted
        low, high = torch.where(small, middle, low), torch.where(small, high, middle)
    return noisy(clean, high, generator.set_state(state))


def rms(clean: Tensor, moved: Tensor) -> Tensor:
    """Root mean square change [n] between uint8 images, in pixels of [0, 1]."""
    return ((moved.float() - clean.float()) / 255).square().mean((1, 2, 3)).sqrt()
