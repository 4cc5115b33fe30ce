"""Move the forget set slightly before anything is trained on it: SPD-GAN, or its random-noise control."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from unlearn.console import Tick
from unlearn.seeding import stream
from unlearn.spd_gan.options import Marker, Noise, noisy, noisy_like, quantise
from unlearn.stages.base import Stage, Workshop
from unlearn.stages.files import write_json, write_tensors
from unlearn.stages.samples import Samples, warm_up
from unlearn.stages.train import Train
from unlearn.types import Curve, Images

if TYPE_CHECKING:
    from unlearn.spd_gan.networks import Generator

EXAMPLES = 8  # images kept for the report


@dataclass(frozen=True)
class Mark(Stage):
    """The marked forget set D_f', the holdout set moved alike, and D_f under random noise as large (the controls).

    Its files: `marked.safetensors` (uint8 images with their data set indices), `generator.safetensors` and
    `curve.json` (both empty for the noise control), and `examples.safetensors`, which the report shows without
    reading the data: the first forget images `clean` and `moved` uint8 [m, c, h, w], their `labels` and `index`.
    """

    version: ClassVar[int] = 2

    settings: Marker | Noise
    forget: Samples
    retain: Samples
    holdout: Samples
    guide: Train | None  # trained on D_r; None for the noise control
    seed: int

    @property
    def label(self) -> str:
        return f"spd_gan {type(self.settings).__name__.lower()} (seed {self.seed})"

    def prepare(self, workshop: Workshop) -> None:
        warm_up(self.forget.population.dataset, workshop)

    def build(self, folder: Path, workshop: Workshop, tick: Tick) -> None:
        forget, holdout = self.forget.load(workshop), self.holdout.load(workshop)
        generator, curve = None, Curve()
        if isinstance(self.settings, Marker):
            generator, curve = self._train(self.settings, forget, workshop, tick)
        moved = {
            name: self._move(name, data.images, generator) for name, data in (("forget", forget), ("holdout", holdout))
        }
        noise = noisy_like(forget.images, moved["forget"], stream(self.seed, "noisy_forget", "spd_gan"))
        indices = {"forget_index": forget.index, "holdout_index": holdout.index}
        write_tensors(folder / "marked.safetensors", moved | {"noisy_forget": noise} | indices)
        write_tensors(folder / "examples.safetensors", _examples(forget, moved["forget"]))
        write_tensors(folder / "generator.safetensors", generator.state_dict() if generator else {})
        write_json(folder / "curve.json", curve)

    def _train(self, settings: Marker, forget: Images, workshop: Workshop, tick: Tick) -> tuple[Generator, Curve]:
        from unlearn.modules.prediction import features
        from unlearn.modules.spd_gan import train_spd_gan
        from unlearn.spd_gan.losses import Guide

        assert self.guide is not None, "the marker needs a guide"
        classifier, retain = self.guide.load(workshop), self.retain.load(workshop)
        # Classes without a retained sample (class-wise forgetting) get the mean of their clean forget samples.
        lost = ~torch.isin(forget.labels, retain.labels)
        known = torch.cat([features(classifier, retain), features(classifier, forget)[lost]])
        labels = torch.cat([retain.labels, forget.labels[lost]])
        guide = Guide.of(classifier, known, labels, self.forget.population.dataset.classes)
        return train_spd_gan(settings, guide, forget, self.seed, workshop.hardware, tick)

    @torch.no_grad()
    def _move(self, name: str, images: Tensor, generator: Generator | None) -> Tensor:
        if generator is None:
            size = torch.full((len(images),), self.settings.epsilon, device=images.device)
            return noisy(images, size, stream(self.seed, f"noise/{name}", "spd_gan"))
        parts = torch.split(images, 512)
        return torch.cat([quantise(part, generator(part.float() / 255)) for part in parts])


def _examples(clean: Images, moved: Tensor) -> dict[str, Tensor]:
    whole = {"clean": clean.images, "moved": moved, "labels": clean.labels, "index": clean.index}
    return {name: tensor[:EXAMPLES].clone() for name, tensor in whole.items()}
