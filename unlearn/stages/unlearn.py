"""Make the original forget: a strategy's edit, then its phases."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from unlearn.core.artifact_store import ArtifactStore
from unlearn.core.errors import DivergenceError
from unlearn.core.progress import Console, Tick
from unlearn.core.recipe import Recipe
from unlearn.core.types import Curve, ImageSource, Role, Subset
from unlearn.functional.estimates import NORMAL, correct
from unlearn.models.base import Classifier
from unlearn.stages.base import BuildContext, Stage
from unlearn.stages.condense import Condense
from unlearn.stages.files import write_json, write_tensors
from unlearn.stages.history import History
from unlearn.stages.model import ModelStage
from unlearn.stages.samples import Sampled, augmentation, warm_up
from unlearn.stages.score import Score
from unlearn.strategies.base import Context, Edit, Masks, Phase, Strategy
from unlearn.training.trainer import Numerics, TrainerSettings

if TYPE_CHECKING:
    from unlearn.training.unlearner import UnlearnerModule


@dataclass(frozen=True)
class Unlearn(Stage):
    """The unlearned model.

    Its files: `model.safetensors`, `curve.json`, `edited.json` (how many entries the edit chose, of how many, null for
    a strategy without one, and notes for the report), and `ended.json`: of each phase the field of the budget that
    ended it, or null.
    On several devices each process does all of it; they share the batches of the phases.
    """

    strategy: Strategy
    original: ModelStage
    scores: tuple[Score, ...]
    forget: Sampled
    retain: Sampled
    validation: Sampled
    seed: int
    numerics: Numerics
    relabelled: Sampled | None = None  # the forget set under its right labels, where a request corrects them
    condensed: Condense | None = None  # what strategies read in place of the retain set
    history: History | None = None  # where it starts, if that is not the original

    @property
    def label(self) -> str:
        whose = f"shadow {self.original.seed}" if self.original.role is Role.SHADOW else f"seed {self.seed}"
        return f"unlearn {type(self.strategy).__name__} ({whose})"

    @property
    def devices(self) -> int:
        return self.numerics.devices

    @property
    def memory_remedy(self) -> str:
        if not self.strategy.trains:
            return super().memory_remedy
        return "lower strategy.recipe.batch_size or train.batch_size, or use trainer.precision=bf16-mixed"

    def prepare(self, build_context: BuildContext) -> None:
        warm_up(self.forget.population.dataset, build_context)
        self.strategy.prepare()
        self.original.warm_up(self._recipe, build_context)

    def build(self, folder: Path, build_context: BuildContext, tick: Tick) -> None:
        if self.devices > 1:
            from unlearn.training.ranks import run_ranks

            work = partial(_unlearn, self, folder, build_context.store.root, build_context.hardware)
            run_ranks(work, self.devices, build_context.hardware.device, tick)
        else:
            self.make(build_context, tick).write(folder, self.label)

    def make(self, build_context: BuildContext, tick: Tick) -> Unlearned:
        """Edit, then fine-tune, alone or as one of several processes."""
        original = self.original.load(build_context)
        start = original if self.history is None else self.history.load(build_context)
        model = copy.deepcopy(start).requires_grad_(True)
        context = Context(
            original=original,
            fresh_model=lambda: self._fresh(original),
            scores={score.need: score.load(build_context) for score in self.scores},
            data=Loaded(self._samples, build_context),
            seed=self.seed,
            tick=tick,
            condensed_from=None if self.condensed is None else self.condensed.size(build_context),
        )
        edit = self.strategy.edit(model, context)
        self._refresh(model, context, edit)
        self._note_wreck(model, context, build_context)
        done = [
            self._run(model, phase, number, context, build_context, tick)
            for number, phase in enumerate(self.strategy.phases(context, edit))
        ]
        if skipped := sum(int(module.curve[-1].get("skipped_steps", 0)) for module in done if module.curve):
            context.notes["skipped_steps"] = f"{skipped} steps were skipped: their gradients were too large for float16"
        curve = [{"phase": float(number)} | row for number, module in enumerate(done) for row in module.curve]
        masks = edit.masks if self.strategy.edits else None
        for key, note in context.notes.items():
            if key != "edit":  # reported when it happened
                build_context.console.say(f"  {self.label}: {note}")
        return Unlearned(model, curve, masks, [module.ended for module in done], context.notes)

    @property
    def _recipe(self) -> Recipe:
        """The strategy's; of one that trains nothing, the original's."""
        found = getattr(self.strategy, "recipe", None) or getattr(self.original, "recipe", None)
        return found if isinstance(found, Recipe) else Recipe()

    def _fresh(self, original: Classifier) -> Classifier:
        """A newly initialised model of the original's architecture, on its device."""
        fresh = self.original.fresh("init/unlearned", self.seed).to(original.mean.device)
        # Buffers computed from the training data, such as a whitening, are the original's. No strategy changes them,
        # so the unlearned model has them too, and weights that are taken from the fresh model must fit to them.
        self.original.model.copy_data_dependent(fresh.net, original.net)
        return fresh

    @property
    def _samples(self) -> dict[Subset, Sampled | Condense]:
        retain = self.condensed or self.retain
        found = {Subset.FORGET: self.forget, Subset.RETAIN: retain, Subset.VALIDATION: self.validation}
        found |= {} if self.relabelled is None else {Subset.RELABELLED: self.relabelled}
        return found if self.history is None else found | {Subset.TRAIN: self.original.samples}

    def _refresh(self, model: Classifier, context: Context, edit: Edit) -> None:
        from unlearn.training.prediction import refresh_batch_norm

        pairs = zip(model.parameters(), context.original.parameters(), strict=True)
        if edit.refresh_bn and not all(torch.equal(now, before) for now, before in pairs):
            refresh_batch_norm(model, context.data[Subset.RETAIN])

    def _note_wreck(self, model: Classifier, context: Context, build_context: BuildContext) -> None:
        """Report at once that the edit left the net at chance: what follows then trains a net that knows nothing."""
        from unlearn.training.prediction import predict

        if not self.strategy.edits or self.strategy.gentler is None:
            return
        validation = context.data[Subset.VALIDATION]
        hits = correct(predict(model, validation))
        chance = (torch.bincount(validation.labels).max() / len(validation)).item()
        limit = chance + NORMAL * math.sqrt(chance * (1 - chance) / len(validation))
        if hits.mean().item() <= limit < correct(predict(context.original, validation)).mean().item():
            note = f"the edit left the net at chance (validation accuracy {hits.mean().item():.3f}): "
            context.notes["edit"] = note + self.strategy.gentler
            build_context.console.say(f"  {self.label}: {context.notes['edit']}")

    def _run(
        self, model: Classifier, phase: Phase, number: int, context: Context, build_context: BuildContext, tick: Tick
    ) -> UnlearnerModule:
        from unlearn.training.unlearner import UnlearnerModule, batches_of

        if phase.replays:
            return self._replay(model, phase, context, build_context, tick)
        loader = batches_of(phase, number, self.seed, augmentation(self.forget.population.dataset))
        module = UnlearnerModule(model, phase, loader, self.seed, context.data)
        module.run(build_context.hardware, context.data[Subset.VALIDATION], tick)
        return module

    def _replay(
        self, model: Classifier, phase: Phase, context: Context, build_context: BuildContext, tick: Tick
    ) -> UnlearnerModule:
        """A phase that is the end of the original's training: its seed, its role, its optimizer."""
        from unlearn.training.partial import Partial
        from unlearn.training.unlearner import UnlearnerModule, replay_of

        assert self.history is not None, "only a strategy with a history replays"
        seed, role = self.original.seed, self.original.role
        loader = replay_of(phase, context.data[Subset.FORGET], seed, role, augmentation(self.forget.population.dataset))
        module = UnlearnerModule(model, phase, loader, seed, context.data, role)
        kept = self.history.checkpoint(build_context)
        start = None if kept is None else Partial(kept, every=math.inf)  # read, never written
        module.run(build_context.hardware, context.data[Subset.VALIDATION], tick, start)
        return module

    def load(self, build_context: BuildContext) -> Classifier:
        """The unlearned model, frozen, in eval mode, on the training device."""
        return self.original.restore(self, build_context)

    @property
    def role(self) -> Role:
        """Always `unlearned`."""
        return Role.UNLEARNED


