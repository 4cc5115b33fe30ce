"""The stage that makes the original forget by a strategy."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from unlearn.core.artifact_store import ArtifactStore
from unlearn.core.progress import Console, DetailedTick
from unlearn.core.recipe import Recipe
from unlearn.core.types import Role, Subset
from unlearn.core.validation import ADDED
from unlearn.models.base import Classifier
from unlearn.stages.base import BuildContext, Stage
from unlearn.stages.condense import Condense
from unlearn.stages.history import History
from unlearn.stages.model import ModelStage
from unlearn.stages.run_strategy import StrategyRun, UnlearnedModel
from unlearn.stages.samples import SampleSource, warm_up
from unlearn.stages.score import Score
from unlearn.stages.shards import TrainShards, retrained_slices
from unlearn.strategies.base import Budget, Strategy
from unlearn.training.trainer import Numerics, TrainerSettings


@dataclass(frozen=True)
class Unlearn(Stage):
    """The unlearned model.

    Files:
    - `model.safetensors` and `curve.json`.
    - `edited.json`: how many entries the edit chose (null for a strategy without an edit), of how many, and notes for
      the report.
    - `ended.json`: for each phase, the field of the budget that ended it, or null.

    With `rebuilt` the strategy edits nothing: the unlearned model is that ensemble, and `seconds` are those of the
    slices that it does not share with the original.

    On several devices each process does all of the edit, and the processes share the batches of the phases.
    """

    strategy: Strategy
    original: ModelStage
    scores: tuple[Score, ...]
    forget: SampleSource
    retain: SampleSource
    validation: SampleSource
    seed: int
    numerics: Numerics
    relabelled: SampleSource | None = None  # the forget set under its correct labels, if a request corrects labels
    condensed: Condense | None = None  # what strategies read in place of the retain set
    history: History | None = None  # the model to start from, if that is not the original
    rebuilt: TrainShards | None = field(default=None, metadata=ADDED)  # the ensemble without the forgotten records

    @property
    def label(self) -> str:
        is_shadow = self.original.role is Role.SHADOW
        source = f"shadow {self.original.seed}" if is_shadow else f"seed {self.seed}"
        return f"unlearn {type(self.strategy).__name__} ({source})"

    @property
    def role(self) -> Role:
        """Always `unlearned`."""
        return Role.UNLEARNED

    @property
    def devices(self) -> int:
        return self.numerics.devices

    @property
    def is_retain_free(self) -> bool:
        """Whether it reads no retain data: no image or label of D_r, and no score or budget made from them."""
        budget = getattr(self.strategy, "budget", None)
        reads_labels = isinstance(budget, Budget) and budget.like_unseen
        scored = {need.subset for need in self.strategy.needs()} & {Subset.RETAIN, Subset.TRAIN}
        return not (self.strategy.reads_retain or scored or reads_labels or self.history or self.rebuilt)

    @property
    def memory_remedy(self) -> str:
        if not self.strategy.trains:
            return super().memory_remedy
        return "lower strategy.recipe.batch_size or train.batch_size, or use trainer.precision=bf16-mixed"

    @property
    def subset_sources(self) -> dict[Subset, SampleSource | Condense]:
        """The samples that the strategy can read, by subset; none of the retain set if it is retain-free."""
        sources: dict[Subset, SampleSource | Condense] = {
            Subset.FORGET: self.forget,
            Subset.VALIDATION: self.validation,
        }
        if not self.is_retain_free:
            sources[Subset.RETAIN] = self.condensed or self.retain
        if self.relabelled is not None:
            sources[Subset.RELABELLED] = self.relabelled
        if self.history is not None:
            sources[Subset.TRAIN] = self.original.samples
        return sources

    def prepare(self, context: BuildContext) -> None:
        warm_up(self.forget.population.dataset, context)
        self.strategy.prepare()
        # The recipe of the strategy or, if it trains nothing, that of the original.
        recipe = getattr(self.strategy, "recipe", None) or getattr(self.original, "recipe", None)
        self.original.warm_up(recipe if isinstance(recipe, Recipe) else Recipe(), context)

    def build(self, folder: Path, context: BuildContext, tick: DetailedTick) -> None:
        if self.rebuilt is not None:
            self._take_over(self.rebuilt, folder, context)
        elif self.devices > 1:
            from unlearn.training.ranks import run_ranks

            work = partial(_unlearn_in_process, self, folder, context.store.root, context.hardware)
            run_ranks(work, self.devices, context.hardware.device, tick)
        else:
            StrategyRun.of_stage(self, context, tick).run().write(folder, self.label)

    def _take_over(self, rebuilt: TrainShards, folder: Path, context: BuildContext) -> None:
        """Write the ensemble that was trained without the forgotten records; its new slices are the cost."""
        seconds = sum(row.seconds for row in retrained_slices(self.original, rebuilt, context))
        context.notes[self.key] = {"seconds": seconds}
        UnlearnedModel(rebuilt.load(context), [], None, [], {}).write(folder, self.label)

    def load(self, context: BuildContext) -> Classifier:
        """Return the unlearned model, frozen, in eval mode, on the training device."""
        return self.original.restore(self, context)


def _unlearn_in_process(
    stage: Unlearn, folder: Path, store: Path, hardware: TrainerSettings, tick: DetailedTick
) -> None:
    """Unlearn as one of several processes, of which the first writes; all inputs are in the store already."""
    from unlearn.training.ranks import rank

    hardware.apply()
    context = BuildContext(ArtifactStore(store), hardware, Console(io.StringIO()))
    unlearned = StrategyRun.of_stage(stage, context, tick).run()
    if rank() == 0:
        unlearned.write(folder, stage.label)
