"""SPD-GAN's training loop: a discriminator step, then a generator step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from unlearn.core.batch import Batch
from unlearn.core.errors import DivergenceError
from unlearn.core.progress import Tick
from unlearn.core.random_streams import stream_seed
from unlearn.core.types import Curve, ImageSource
from unlearn.data.loaders import Loader, StepLoader
from unlearn.spd_gan.losses import Guide
from unlearn.spd_gan.networks import Generator
from unlearn.spd_gan.options import Gan
from unlearn.spd_gan.shift import SHIFT_NAMES, measure_shift
from unlearn.training.trainer import TrainerSettings, fit

CURVE_ROWS = 48  # rows of the stored curve


class SpdGanModule(pl.LightningModule):
    """Trains the generator on L_G = E[(D(x') - 1)^2] / 2 + term_weight * term, and the discriminator against it.

    The guide's weights and buffers never change [ours].

    Args:
        channels: of an image.
        settings: the configuration of SPD-GAN.
        guide: the classifier that the term is computed from.
    """

    def __init__(self, channels: int, settings: Gan, guide: Guide) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.settings = settings
        self.guide = guide
        self.generator, self.discriminator = settings.networks(channels)
        self.tick: Tick = lambda done, total: None
        self._history: list[Tensor] = []
        self._stride = max(1, settings.steps // CURVE_ROWS)
        self._image_statistics: list[Tensor] = []  # every `_stride` steps

    def configure_optimizers(self) -> Any:
        """Create one Adam per network, with beta1 = 0.5 as usual for a GAN."""
        networks = (self.discriminator, self.generator)
        return [torch.optim.Adam(net.parameters(), self.settings.lr, betas=(0.5, 0.999)) for net in networks]

    def training_step(self, batch: Batch, step: int) -> None:
        """Update the discriminator, then the generator."""
        optimizers: Any = self.optimizers()
        discriminator_step, generator_step = optimizers
        clean, labels, _ = batch
        with torch.no_grad():
            moved = self.generator(clean)
        real_loss, fake_loss = (self.discriminator(clean) - 1).square(), self.discriminator(moved).square()
        loss_d = 0.5 * (real_loss.mean() + fake_loss.mean())
        self._update(discriminator_step, loss_d)

        moved = self.generator(clean)
        if step % self._stride == 0:
            self._image_statistics.append(measure_shift(self.guide.classifier, clean, moved, labels))
        term = self.settings.loss(moved, labels, self.guide)
        loss_g = 0.5 * (self.discriminator(moved) - 1).square().mean()
        self._update(generator_step, loss_g + self.settings.term_weight * term)
        self._history.append(torch.stack([loss_d, loss_g, term]).detach())
        if (step + 1) % 10 == 0:
            self.tick(step + 1, self.settings.steps)

    def _update(self, optimizer: Any, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def curve(self) -> Curve:
        """Collect the losses and image statistics of about 48 evenly spaced steps, each before the generator's update.

        Raises:
            DivergenceError: a loss was not finite.
        """
        history = torch.stack(self._history).cpu()
        if not history.isfinite().all():
            step = int((~history.isfinite()).any(1).nonzero()[0, 0])
            raise DivergenceError(f"spd_gan: the loss was not finite at step {step}; lower spd_gan.lr")
        names = ("discriminator_loss", "generator_loss", "term", *SHIFT_NAMES)
        values_by_row = torch.cat([history[:: self._stride], torch.stack(self._image_statistics).cpu()], 1).tolist()
        return [
            {"step": row * self._stride, **dict(zip(names, values, strict=True))}
            for row, values in enumerate(values_by_row)
        ]


def train_spd_gan(
    settings: Gan, guide: Guide, forget: ImageSource, seed: int, hardware: TrainerSettings, tick: Tick
) -> tuple[Generator, Curve]:
    """Train SPD-GAN on the forget set.

    Args:
        settings: the configuration of SPD-GAN.
        guide: the classifier that the generator's term is computed from; its parameters are frozen.
        forget: the forget set.
        seed: the seed of the run.
        hardware: device and other settings of the trainer; precision is always float32.
        tick: called with the steps done and in total.

    Returns:
        The generator, in eval mode on the training device, and the curve of `SpdGanModule.curve`.

    Raises:
        DivergenceError: a loss was not finite.
    """
    for parameter in guide.classifier.parameters():
        parameter.requires_grad_(False)
    guide.classifier.eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "init", "spd_gan"))
        module = SpdGanModule(forget.shape[0], settings, guide)
    module.tick = tick
    loader = Loader(forget, settings.batch_size, seed, "spd_gan")
    fit(module, StepLoader(loader, settings.steps), replace(hardware.without_callbacks(), precision="32", tf32=False))
    return module.generator.to(hardware.device).eval(), module.curve()