@dataclass(frozen=True)
class Unlearned:
    """What a strategy made."""

    model: Classifier
    curve: Curve
    masks: Masks | None
    ended: list[str | None]
    notes: dict[str, str]

    def write(self, folder: Path, label: str) -> None:
        """The files of `Unlearn`.

        Raises:
            DivergenceError: a weight is not finite.
        """
        write_tensors(folder / "model.safetensors", self.model.state_dict())
        write_json(folder / "curve.json", self.curve)
        if not all(bool(tensor.isfinite().all()) for tensor in self.model.state_dict().values()):
            raise DivergenceError(
                f"{label}: expected finite weights, got others; lower strategy.noise_scale, or what else it steps by"
            )
        write_json(folder / "ended.json", self.ended)
        edited = None if self.masks is None else sum(int(torch.count_nonzero(mask)) for mask in self.masks.values())
        total = sum(p.numel() for p in self.model.parameters())
        notes = {"notes": self.notes} if self.notes else {}
        write_json(folder / "edited.json", {"edited_parameters": edited, "total_parameters": total} | notes)


class Loaded(Mapping[Subset, ImageSource]):
    """Subsets that are read when they are first asked for."""

    def __init__(self, samples: Mapping[Subset, Sampled | Condense], build_context: BuildContext) -> None:
        self.samples = samples
        self.read = cache(lambda subset: samples[subset].load(build_context))

    def __getitem__(self, subset: Subset) -> ImageSource:
        return self.read(subset)

    def __iter__(self) -> Iterator[Subset]:
        return iter(self.samples)

    def __len__(self) -> int:
        return len(self.samples)


def _unlearn(stage: Unlearn, folder: Path, store: Path, hardware: TrainerSettings, tick: Tick) -> None:
    """What each process does; its inputs are all in the store."""
    from unlearn.training.ranks import rank

    hardware.apply()
    made = stage.make(BuildContext(ArtifactStore(store), hardware, Console(io.StringIO())), tick)
    if rank() == 0:
        made.write(folder, stage.label)
