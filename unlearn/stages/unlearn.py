"""Make the original forget: a strategy's edit, then its phases."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from unlearn.console import Tick
from unlearn.errors import DivergenceError
from unlearn.models.base import Classifier
from unlearn.modules.trainer import Numerics
from unlearn.scores import Need
from unlearn.stages.base import Stage, Workshop
from unlearn.stages.files import read_tensors, write_json, write_tensors
from unlearn.stages.model import ModelStage
from unlearn.stages.samples import Samples, augmentation, warm_up
from unlearn.strategies.base import Context, Edit, Phase, Strategy
from unlearn.types import Curve, ImageSource, Role, Subset

SCORING_BATCH = 256


@dataclass(frozen=True)
class Score(Stage):
    """A statistic of the original on one subset, shared by all strategies and cells that need it.

    Its file: `scores.safetensors`, by parameter name.
    """

    need: Need
    original: ModelStage
    samples: Samples

    @property
    def label(self) -> str:
        return f"score {self.need.statistic.name} on {self.need.subset}"

    def prepare(self, workshop: Workshop) -> None:
        warm_up(self.samples.population.dataset, workshop)

    def build(self, folder: Path, workshop: Workshop, tick: Tick) -> None:
        model = self.original.load(workshop).requires_grad_(True)
        batches = _told(_spaced(self.samples.load(workshop), self.need.samples), tick)
        write_tensors(folder / "scores.safetensors", self.need.statistic.compute(model, batches))


@dataclass(frozen=True)
class Unlearn(Stage):
    """The unlearned model.

    Its files: `model.safetensors`, `curve.json`, and `edited.json`: how many entries the edit chose, of how many.
    """

    strategy: Strategy
    original: ModelStage
    scores: tuple[Score, ...]
    forget: Samples
    retain: Samples
    validation: Samples
    seed: int
    numerics: Numerics

    @property
    def label(self) -> str:
        return f"unlearn {type(self.strategy).__name__} (seed {self.seed})"

    def prepare(self, workshop: Workshop) -> None:
        warm_up(self.forget.population.dataset, workshop)

    def build(self, folder: Path, workshop: Workshop, tick: Tick) -> None:
        original = self.original.load(workshop)
        model = copy.deepcopy(original).requires_grad_(True)
        context = Context(
            original=original,
            fresh_model=lambda: self.original.fresh("init/unlearned", self.seed).to(workshop.hardware.device),
            scores={score.need: self._read(score, workshop) for score in self.scores},
            seed=self.seed,
        )
        edit = self.strategy.edit(model, context)
        self._refresh(model, original, edit, workshop)
        curve = [
            {"phase": float(number)} | row
            for number, phase in enumerate(self.strategy.phases(context, edit))
            for row in self._run(model, phase, workshop, tick)
        ]
        write_tensors(folder / "model.safetensors", model.state_dict())
        write_json(folder / "curve.json", curve)
        if not all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values()):
            raise DivergenceError(f"{self.label}: expected finite weights, came others; lower strategy.noise_scale")
        edited = sum(int(torch.count_nonzero(mask)) for mask in edit.masks.values())
        total = sum(p.numel() for p in model.parameters())
        write_json(folder / "edited.json", {"edited_parameters": edited, "total_parameters": total})

    def _refresh(self, model: Classifier, original: Classifier, edit: Edit, workshop: Workshop) -> None:
        from unlearn.modules.prediction import refresh_batch_norm

        pairs = zip(model.parameters(), original.parameters(), strict=True)
        if edit.refresh_bn and not all(torch.equal(now, before) for now, before in pairs):
            refresh_batch_norm(model, self.retain.load(workshop))

    def _read(self, score: Score, workshop: Workshop) -> dict[str, Tensor]:
        tensors = read_tensors(workshop.need(score), "scores.safetensors")
        return {name: tensor.to(workshop.hardware.device) for name, tensor in tensors.items()}

    def _run(self, model: torch.nn.Module, phase: Phase, workshop: Workshop, tick: Tick) -> Curve:
        from unlearn.data.loader import Loader, PairedLoader
        from unlearn.modules.unlearner import UnlearnerModule

        augment = augmentation(self.forget.population.dataset)
        loaders: dict[str, Loader] = {}
        for subset in phase.subsets:
            data = self._samples(subset).load(workshop)
            loaders[subset] = Loader(data, phase.recipe.batch_size, self.seed, f"unlearned/{subset}", augment)
        watched = {subset: self._samples(subset).load(workshop) for subset in phase.watched}
        module = UnlearnerModule(model, phase, PairedLoader(loaders), self.seed, watched)
        return module.run(workshop.hardware, self.validation.load(workshop), tick)

    def _samples(self, subset: Subset) -> Samples:
        return {Subset.FORGET: self.forget, Subset.RETAIN: self.retain, Subset.VALIDATION: self.validation}[subset]

    def load(self, workshop: Workshop) -> Classifier:
        """The unlearned model, frozen, in eval mode, on the training device."""
        return self.original.restore(self, workshop)

    @property
    def role(self) -> Role:
        """Always `unlearned`."""
        return Role.UNLEARNED


def _spaced(data: ImageSource, most: int | None) -> ImageSource:
    """At most so many samples, evenly spaced: data in an order by class lose no class."""
    if most is None or most >= len(data):
        return data
    return data.take((torch.arange(most) * len(data) // most).to(data.labels.device))


def _told(data: ImageSource, tick: Tick) -> Iterator[tuple[Tensor, Tensor]]:
    from unlearn.data.loader import sequential

    for done, batch in enumerate(sequential(data, SCORING_BATCH)):
        tick(done * SCORING_BATCH, len(data))
        yield batch.images, batch.labels
