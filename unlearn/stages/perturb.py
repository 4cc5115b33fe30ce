"""Move the forget set slightly: SPD-GAN in either reading, or the marker's random-noise control."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unlearn.console import Tick
from unlearn.modules.trainer import Numerics
from unlearn.seeding import stream
from unlearn.spd_gan.options import Gan, Noise, noisy, noisy_like, quantise
from unlearn.stages.base import Stage, Workshop
from unlearn.stages.files import write_json, write_tensors
from unlearn.stages.model import ModelStage
from unlearn.stages.samples import Samples, warm_up
from unlearn.types import Curve, ImageSource

if TYPE_CHECKING:
    from unlearn.spd_gan.networks import Generator

CHUNK = 512  # images moved at a time
EXAMPLES = 8  # images kept for the report


@dataclass(frozen=True)
class Perturb(Stage):
    """The perturbed forget set D_f', the holdout set moved alike, and D_f under random noise as large (the controls).

    Its files: `moved.safetensors` (uint8 images with their data set indices), `generator.safetensors` and
    `curve.json` (both empty for the noise control), and `examples.safetensors`, which the report shows without
    reading the data: the first forget images `clean` and `moved` uint8 [m, c, h, w], their `labels` and `index`.
    """

    settings: Gan | Noise
    forget: Samples
    retain: Samples
    holdout: Samples
    guide: ModelStage | None  # trained on D_r for the marker, the original for the probe; None for the noise control
    seed: int
    numerics: Numerics

    @property
    def label(self) -> str:
        return f"spd_gan {type(self.settings).__name__.lower()} (seed {self.seed})"

    def prepare(self, workshop: Workshop) -> None:
        warm_up(self.forget.population.dataset, workshop)

    def build(self, folder: Path, workshop: Workshop, tick: Tick) -> None:
        forget, holdout = self.forget.load(workshop), self.holdout.load(workshop)
        generator, curve = None, Curve()
        if isinstance(self.settings, Gan):
            generator, curve = self._train(self.settings, forget, workshop, tick)
        clean, moved = self._moved("forget", forget, generator)
        _, moved_holdout = self._moved("holdout", holdout, generator)
        draws = stream(self.seed, "noisy_forget", "spd_gan")
        noise = [
            noisy_like(a, b, draws) for a, b in zip(torch.split(clean, CHUNK), torch.split(moved, CHUNK), strict=True)
        ]
        tensors = {"forget": moved, "holdout": moved_holdout, "noisy_forget": torch.cat(noise)}
        indices = {"forget_index": forget.index, "holdout_index": holdout.index}
        write_tensors(folder / "moved.safetensors", tensors | indices)
        whole = {"clean": clean, "moved": moved, "labels": forget.labels, "index": forget.index}
        write_tensors(folder / "examples.safetensors", {name: each[:EXAMPLES].clone() for name, each in whole.items()})
        write_tensors(folder / "generator.safetensors", generator.state_dict() if generator else {})
        write_json(folder / "curve.json", curve)

    def _train(self, settings: Gan, forget: ImageSource, workshop: Workshop, tick: Tick) -> tuple[Generator, Curve]:
        from unlearn.modules.prediction import features
        from unlearn.modules.spd_gan import train_spd_gan
        from unlearn.spd_gan.losses import Guide

        assert self.guide is not None, "SPD-GAN needs a guide"
        classifier, retain = self.guide.load(workshop), self.retain.load(workshop)
        # Classes without a retained sample (class-wise forgetting) get the mean of their clean forget samples.
        lost = ~torch.isin(forget.labels, retain.labels)
        known = torch.cat([features(classifier, retain), features(classifier, forget)[lost]])
        labels = torch.cat([retain.labels, forget.labels[lost]])
        guide = Guide.of(classifier, known, labels, self.forget.population.dataset.classes)
        return train_spd_gan(settings, guide, forget, self.seed, workshop.hardware, tick)

    def _moved(self, name: str, data: ImageSource, generator: Generator | None) -> tuple[Tensor, Tensor]:
        """All images, and all of them moved, uint8 [n, c, h, w]."""
        clean = list(data.batches(torch.split(torch.arange(len(data)), CHUNK)))
        return torch.cat(clean), torch.cat(list(self._move(name, clean, data.shape[0], generator)))

    @torch.no_grad()
    def _move(self, name: str, batches: list[Tensor], channels: int, generator: Generator | None) -> Iterator[Tensor]:
        draws, epsilon = stream(self.seed, f"noise/{name}", "spd_gan"), self.settings.bound(channels)
        for clean in batches:
            if generator is None:
                yield noisy(clean, torch.full((len(clean),), epsilon, device=clean.device), draws)
            else:
                yield quantise(clean, generator(clean.float() / 255))
