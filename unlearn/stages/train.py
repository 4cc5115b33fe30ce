"""Train a classifier from scratch: original, retrained, fresh and guide differ in index set and role alone."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from unlearn.core.artifact_store import ArtifactStore
from unlearn.core.batch import evenly_spaced, iter_batches
from unlearn.core.errors import DivergenceError, StoreError
from unlearn.core.progress import Console, Tick
from unlearn.core.recipe import Recipe
from unlearn.core.types import Curve
from unlearn.models.base import Classifier
from unlearn.stages.base import BuildContext
from unlearn.stages.files import write_json, write_tensors
from unlearn.stages.model import ModelStage
from unlearn.stages.samples import Sampled, augmentation
from unlearn.training.trainer import Numerics, TrainerSettings

if TYPE_CHECKING:
    from unlearn.data.loaders import Loader, Rows
    from unlearn.training.partial import Partial, Progress

INITIAL_IMAGES = 5000  # at most, evenly spaced, for a net that takes its first values from the data
INITIAL_BATCH = 500


@dataclass(frozen=True, kw_only=True)
class Train(ModelStage):
    """A model trained on `samples`. Its files: `model.safetensors`, `curve.json`.

    Interrupted, it goes on from its last epoch, bit for bit; `seconds` are then those of all attempts. (SPD-GAN and
    unlearning are short, and start anew.) On several devices it costs the start of as many processes too.
    """

    validation: Sampled
    recipe: Recipe
    numerics: Numerics

    version = 2  # schedules change the learning rate at every step

    @property
    def label(self) -> str:
        return f"train {self.role} (seed {self.seed})"

    @property
    def devices(self) -> int:
        return self.numerics.devices

    def prepare(self, context: BuildContext) -> None:
        super().prepare(context)
        self.warm_up(self.recipe, context)

    @property
    def memory_remedy(self) -> str:
        return "lower train.batch_size, or use trainer.precision=bf16-mixed or more trainer.devices"

    def build(self, folder: Path, context: BuildContext, tick: Tick) -> None:
        kept = self._kept(context)
        earlier = self._earlier(kept, context)
        try:
            if self.devices > 1:
                self._spread(context, tick)
            classifier, curve = self.fit(context, tick)  # after several devices nothing is left to train
        except DivergenceError:
            kept.drop()  # it would diverge again
            raise
        self.write(folder, classifier, curve)
        if skipped := int(curve[-1].get("skipped_steps", 0)) if curve else 0:
            context.tell(self, f"{skipped} steps were skipped: their gradients were too large for float16")
        if earlier.epochs:
            context.notes[self.key] = {"resumed_from_epoch": earlier.epochs, "seconds": earlier.seconds}

    def write(self, folder: Path, classifier: Classifier, curve: Curve) -> None:
        """The artefact's files."""
        write_tensors(folder / "model.safetensors", classifier.state_dict())
        write_json(folder / "curve.json", curve)

    def initial(self, context: BuildContext) -> Classifier:
        """What training starts from, on the training device."""
        classifier = self.fresh(f"init/{self.role}", self.seed).to(context.hardware.device)
        self.model.load_published(classifier.net)
        self.model.initialise_from_data(classifier.net, self._normalised(classifier, context))
        return classifier

    def _normalised(self, classifier: Classifier, context: BuildContext) -> Iterator[Tensor]:
        """Some of the training images, as the net gets them; nothing is read before the first batch is asked for."""
        for batch in iter_batches(evenly_spaced(self.samples.load(context), INITIAL_IMAGES), INITIAL_BATCH):
            yield classifier.normalised(batch.images)

    def fit(
        self, context: BuildContext, tick: Tick, kept: Partial | None = None, epochs: int | None = None
    ) -> tuple[Classifier, Curve]:
        """The trained model and its curve, alone or as one of several processes; after some `epochs`, or all.

        `kept` is where it leaves its last epoch; None: among the store's unfinished work.
        """
        from unlearn.data.loaders import PairedLoader, Share
        from unlearn.training.classifier import ClassifierModule
        from unlearn.training.ranks import rank, world_size

        classifier = self.initial(context)
        share = Share(rank(), world_size()) if world_size() > 1 else None
        loader = PairedLoader({"train": self.loader(context, share)})
        module = ClassifierModule(classifier, self.recipe, loader, self.seed, self.role)
        kept = kept or self._kept(context)
        curve = module.run(context.hardware, self.validation.load(context), tick, kept, epochs)
        return classifier, curve

    def loader(self, context: BuildContext, rows: Rows | None = None) -> Loader:
        """The batches that it learns from."""
        from unlearn.data.loaders import Loader

        data, augment = self.samples.load(context), augmentation(self.samples.population.dataset)
        return Loader(data, self.recipe.batch_size, self.seed, self.role, augment, rows)

    def _kept(self, context: BuildContext) -> Partial:
        from unlearn.training.partial import Partial

        return Partial(context.store.partial(self.key) / "last.ckpt", context.hardware.checkpoint_every)

    def _earlier(self, kept: Partial, context: BuildContext) -> Progress:
        """What earlier attempts left; what cannot be used is dropped."""
        from unlearn.training.partial import Progress

        try:
            earlier = kept.read()
        except StoreError as error:
            context.tell(self, f"starts anew: {error}")
            kept.drop()
            return Progress()
        if earlier.epochs:
            context.tell(self, f"resumed at epoch {earlier.epochs}")
        return earlier

    def _spread(self, context: BuildContext, tick: Tick) -> None:
        """Train in as many processes as devices; the last epoch's checkpoint stays."""
        from unlearn.training.ranks import run_ranks

        work = partial(_train, self, context.store.root, context.hardware)
        run_ranks(work, self.devices, context.hardware.device, tick)


def _train(stage: Train, store: Path, hardware: TrainerSettings, tick: Tick) -> None:
    """What each process does; its inputs are all in the store."""
    hardware.apply()
    stage.fit(BuildContext(ArtifactStore(store), hardware, Console(io.StringIO())), tick)
