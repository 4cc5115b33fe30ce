"""The stage that trains a classifier from scratch."""

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
from unlearn.core.progress import Console, DetailedTick
from unlearn.core.recipe import Recipe
from unlearn.core.types import Curve
from unlearn.models.base import Classifier
from unlearn.stages.base import BuildContext
from unlearn.stages.files import write_json, write_tensors
from unlearn.stages.model import ModelStage
from unlearn.stages.samples import SampleSource, make_augmentation
from unlearn.training.trainer import Numerics, TrainerSettings

if TYPE_CHECKING:
    from unlearn.data.loaders import Loader, RowSelection
    from unlearn.training.partial import Partial, Progress

INITIAL_IMAGES = 5000  # at most, for a net that initialises values from the data
INITIAL_BATCH = 500


@dataclass(frozen=True, kw_only=True)
class Train(ModelStage):
    """A model trained on `samples`; the roles (original, retrained, fresh, ...) differ only in samples and seed.

    Files: `model.safetensors` and `curve.json`. An interrupted training resumes after its last epoch, bit for bit, and
    `seconds` adds up all attempts. (SPD-GAN and unlearning are short, and restart.) Training on several devices
    includes the time to start as many processes.
    """

    validation: SampleSource | None  # None: no validation after each epoch
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

    def build(self, folder: Path, context: BuildContext, tick: DetailedTick) -> None:
        checkpoint = self._checkpoint(context)
        progress = self._read_progress(checkpoint, context)
        try:
            if self.devices > 1:
                self._train_on_devices(context, tick)
            classifier, curve = self.fit(context, tick)  # after several devices it only reads their last epoch
        except DivergenceError:
            checkpoint.drop()  # it would diverge again
            raise
        self.write(folder, classifier, curve)
        if skipped := int(curve[-1].get("skipped_steps", 0)) if curve else 0:
            context.log(self, f"{skipped} steps were skipped: their gradients were too large for float16")
        if progress.epochs:
            context.notes[self.key] = {"resumed_from_epoch": progress.epochs, "seconds": progress.seconds}

    def write(self, folder: Path, classifier: Classifier, curve: Curve) -> None:
        """Write the artifact's files."""
        write_tensors(folder / "model.safetensors", classifier.state_dict())
        write_json(folder / "curve.json", curve)

    def initial(self, context: BuildContext) -> Classifier:
        """Return the model that training starts from, on the training device."""
        classifier = self.fresh(f"init/{self.role}", self.seed).to(context.hardware.device)
        self.model.load_published(classifier.net)
        self.model.initialise_from_data(classifier.net, self._iter_normalised(classifier, context))
        return classifier

    def _iter_normalised(self, classifier: Classifier, context: BuildContext) -> Iterator[Tensor]:
        """Yield batches of some normalised training images; nothing is read until the first batch."""
        for batch in iter_batches(evenly_spaced(self.samples.load(context), INITIAL_IMAGES), INITIAL_BATCH):
            yield classifier.normalise(batch.images)

    def fit(
        self, context: BuildContext, tick: DetailedTick, checkpoint: Partial | None = None, epochs: int | None = None
    ) -> tuple[Classifier, Curve]:
        """Train, alone or as one of several processes.

        Args:
            context: the store and the hardware.
            tick: reports progress.
            checkpoint: where to write each epoch's checkpoint; None: with the store's unfinished work.
            epochs: stop after so many; None: after all of the recipe's.

        Returns:
            The trained model and its curve.
        """
        from unlearn.data.loaders import PairedLoader, RankShard
        from unlearn.training.classifier import ClassifierModule
        from unlearn.training.ranks import rank, world_size

        classifier = self.initial(context)
        rank_shard = RankShard(rank(), world_size()) if world_size() > 1 else None
        loader = PairedLoader({"train": self.loader(context, rank_shard)})
        module = ClassifierModule(classifier, self.recipe, loader, self.seed, self.role)
        checkpoint = checkpoint or self._checkpoint(context)
        validation = None if self.validation is None else self.validation.load(context)
        curve = module.run(context.hardware, validation, tick, checkpoint, epochs)
        return classifier, curve

    def loader(self, context: BuildContext, rows: RowSelection | None = None) -> Loader:
        """Return the loader of its training batches; `rows` limits it to one process's rows."""
        from unlearn.data.loaders import Loader

        data, augment = self.samples.load(context), make_augmentation(self.samples.population.dataset)
        return Loader(data, self.recipe.batch_size, self.seed, self.role, augment, rows)

    def _checkpoint(self, context: BuildContext) -> Partial:
        from unlearn.training.partial import Partial

        return Partial(context.store.partial(self.key) / "last.ckpt", context.hardware.checkpoint_every)

    def _read_progress(self, checkpoint: Partial, context: BuildContext) -> Progress:
        """Return the progress of earlier attempts; an unusable checkpoint is deleted."""
        from unlearn.training.partial import Progress

        try:
            progress = checkpoint.read()
        except StoreError as error:
            context.log(self, f"restarts: {error}")
            checkpoint.drop()
            return Progress()
        if progress.epochs:
            context.log(self, f"resumed at epoch {progress.epochs}")
        return progress

    def _train_on_devices(self, context: BuildContext, tick: DetailedTick) -> None:
        """Train in one process per device; they leave the last epoch's checkpoint."""
        from unlearn.training.ranks import run_ranks

        work = partial(_train_in_process, self, context.store.root, context.hardware)
        run_ranks(work, self.devices, context.hardware.device, tick)


def _train_in_process(stage: Train, store: Path, hardware: TrainerSettings, tick: DetailedTick) -> None:
    """Train as one of several processes; all inputs are in the store already."""
    hardware.apply()
    stage.fit(BuildContext(ArtifactStore(store), hardware, Console(io.StringIO())), tick)
