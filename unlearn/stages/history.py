"""The stage that repeats the first epochs of the original's training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unlearn.core.progress import DetailedTick
from unlearn.models.base import Classifier
from unlearn.stages.base import BuildContext, Stage
from unlearn.stages.files import write_tensors
from unlearn.stages.samples import warm_up
from unlearn.stages.train import Train


@dataclass(frozen=True)
class History(Stage):
    """The original after its first `epochs` epochs, trained again bit for bit; the original itself does not change.

    Files: `model.safetensors`, and after one epoch or more `last.ckpt`, a Lightning checkpoint that includes the
    optimizer and is read without running any code.
    """

    original: Train
    epochs: int

    @property
    def label(self) -> str:
        return f"history of the original (epoch {self.epochs})"

    def prepare(self, context: BuildContext) -> None:
        warm_up(self.original.samples.population.dataset, context)

    def build(self, folder: Path, context: BuildContext, tick: DetailedTick) -> None:
        from unlearn.training.partial import Partial

        if self.epochs == 0:
            classifier = self.original.initial(context)
        else:
            checkpoint = Partial(folder / "last.ckpt", every=0)
            classifier, _ = self.original.fit(context, tick, checkpoint, self.epochs)
        write_tensors(folder / "model.safetensors", classifier.state_dict())

    def load(self, context: BuildContext) -> Classifier:
        """Return the model, frozen, in eval mode, on the training device."""
        return self.original.restore(self, context)

    def checkpoint(self, context: BuildContext) -> Path | None:
        """Return the checkpoint to resume from; None after no epochs, where the weights are all there is."""
        return context.get(self).file("last.ckpt") if self.epochs else None
