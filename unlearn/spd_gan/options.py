"""Option group `spd_gan`: how the forget set is perturbed, and how perturbed images are stored as bytes."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from unlearn.core.validation import at_least, checked, one_of, positive, runtime
from unlearn.spd_gan.losses import TERMS, Guide
from unlearn.spd_gan.networks import Discriminator, Generator

BISECTIONS = 12  # enough for less than one grey level


@dataclass(frozen=True)
class SpdGan(ABC):
    """How the forget set is perturbed."""

    marks: ClassVar[bool] = False  # whether the original is trained on the perturbed forget set
    features: ClassVar[bool] = False  # whether it needs a model's penultimate features


@dataclass(frozen=True)
class Off(SpdGan):
    """No perturbation, as in most published tables. Trap: it does not detect memory that generalises [P]."""


@dataclass(frozen=True)
class Perturbing(SpdGan, ABC):
    """Perturbs the forget set slightly: D_f becomes D_f'."""

    epsilon: float | None = checked(None, "a number in (0, 1]", lambda v: 0 < v <= 1)  # largest change; null: `bound`

    def bound(self, channels: int) -> float:
        """Return the largest change of a pixel in [0, 1]: `epsilon`, or 0.2 for grey and 8/255 for colour [ours]."""
        return self.epsilon or (0.2 if channels == 1 else 8 / 255)


@dataclass(frozen=True)
class Gan(Perturbing, ABC):
    """SPD-GAN: a generator that perturbs the forget set, trained against a discriminator.

    The paper has a network that perturbs the distribution of the data to be unlearned, so that the difference of
    performance before and after shows the degree of unlearning [P]. When it is applied, and its design, are ours.
    """

    features = True

    term: str = one_of(*TERMS)  # what moves images away from their class, see losses.py
    term_weight: float = at_least(0, 1.0)  # weight of the term, next to the least-squares GAN loss
    steps: int = at_least(1, 240)  # updates of the discriminator and of the generator
    batch_size: int = at_least(1, 32)  # images of D_f in a step
    lr: float = positive(1e-3)  # Adam's learning rate; 3e-3 saturates
    width: int = at_least(1, 16)  # channels of the first layers

    def networks(self, channels: int) -> tuple[Generator, Discriminator]:
        """Return a new generator and discriminator for images with `channels` channels."""
        return Generator(channels, self.bound(channels), self.width), Discriminator(channels, self.width)

    def loss(self, moved: Tensor, labels: Tensor, guide: Guide) -> Tensor:
        """Return the term that makes the generator move images away from their class."""
        return TERMS[self.term](moved, labels, guide)


@dataclass(frozen=True)
class Marker(Gan):
    """The marker [ours]: the forget set is perturbed before training, away from what a model without it recognises.

    The original is trained on D_r and D_f', the retrained model on D_r alone. What the original knows of D_f' beyond
    the retrained model can only come from training on it.
    """

    marks = True


@dataclass(frozen=True)
class Probe(Gan):
    """The probe [ours]: all models are trained on clean data, and the forget set is perturbed afterwards.

    The perturbation is guided by the original and used for evaluation only, so it works with any checkpoint.

    Trap: its number is mostly not memory. The original was in the generator's training loop and the retrained models
    were not, and that alone changes it. Compare it with its controls: clean D_f, equal noise, the equally perturbed
    holdout set and, with `fresh`, another original that was never in the loop.
    """

    term: str = one_of("pin", *sorted(set(TERMS) - {"pin"}))  # what the generator minimises, see losses.py
    fresh: bool = runtime(False)  # train a second original as a control; the perturbation does not change


@dataclass(frozen=True)
class Noise(Perturbing):
    """The control of the marker: the same protocol with random signs times epsilon instead of SPD-GAN."""

    marks = True


def quantise(clean: Tensor, moved: Tensor) -> Tensor:
    """Convert perturbed images to uint8, rounded towards the clean images so that no pixel exceeds epsilon.

    Args:
        clean: uint8 [n, c, h, w].
        moved: float [n, c, h, w] in [0, 1].
    """
    change = (moved * 255 - clean.float()).trunc()
    return (clean.float() + change).clamp(0, 255).to(torch.uint8)


def add_noise(clean: Tensor, size: Tensor, generator: torch.Generator) -> Tensor:
    """Add random signs times `size` to images, and clip.

    Args:
        clean: uint8 [n, c, h, w].
        size: the size of each image's change [n], for pixels in [0, 1].
        generator: the stream of the signs.

    Returns:
        uint8 [n, c, h, w].
    """
    signs = torch.randint(0, 2, clean.shape, generator=generator).to(clean.device) * 2 - 1
    moved = clean.float() / 255 + size.view(-1, 1, 1, 1) * signs
    return quantise(clean, moved.clamp(0, 1))


def add_noise_like(clean: Tensor, moved: Tensor, generator: torch.Generator) -> Tensor:
    """Add random signs to images, as large as another perturbation: each image has the rms change of `moved`."""
    target = rms(clean, moved)
    low, high = torch.zeros_like(target), torch.ones_like(target)
    state = generator.get_state()
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        too_small = rms(clean, add_noise(clean, middle, generator.set_state(state))) < target
        low, high = torch.where(too_small, middle, low), torch.where(too_small, high, middle)
    return add_noise(clean, high, generator.set_state(state))


def rms(clean: Tensor, moved: Tensor) -> Tensor:
    """Return the root mean square change [n] between uint8 images, for pixels in [0, 1]."""
    return ((moved.float() - clean.float()) / 255).square().mean((1, 2, 3)).sqrt()
