"""The stages of SISA training: a net per shard, trained slice by slice, each slice an artifact of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from unlearn.core.errors import DataError
from unlearn.core.progress import Tick
from unlearn.core.random_streams import stream_seed
from unlearn.core.sisa_recipe import SisaRecipe
from unlearn.core.types import Curve, ImageSource, Role
from unlearn.data.datasets.base import Dataset
from unlearn.data.population import Population
from unlearn.functional.sharding import assign_slices
from unlearn.models.base import Classifier
from unlearn.models.sharded import ShardedClassifier
from unlearn.stages.base import BuildContext
from unlearn.stages.files import write_json, write_tensors
from unlearn.stages.model import ModelStage
from unlearn.stages.samples import SampleSource
from unlearn.stages.train import Train
from unlearn.training.trainer import Numerics

SLICES = "slices.json"
RECORDS = "records.safetensors"


@dataclass(frozen=True)
class SliceSamples:
    """The records of a shard up to a slice, with a key that depends only on which records these are, and their labels.

    So two requests, or a request and the training before it, share every slice that has the same records in both.
    """

    dataset: Dataset
    digest: str  # SHA-256 of the records' indices and labels
    source: SampleSource = field(metadata={"runtime": True}, compare=False)  # the subset that they are taken from
    index: Tensor = field(metadata={"runtime": True}, compare=False, repr=False)  # int64 [n], sorted

    @property
    def population(self) -> Population:
        """The population of the subset."""
        return self.source.population

    def load(self, context: BuildContext) -> ImageSource:
        """Return images, labels and data set indices, on the training device."""
        data = self.source.load(context)
        return data.take(torch.isin(data.index, self.index.to(data.index.device)).nonzero()[:, 0])


@dataclass(frozen=True, kw_only=True)
class TrainSlice(Train):
    """The net of a shard after a slice: it starts from the weights after the slice before.

    Files: those of `Train`, and `records.safetensors` with the indices int64 `index` of the records up to this slice,
    by which a purge finds it.
    """

    samples: SliceSamples
    shard: int
    slice: int
    previous: TrainSlice | None = None

    @property
    def label(self) -> str:
        return f"train shard {self.shard + 1}, slice {self.slice + 1}"

    def initial(self, context: BuildContext) -> Classifier:
        """Return the net that training starts from, on the training device."""
        if self.previous is None:
            return super().initial(context)
        return self.previous.load(context).requires_grad_(True)

    def write(self, folder: Path, classifier: Classifier, curve: Curve) -> None:
        """Write the artifact's files."""
        super().write(folder, classifier, curve)
        write_tensors(folder / RECORDS, {"index": self.samples.index})


