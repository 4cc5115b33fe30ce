"""The stage that condenses the retain set to fewer images."""

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
from unlearn.stages.samples import SampleSource, warm_up
from unlearn.strategies.retain_set import Condensed, mix_images, pack_clusters, split_clusters
from unlearn.training.trainer import Numerics

IMAGES_PER_PACK = 512  # images mixed at a time


@dataclass(frozen=True)
class Condense(Stage):
    """The retain set as a strategy reads it, condensed: some real images, and mixtures of the others.

    Files: `condensed.safetensors` and `counts.json`.
    - For each of m images, ordered by data set index: `labels` and `index` int64 [m], `condensed` bool [m]. A mixture
      has the index of the cluster member that is nearest to the mean feature.
    - `images` uint8 [c, channels, h, w] holds only the mixtures; the data set has the real images.
    - The counts: `images` of the condensed set, `of` the retain set, and `condensed`, the number of mixtures.
    """

    settings: Condensed
    original: ModelStage
    forget: SampleSource
    retain: SampleSource
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
        all_features = torch.cat([features(model, data).cpu() for data in (retain, forget)])
        labels = torch.cat([retain.labels, forget.labels]).cpu()
        clusters = self.settings.assign_clusters(all_features, labels, self._clustering_seed)
        kept, mixed = split_clusters(all_features, clusters, len(retain))
        mixtures = self._mix_clusters(model, retain, all_features, mixed, tick)
        positions = torch.cat([kept, *(members[:1] for members in mixed)])
        is_mixture = torch.arange(len(positions)) >= len(kept)
        index = retain.index.cpu()[positions]
        order = index.argsort()
        tensors = {
            "images": mixtures[index[is_mixture].argsort()],
            "labels": labels[positions][order],
            "index": index[order],
            "condensed": is_mixture[order],
        }
        write_tensors(folder / "condensed.safetensors", tensors)
        counts = {"images": len(positions), "of": len(retain), "condensed": len(mixed)}
        write_json(folder / "counts.json", counts)

    def size(self, context: BuildContext) -> int:
        """Return the number of images in the retain set before condensing."""
        return int(context.get(self).json("counts.json")["of"])

    def load(self, context: BuildContext) -> ImageSource:
        """Return images, labels and data set indices, on the training device; only mixtures are held in memory."""
        retain = self.retain.load(context)
        tensors = read_tensors(context.get(self), "condensed.safetensors")
        condensed = {name: tensor.to(retain.index.device) for name, tensor in tensors.items()}
        images = retain.take(torch.searchsorted(retain.index, condensed["index"]))
        return images.replaced(condensed["index"][condensed["condensed"]], condensed["images"])

    def _clustering_seed(self, label: int) -> int:
        return stream_seed(self.seed, f"condense/{label}", "unlearned")

    def _mix_clusters(
        self, model: Classifier, retain: ImageSource, all_features: Tensor, clusters: Sequence[Tensor], tick: Tick
    ) -> Tensor:
        """Mix each cluster to one image, uint8 [c, channels, h, w]."""
        mixtures = [torch.empty((0, *retain.shape), dtype=torch.uint8)]
        nearest = [members[: self.settings.mixed] for members in clusters]
        packs = list(pack_clusters(nearest, IMAGES_PER_PACK))
        means = iter([all_features[members].mean(0) for members in clusters])
        for pack, pixels in zip(packs, retain.batches([torch.cat(pack) for pack in packs]), strict=True):
            tick(sum(map(len, mixtures)), len(clusters))
            images, targets = pixels.float() / 255, torch.stack([next(means) for _ in pack]).to(pixels.device)
            row = torch.cat([torch.full((len(members),), row) for row, members in enumerate(pack)])
            membership = (row == torch.arange(len(pack))[:, None]).to(pixels.device)  # bool [clusters, images]
            weights = self.settings.fit_weights(images, membership, targets, lambda mixed: model.features(mixed)[0])
            mixtures.append(mix_images(weights, images).mul(255).round().clamp(0, 255).to(torch.uint8).cpu())
        return torch.cat(mixtures)
