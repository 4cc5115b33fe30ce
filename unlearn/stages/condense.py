"""Fewer images in place of the retain set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from unlearn.core.progress import Tick
from unlearn.core.random_streams import stream_seed
from unlearn.core.recipe import Recipe
from unlearn.core.types import ImageSource
from unlearn.models.base import Classifier
from unlearn.stages.base import BuildContext, Stage
from unlearn.stages.files import read_tensors, write_json, write_tensors
from unlearn.stages.model import ModelStage
from unlearn.stages.samples import Sampled, warm_up
from unlearn.strategies.retain_set import Condensed, divide, mix, packed
from unlearn.training.trainer import Numerics

TOGETHER = 512  # images mixed at a time


@dataclass(frozen=True)
class Condense(Stage):
    """The retain set condensed, as a strategy reads it: real images of it, and mixtures of others.

    Its files: `condensed.safetensors` (for each image, by data set index: `labels` and `index` int64 [m], `condensed`
    bool [m]; a mixture goes by the index of its cluster's member nearest to the mean feature; `images` uint8
    [c, channels, h, w] holds the mixtures alone, since the real ones are in the data set) and `counts.json`: how many
    images of how many, and how many of them are mixtures.
    """

    settings: Condensed
    original: ModelStage
    forget: Sampled
    retain: Sampled
    seed: int
    numerics: Numerics

    @property
    def label(self) -> str:
        return f"condense (seed {self.seed})"

    def prepare(self, context: BuildContext) -> None:
        import sklearn.cluster  # noqa: F401

        warm_up(self.forget.population.dataset, context)
        self.original.warm_up(Recipe(), context)

    def build(self, folder: Path, context: BuildContext, tick: Tick) -> None:
        from unlearn.training.prediction import features

        model = self.original.load(context)
        retain, forget = self.retain.load(context), self.forget.load(context)
        known = torch.cat([features(model, each).cpu() for each in (retain, forget)])
        labels = torch.cat([retain.labels, forget.labels]).cpu()
        clusters = self.settings.assign(known, labels, self._stream)
        kept, alike = divide(known, clusters, len(retain))
        images = self._mixtures(model, retain, known, alike, tick)
        positions = torch.cat([kept, *(members[:1] for members in alike)])
        condensed = torch.arange(len(positions)) >= len(kept)
        index = retain.index.cpu()[positions]
        order = index.argsort()
        said = {"labels": labels[positions][order], "index": index[order], "condensed": condensed[order]}
        pixels = images[index[condensed].argsort()]
        write_tensors(folder / "condensed.safetensors", {"images": pixels} | said)
        counts = {"images": len(positions), "of": len(retain), "condensed": len(alike)}
        write_json(folder / "counts.json", counts)

    def size(self, context: BuildContext) -> int:
        """How many images the retain set has, of which fewer are left."""
        return int(context.get(self).json("counts.json")["of"])

    def load(self, context: BuildContext) -> ImageSource:
        """Images, labels and data set indices, on the training device; memory holds the mixtures alone."""
        found = read_tensors(context.get(self), "condensed.safetensors")
        retain = self.retain.load(context)
        said = {name: tensor.to(retain.index.device) for name, tensor in found.items()}
        left = retain.take(torch.searchsorted(retain.index, said["index"]))
        return left.replaced(said["index"][said["condensed"]], said["images"])

    def _stream(self, label: int) -> int:
        return stream_seed(self.seed, f"condense/{label}", "unlearned")

    def _mixtures(
        self, model: Classifier, retain: ImageSource, known: Tensor, clusters: Sequence[Tensor], tick: Tick
    ) -> Tensor:
        """One image for each cluster, uint8 [c, channels, h, w]."""
        made = [torch.empty((0, *retain.shape), dtype=torch.uint8)]
        nearest = [members[: self.settings.mixed] for members in clusters]
        packs = list(packed(nearest, TOGETHER))
        means = iter([known[members].mean(0) for members in clusters])
        for pack, pixels in zip(packs, retain.batches([torch.cat(pack) for pack in packs]), strict=True):
            tick(sum(map(len, made)), len(clusters))
            images, targets = pixels.float() / 255, torch.stack([next(means) for _ in pack]).to(pixels.device)
            of = torch.cat([torch.full((len(members),), row) for row, members in enumerate(pack)])
            member = (of == torch.arange(len(pack))[:, None]).to(pixels.device)
            weights = self.settings.weigh(images, member, targets, lambda mixed: model.features(mixed)[0])
            made.append(mix(weights, images).mul(255).round().clamp(0, 255).to(torch.uint8).cpu())
        return torch.cat(made)
