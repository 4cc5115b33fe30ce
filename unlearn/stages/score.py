"""The stage that computes parameter scores: gradients and other sums over samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from unlearn.core.batch import evenly_spaced, iter_batches
from unlearn.core.progress import Tick
from unlearn.core.types import ImageSource
from unlearn.functional.parameter_scores import Need, Scores
from unlearn.stages.base import BuildContext, Stage
from unlearn.stages.files import read_tensors, write_tensors
from unlearn.stages.model import LoadableModel
from unlearn.stages.samples import SampleSource, warm_up

SCORING_BATCH = 256


@dataclass(frozen=True)
class Score(Stage):
    """A parameter score of a model on one subset, shared by all strategies, metrics and cells that need it.

    File: `scores.safetensors`, by parameter name.
    """

    need: Need
    model: LoadableModel
    samples: SampleSource

    @property
    def label(self) -> str:
        return f"score {self.need.statistic.name} on {self.need.subset} of {self.model.role} (seed {self.model.seed})"

    def prepare(self, context: BuildContext) -> None:
        from unlearn.training.warm_up import warm_up_once

        warm_up(self.samples.population.dataset, context)
        name = (self.need.statistic, self.model.key)
        warm_up_once(context.hardware, name, lambda: self._compute(SCORING_BATCH, context, lambda done, total: None))

    def build(self, folder: Path, context: BuildContext, tick: Tick) -> None:
        write_tensors(folder / "scores.safetensors", self._compute(self.need.samples, context, tick))

    def _compute(self, samples: int | None, context: BuildContext, tick: Tick) -> Scores:
        """Compute the score on at most `samples` samples, evenly spaced; None: on all."""
        model = self.model.load(context).requires_grad_(True)
        return self.need.statistic.compute(
            model, _iter_with_progress(evenly_spaced(self.samples.load(context), samples), tick)
        )

    def load(self, context: BuildContext) -> Scores:
        """Return the scores by parameter name, on the training device."""
        tensors = read_tensors(context.get(self), "scores.safetensors")
        return {name: tensor.to(context.hardware.device) for name, tensor in tensors.items()}


def _iter_with_progress(data: ImageSource, tick: Tick) -> Iterator[tuple[Tensor, Tensor]]:
    for done, batch in enumerate(iter_batches(data, SCORING_BATCH)):
        tick(done * SCORING_BATCH, len(data))
        yield batch.images, batch.labels
