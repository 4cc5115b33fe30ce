"""The stage that perturbs the forget set: SPD-GAN as marker or probe, or a control of the marker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unlearn.core.plugins import option_name
from unlearn.core.progress import Tick
from unlearn.core.random_streams import stream
from unlearn.core.types import Curve, ImageSource, Subset
from unlearn.spd_gan.options import Gan, Noise, add_noise, add_noise_like, quantise
from unlearn.spd_gan.shift import CHUNK
from unlearn.stages.base import BuildContext, Stage
from unlearn.stages.files import write_json, write_tensors
from unlearn.stages.model import ModelStage
from unlearn.stages.samples import Samples, make_augmentation, warm_up
from unlearn.stages.train import Train
from unlearn.training.trainer import Numerics

if TYPE_CHECKING:
    from unlearn.core.batch import Batch
    from unlearn.spd_gan.direct import Direct
    from unlearn.spd_gan.networks import Generator

EXAMPLES = 8  # forget images kept for the report, and half as many of holdout


@dataclass(frozen=True)
class CleanImages:
    """The forget set and the holdout set before perturbation, with their pixels, uint8 [n, c, h, w]."""

    forget: ImageSource
    holdout: ImageSource
    forget_pixels: Tensor
    holdout_pixels: Tensor


@dataclass(frozen=True)
class Perturbed:
    """D_f' and the holdout set perturbed in the same way, uint8 [n, c, h, w], with the training curve and generator."""

    forget: Tensor
    holdout: Tensor
    curve: Curve = field(default_factory=Curve)
    generator: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Perturb(Stage):
    """The perturbed forget set D_f', and its controls: perturbed holdout images, and D_f with random noise as large.

    Files:
    - `moved.safetensors`: uint8 images with their data set indices.
    - `generator.safetensors`: empty without a generator.
    - `curve.json`: empty for random noise.
    - `examples.safetensors`, which the report shows without reading the data: the first forget images `clean` and
      `moved` uint8 [m, c, h, w], their `labels` and `index`, and the same of holdout, as `holdout_clean` and so on.
    """

    settings: Gan | Noise | Direct
    forget: Samples
    retain: Samples
    holdout: Samples
    guide: ModelStage | None  # marker: trained on D_r; probe: the original; noise control: None
    seed: int
    numerics: Numerics

    @property
    def label(self) -> str:
        return f"spd_gan {option_name(type(self.settings))} (seed {self.seed})"

    @property
    def memory_remedy(self) -> str:
        return "lower spd_gan.batch_size" if isinstance(self.settings, Gan) else "lower train.batch_size"

    def prepare(self, context: BuildContext) -> None:
        warm_up(self.forget.population.dataset, context)

    def build(self, folder: Path, context: BuildContext, tick: Tick) -> None:
        forget, holdout = self.forget.load(context), self.holdout.load(context)
        clean = CleanImages(forget, holdout, _read_pixels(forget), _read_pixels(holdout))
        if isinstance(self.settings, Noise):
            perturbed = Perturbed(
                forget=self._add_noise("forget", clean.forget_pixels),
                holdout=self._add_noise("holdout", clean.holdout_pixels),
            )
        elif isinstance(self.settings, Gan):
            generator, curve = self._train_generator(self.settings, forget, context, tick)
            perturbed = Perturbed(
                forget=_generate(generator, clean.forget_pixels),
                holdout=_generate(generator, clean.holdout_pixels),
                curve=curve,
                generator=generator.state_dict(),
            )
        else:
            perturbed = self._optimise_pixels(self.settings, clean, context, tick)
        self._write(folder, clean, perturbed)

    def _write(self, folder: Path, clean: CleanImages, perturbed: Perturbed) -> None:
        generator = stream(self.seed, "noisy_forget", "spd_gan")
        chunks = zip(torch.split(clean.forget_pixels, CHUNK), torch.split(perturbed.forget, CHUNK), strict=True)
        noise = torch.cat([add_noise_like(before, after, generator) for before, after in chunks])
        tensors = {"forget": perturbed.forget, "holdout": perturbed.holdout, "noisy_forget": noise}
        indices = {"forget_index": clean.forget.index, "holdout_index": clean.holdout.index}
        write_tensors(folder / "moved.safetensors", tensors | indices)
        examples = _take_examples(EXAMPLES, clean.forget, clean.forget_pixels, perturbed.forget)
        controls = _take_examples(EXAMPLES // 2, clean.holdout, clean.holdout_pixels, perturbed.holdout)
        examples |= {f"holdout_{name}": tensor for name, tensor in controls.items()}
        write_tensors(folder / "examples.safetensors", examples)
        write_tensors(folder / "generator.safetensors", perturbed.generator)
        write_json(folder / "curve.json", perturbed.curve)

    def _train_generator(
        self, settings: Gan, forget: ImageSource, context: BuildContext, tick: Tick
    ) -> tuple[Generator, Curve]:
        from unlearn.spd_gan.losses import Guide
        from unlearn.training.prediction import features
        from unlearn.training.spd_gan import train_spd_gan

        assert self.guide is not None, "SPD-GAN needs a guide"
        classifier, retain = self.guide.load(context), self.retain.load(context)
        # Classes without a retained sample (class-wise forgetting) get the mean of their clean forget samples.
        is_lost = ~torch.isin(forget.labels, retain.labels)
        known_features = torch.cat([features(classifier, retain), features(classifier, forget)[is_lost]])
        labels = torch.cat([retain.labels, forget.labels[is_lost]])
        guide = Guide.of(classifier, known_features, labels, self.forget.population.dataset.classes)
        return train_spd_gan(settings, guide, forget, self.seed, context.hardware, tick)

    def _optimise_pixels(self, settings: Direct, clean: CleanImages, context: BuildContext, tick: Tick) -> Perturbed:
        """Perturb forget and holdout together, without a generator."""
        from unlearn.data.loaders import Loader, count_batches
        from unlearn.spd_gan.direct import PixelTask

        guide, index = self.guide, clean.forget.index
        assert isinstance(guide, Train), "the marker's guide is trained here"
        augment = make_augmentation(self.forget.population.dataset)
        pixels = torch.cat([clean.forget_pixels, clean.holdout_pixels])

        def batches(marked: Tensor, epoch: int) -> Iterator[Batch]:
            train = Samples(Subset.TRAIN, self.forget.population).load(context).replaced(index, marked)
            return Loader(train, guide.recipe.batch_size, self.seed, "spd_gan", augment).batches(epoch)

        task = PixelTask(
            clean=pixels,
            labels=torch.cat([clean.forget.labels, clean.holdout.labels]),
            forgotten=len(index),
            epsilon=settings.bound(pixels.shape[1]),
            guide=guide.load(context),
            fresh=lambda: guide.fresh("init/spd_gan", self.seed).to(pixels.device),
            recipe=guide.recipe,
            batches=batches,
            steps=count_batches(len(self.retain.load(context)) + len(index), guide.recipe.batch_size),
            seed=self.seed,
            draws=stream(self.seed, "start", "spd_gan"),
            tick=tick,
        )
        optimised, curve = settings.perturb(task)
        images = quantise(pixels, optimised)
        return Perturbed(images[: len(index)], images[len(index) :], curve)

    def _add_noise(self, name: str, clean: Tensor) -> Tensor:
        generator, epsilon = stream(self.seed, f"noise/{name}", "spd_gan"), self.settings.bound(clean.shape[1])
        return torch.cat(
            [
                add_noise(a, torch.full((len(a),), epsilon, device=a.device), generator)
                for a in torch.split(clean, CHUNK)
            ]
        )


def _read_pixels(data: ImageSource) -> Tensor:
    """Read all images, uint8 [n, c, h, w]."""
    positions = torch.arange(len(data), device=data.labels.device)
    return torch.cat(list(data.batches(torch.split(positions, CHUNK))))


@torch.no_grad()
def _generate(generator: Generator, clean: Tensor) -> Tensor:
    return torch.cat([quantise(pixels, generator(pixels.float() / 255)) for pixels in torch.split(clean, CHUNK)])


def _take_examples(count: int, data: ImageSource, clean: Tensor, moved: Tensor) -> dict[str, Tensor]:
    tensors = {"clean": clean, "moved": moved, "labels": data.labels, "index": data.index}
    return {name: tensor[:count].clone() for name, tensor in tensors.items()}