@dataclass(frozen=True)
class SliceRecord:
    """A trained slice, as a row of `slices.json`.

    Args:
        shard: number of the shard, from 0.
        slice: number of the slice, from 0.
        records: records of this slice alone.
        images: records of the shard up to this slice, on which it was trained.
        key: key of its artifact.
        seconds: of its training.
    """

    shard: int
    slice: int
    records: int
    images: int
    key: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class TrainShards(ModelStage):
    """The ensemble that SISA trains on `samples`: its slices are trained first, as artifacts.

    Files: `model.safetensors` and `slices.json` (rows of `SliceRecord`). `seconds` adds up those of all slices, also of
    those that were in the store already.
    """

    recipe: SisaRecipe
    numerics: Numerics

    @property
    def label(self) -> str:
        return f"assemble {self.role} (seed {self.seed})"

    @property
    def ensemble(self) -> TrainShards:
        return self

    def prepare(self, context: BuildContext) -> None:
        super().prepare(context)
        entries = [context.get(stage) for shard in self.plan_slices(context) for stage in shard]
        context.notes[self.key] = {
            "seconds": sum(entry.seconds for entry in entries),
            "parts": [entry.key for entry in entries],  # which the spec does not name: they depend on the records
        }

    def build(self, folder: Path, context: BuildContext, tick: Tick) -> None:
        model, rows = self.fresh("init/overwritten", 0), list[SliceRecord]()
        for net, slices in zip(model.members, self.plan_slices(context), strict=True):
            net.load_state_dict(slices[-1].load(context).net.state_dict())
            rows += _describe(slices, context)
        write_tensors(folder / "model.safetensors", model.state_dict())
        write_json(folder / SLICES, [asdict(row) for row in rows])

    def fresh(self, purpose: str, seed: int) -> ShardedClassifier:
        """Return a newly initialised ensemble, each net with weights from a random stream of its own."""
        singles = [super(TrainShards, self).fresh(f"{purpose}/{n}", seed) for n in range(self.recipe.shards)]
        normalisation = self.samples.population.dataset.normalisation
        return ShardedClassifier([single.net for single in singles], self.recipe.aggregation, *normalisation)

    def slices(self, context: BuildContext) -> list[SliceRecord]:
        """Return the slices that the ensemble was trained in, shard by shard."""
        return [SliceRecord(**row) for row in context.get(self).json(SLICES)]

    def plan_slices(self, context: BuildContext) -> list[list[TrainSlice]]:
        """Plan the slices of every shard, from the records that `samples` holds.

        A slice is left out while its shard has no record yet.

        Raises:
            DataError: a shard has no records at all.
        """
        data, recipe = self.samples.load(context), self.recipe
        index, labels, records = data.index.cpu(), data.labels.cpu(), self.samples.population.dataset.records
        place = assign_slices(records, recipe.shards, recipe.slices, self.seed)[torch.searchsorted(records, index)]
        shards = [list(self._plan_shard(shard, index, labels, place)) for shard in range(recipe.shards)]
        if empty := [number for number, slices in enumerate(shards, start=1) if not slices]:
            raise DataError(f"train.shards: expected records in every shard, got none in shard {empty[0]}; use fewer")
        return shards

    def _plan_shard(self, shard: int, index: Tensor, labels: Tensor, place: Tensor) -> Iterator[TrainSlice]:
        """Plan the slices of one shard; `place` holds shard and slice of each record, int64 [n, 2]."""
        previous = None
        for number in range(self.recipe.slices):
            is_in = (place[:, 0] == shard) & (place[:, 1] <= number)
            if not is_in.any():
                continue
            previous = TrainSlice(
                role=Role.SHARD,
                samples=self._samples_of(index[is_in], labels[is_in]),
                model=self.model,
                seed=stream_seed(self.seed, f"sisa/{shard}/{number}"),
                validation=None,  # held-out records depend on the request, and would be in the key
                recipe=self.recipe.of_slice,
                numerics=self.numerics,
                shard=shard,
                slice=number,
                previous=previous,
            )
            yield previous

    def _samples_of(self, index: Tensor, labels: Tensor) -> SliceSamples:
        digest = hashlib.sha256(torch.stack([index, labels]).numpy()).hexdigest()  # type: ignore[arg-type]
        return SliceSamples(self.samples.population.dataset, digest, self.samples, index)


Trained = Train | TrainShards  # what `train=` chooses


def _describe(slices: list[TrainSlice], context: BuildContext) -> Iterator[SliceRecord]:
    """Yield the rows of a shard's slices."""
    before = 0
    for stage in slices:
        images, entry = len(stage.samples.index), context.get(stage)
        yield SliceRecord(stage.shard, stage.slice, images - before, images, entry.key, entry.seconds)
        before = images


def retrained_slices(original: ModelStage, rebuilt: TrainShards, context: BuildContext) -> list[SliceRecord]:
    """Return the slices that an ensemble does not share with the original: a request made them necessary."""
    assert original.ensemble is not None, "check_sisa refuses other originals"
    known = {row.key for row in original.ensemble.slices(context)}
    return [row for row in rebuilt.slices(context) if row.key not in known]
