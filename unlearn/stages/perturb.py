"""Move the forget set slightly: SPD-GAN in either reading, or what the marker is held against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unlearn.core.plugins import snake_case
from unlearn.core.progress import Tick
from unlearn.core.random_streams import stream
from unlearn.core.types import Curve, ImageSource, Subset
from unlearn.spd_gan.look import CHUNK
from unlearn.spd_gan.options import Gan, Noise, noisy, noisy_like, quantise
from unlearn.stages.base import BuildContext, Stage
from unlearn.stages.files import write_json, write_tensors
from unlearn.stages.model import ModelStage
from unlearn.stages.samples import Samples, augmentation, warm_up
from unlearn.stages.train import Train
from unlearn.training.trainer import Numerics

if TYPE_CHECKING:
    from unlearn.core.batch import Batch
    from unlearn.spd_gan.direct import Direct
    from unlearn.spd_gan.networks import Generator

EXAMPLES = 8  # images kept for the report, of forget; half as many of holdout


@dataclass(frozen=True)
class Moved:
    """D_f' and the holdout set moved alike, uint8 [n, c, h, w], and what it took."""

    forget: Tensor
    holdout: Tensor
    curve: Curve = field(default_factory=Curve)
    generator: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Perturb(Stage):
    """The perturbed forget set D_f', the holdout set moved alike, and D_f under random noise as large (the controls).

    Its files: `moved.safetensors` (uint8 images with their data set indices), `generator.safetensors` (empty without
    one), `curve.json` (empty for random noise), and `examples.safetensors`, which the report shows without reading the
    data: the first forget images `clean` and `moved` uint8 [m, c, h, w], their `labels` and `index`, and the same of
    holdout, `holdout_clean` and so on.
    """

    settings: Gan | Noise | Direct
    forget: Samples
    retain: Samples
    holdout: Samples
    guide: ModelStage | None  # trained on D_r for the marker, the original for the probe; None for the noise control
    seed: int
    numerics: Numerics

    @property
    def label(self) -> str:
        return f"spd_gan {snake_case(type(self.settings).__name__)} (seed {self.seed})"

    @property
    def memory_remedy(self) -> str:
        return "lower spd_gan.batch_size" if isinstance(self.settings, Gan) else "lower train.batch_size"

    def prepare(self, context: BuildContext) -> None:
        warm_up(self.forget.population.dataset, context)

    def build(self, folder: Path, context: BuildContext, tick: Tick) -> None:
        forget, holdout = self.forget.load(context), self.holdout.load(context)
        clean, others = _pixels(forget), _pixels(holdout)
        if isinstance(self.settings, Noise):
            found = Moved(self._noisy("forget", clean), self._noisy("holdout", others))
        elif isinstance(self.settings, Gan):
            generator, curve = self._train(self.settings, forget, context, tick)
            found = Moved(_generated(generator, clean), _generated(generator, others), curve, generator.state_dict())
        else:
            labels = torch.cat([forget.labels, holdout.labels])
            found = self._direct(self.settings, torch.cat([clean, others]), labels, forget.index, context, tick)
        self._write(folder, forget, holdout, clean, others, found)

    def _write(
        self, folder: Path, forget: ImageSource, holdout: ImageSource, clean: Tensor, others: Tensor, found: Moved
    ) -> None:
        draws = stream(self.seed, "noisy_forget", "spd_gan")
        pairs = zip(torch.split(clean, CHUNK), torch.split(found.forget, CHUNK), strict=True)
        noise = torch.cat([noisy_like(a, b, draws) for a, b in pairs])
        tensors = {"forget": found.forget, "holdout": found.holdout, "noisy_forget": noise}
        indices = {"forget_index": forget.index, "holdout_index": holdout.index}
        write_tensors(folder / "moved.safetensors", tensors | indices)
        shown = _first(EXAMPLES, forget, clean, found.forget)
        control = _first(EXAMPLES // 2, holdout, others, found.holdout)
        write_tensors(
            folder / "examples.safetensors", shown | {f"holdout_{name}": each for name, each in control.items()}
        )
        write_tensors(folder / "generator.safetensors", found.generator)
        write_json(folder / "curve.json", found.curve)

    def _train(self, settings: Gan, forget: ImageSource, context: BuildContext, tick: Tick) -> tuple[Generator, Curve]:
        from unlearn.spd_gan.losses import Guide
        from unlearn.training.prediction import features
        from unlearn.training.spd_gan import train_spd_gan

        assert self.guide is not None, "SPD-GAN needs a guide"
        classifier, retain = self.guide.load(context), self.retain.load(context)
        # Classes without a retained sample (class-wise forgetting) get the mean of their clean forget samples.
        lost = ~torch.isin(forget.labels, retain.labels)
        known = torch.cat([features(classifier, retain), features(classifier, forget)[lost]])
        labels = torch.cat([retain.labels, forget.labels[lost]])
        guide = Guide.of(classifier, known, labels, self.forget.population.dataset.classes)
        return train_spd_gan(settings, guide, forget, self.seed, context.hardware, tick)

    def _direct(
        self, settings: Direct, clean: Tensor, labels: Tensor, index: Tensor, context: BuildContext, tick: Tick
    ) -> Moved:
        """`index` is that of the forget set, whose images come first."""
        from unlearn.data.loaders import Loader, batches_of
        from unlearn.spd_gan.direct import Scene

        guide, n = self.guide, len(index)
        assert isinstance(guide, Train), "the marker's guide is trained here"
        augment = augmentation(self.forget.population.dataset)

        def batches(marked: Tensor, epoch: int) -> Iterator[Batch]:
            train = Samples(Subset.TRAIN, self.forget.population).load(context).replaced(index, marked)
            return Loader(train, guide.recipe.batch_size, self.seed, "spd_gan", augment).batches(epoch)

        scene = Scene(
            clean=clean,
            labels=labels,
            forgotten=n,
            epsilon=settings.bound(clean.shape[1]),
            guide=guide.load(context),
            fresh=lambda: guide.fresh("init/spd_gan", self.seed).to(clean.device),
            recipe=guide.recipe,
            batches=batches,
            steps=batches_of(len(self.retain.load(context)) + n, guide.recipe.batch_size),
            seed=self.seed,
            draws=stream(self.seed, "start", "spd_gan"),
            tick=tick,
        )
        pixels, curve = settings.move(scene)
        moved = quantise(clean, pixels)
        return Moved(moved[:n], moved[n:], curve)

    def _noisy(self, name: str, clean: Tensor) -> Tensor:
        draws, epsilon = stream(self.seed, f"noise/{name}", "spd_gan"), self.settings.bound(clean.shape[1])
        return torch.cat(
            [noisy(a, torch.full((len(a),), epsilon, device=a.device), draws) for a in torch.split(clean, CHUNK)]
        )


def _pixels(data: ImageSource) -> Tensor:
    """All images, uint8 [n, c, h, w]."""
    everything = torch.arange(len(data), device=data.labels.device)
    return torch.cat(list(data.batches(torch.split(everything, CHUNK))))


@torch.no_grad()
def _generated(generator: Generator, clean: Tensor) -> Tensor:
    return torch.cat([quantise(each, generator(each.float() / 255)) for each in torch.split(clean, CHUNK)])


def _first(most: int, data: ImageSource, clean: Tensor, moved: Tensor) -> dict[str, Tensor]:
    whole = {"clean": clean, "moved": moved, "labels": data.labels, "index": data.index}
    return {name: each[:most].clone() for name, each in whole.items()}
