"""Where the original's training stood some epochs before its end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unlearn.core.progress import Tick
from unlearn.models.base import Classifier
from unlearn.stages.base import BuildContext, Stage
from unlearn.stages.files import write_tensors
from unlearn.stages.samples import warm_up
from unlearn.stages.train import Train


@dataclass(frozen=True)
class History(Stage):
    """The first `epochs` of a training, done again bit for bit: it changes no weight of the original.

    Its files: `model.safetensors`, and `last.ckpt` with the optimizer too, a checkpoint of Lightning's that is read
    without running any code; after no epochs there is none.
    """

    original: Train
    epochs: int

    @property
    def label(self) -> str:
        return f"history of the original (epoch {self.epochs})"

    def prepare(self, context: BuildContext) -> None:
        warm_up(self.original.samples.population.dataset, context)

    def build(self, folder: Path, context: BuildContext, tick: Tick) -> None:
        from unlearn.training.partial import Partial

        if self.epochs == 0:
            classifier = self.original.initial(context)
        else:
            kept = Partial(folder / "last.ckpt", every=0)
            classifier, _ = self.original.fit(context, tick, kept, self.epochs)
        write_tensors(folder / "model.safetensors", classifier.state_dict())

    def load(self, context: BuildContext) -> Classifier:
        """The weights, frozen, in eval mode, on the training device."""
        return self.original.restore(self, context)

    def checkpoint(self, context: BuildContext) -> Path | None:
        """From where to go on; None: from the weights alone."""
        return context.get(self).file("last.ckpt") if self.epochs else None
