"""Run a strategy on a copy of the original: its edit, then its fine-tuning phases."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from unlearn.core.errors import DivergenceError
from unlearn.core.progress import DetailedTick, ignore_tick
from unlearn.core.types import Curve, ImageSource, Role, Subset
from unlearn.functional.estimates import NORMAL, is_correct
from unlearn.models.base import Classifier
from unlearn.stages.base import BuildContext
from unlearn.stages.condense import Condense
from unlearn.stages.files import write_json, write_tensors
from unlearn.stages.samples import SampleSource, make_augmentation
from unlearn.strategies.base import Context, Edit, Masks, Phase, Strategy
from unlearn.training.trainer import TrainerSettings

if TYPE_CHECKING:
    from unlearn.data.augmentation import Augmentation
    from unlearn.stages.unlearn import Unlearn
    from unlearn.training.unlearner import UnlearnerModule


@dataclass(frozen=True)
class UnlearnedModel:
    """The result of a strategy: the model, and what its artifact records."""

    model: Classifier
    curve: Curve
    masks: Masks | None  # entries that the edit chose; None for a strategy without an edit
    ended: list[str | None]  # of each phase the field of the budget that ended it, if any
    notes: dict[str, str]

    def write(self, folder: Path, label: str) -> None:
        """Write the files of an `Unlearn` artifact.

        Raises:
            DivergenceError: a weight is not finite.
        """
        write_tensors(folder / "model.safetensors", self.model.state_dict())
        write_json(folder / "curve.json", self.curve)
        if not all(bool(tensor.isfinite().all()) for tensor in self.model.state_dict().values()):
            raise DivergenceError(
                f"{label}: expected finite weights, got NaN or infinity; lower strategy.noise_scale, or the other "
                "settings that scale its steps"
            )
        write_json(folder / "ended.json", self.ended)
        edited = None if self.masks is None else sum(int(torch.count_nonzero(mask)) for mask in self.masks.values())
        total = sum(p.numel() for p in self.model.parameters())
        notes = {"notes": self.notes} if self.notes else {}
        write_json(folder / "edited.json", {"edited_parameters": edited, "total_parameters": total} | notes)


class LazySubsets(Mapping[Subset, ImageSource]):
    """Subsets whose images are loaded when they are first used."""

    def __init__(self, sources: Mapping[Subset, SampleSource | Condense], build_context: BuildContext) -> None:
        self.sources = sources
        self.load = cache(lambda subset: sources[subset].load(build_context))

    def __getitem__(self, subset: Subset) -> ImageSource:
        return self.load(subset)

    def __iter__(self) -> Iterator[Subset]:
        return iter(self.sources)

    def __len__(self) -> int:
        return len(self.sources)


@dataclass(frozen=True)
class ReplayedTraining:
    """The training of the original that a strategy repeats from some epoch on."""

    seed: int
    role: Role
    checkpoint: Path | None  # at the epoch to start from; None: from the beginning

    @classmethod
    def of_stage(cls, stage: Unlearn, build_context: BuildContext) -> ReplayedTraining:
        """Return the training that an `Unlearn` stage with a history repeats."""
        assert stage.history is not None
        return cls(stage.original.seed, stage.original.role, stage.history.checkpoint(build_context))


@dataclass(frozen=True)
class RunSettings:
    """How a strategy is run: hardware, augmentation, where notes and progress go, and the training that it repeats."""

    hardware: TrainerSettings
    say: Callable[[str], None]
    tick: DetailedTick = ignore_tick
    augmentation: Augmentation | None = None
    replayed: ReplayedTraining | None = None


class StrategyRun:
    """One execution of a strategy on a model, alone or as one of several processes.

    Args:
        strategy: the strategy.
        model: a copy of the original, which is changed in place.
        context: what the strategy may read; without a validation set nothing is validated.
        settings: how to run it.
    """

    def __init__(self, strategy: Strategy, model: Classifier, context: Context, settings: RunSettings) -> None:
        self.strategy, self.model, self.context, self.settings = strategy, model, context, settings

    @property
    def validation(self) -> ImageSource | None:
        """The validation set, read when it is first needed."""
        return self.context.data.get(Subset.VALIDATION)

    @classmethod
    def of_stage(cls, stage: Unlearn, build_context: BuildContext, tick: DetailedTick) -> StrategyRun:
        """Create the run of an `Unlearn` stage, whose inputs `build_context` loads; `tick` reports progress."""
        original = stage.original.load(build_context)
        start = original if stage.history is None else stage.history.load(build_context)
        context = Context(
            original=original,
            fresh_model=lambda: _make_fresh_model(stage, original),
            scores={score.need: score.load(build_context) for score in stage.scores},
            data=LazySubsets(stage.subset_sources, build_context),
            seed=stage.seed,
            tick=tick,
            condensed_from=None if stage.condensed is None else stage.condensed.size(build_context),
        )
        settings = RunSettings(
            hardware=build_context.hardware,
            say=lambda note: build_context.console.say(f"  {stage.label}: {note}"),
            tick=tick,
            augmentation=make_augmentation(stage.forget.population.dataset),
            replayed=None if stage.history is None else ReplayedTraining.of_stage(stage, build_context),
        )
        return cls(stage.strategy, copy.deepcopy(start).requires_grad_(True), context, settings)

    def run(self) -> UnlearnedModel:
        """Edit the model, then fine-tune it."""
        edit = self.strategy.edit(self.model, self.context)
        self._refresh_batch_norm(edit)
        self._warn_if_at_chance()
        phases = enumerate(self.strategy.phases(self.context, edit))
        modules = [self._run_phase(phase, number) for number, phase in phases]
        self._note_skipped_steps(modules)
        self._print_notes()
        curve = [{"phase": float(number)} | row for number, module in enumerate(modules) for row in module.curve]
        masks = edit.masks if self.strategy.edits else None
        return UnlearnedModel(self.model, curve, masks, [module.ended for module in modules], self.context.notes)

    def _refresh_batch_norm(self, edit: Edit) -> None:
        """Estimate running statistics on the retain set, if the edit asks for it and changed the weights."""
        from unlearn.training.prediction import refresh_batch_norm

        pairs = zip(self.model.parameters(), self.context.original.parameters(), strict=True)
        if edit.refresh_bn and not all(torch.equal(now, before) for now, before in pairs):
            refresh_batch_norm(self.model, self.context.data[Subset.RETAIN])

    def _warn_if_at_chance(self) -> None:
        """Warn at once if the edit left the net at chance, because fine-tuning would then train an untrained net."""
        from unlearn.training.prediction import predict

        advice, validation = self.strategy.gentler_advice, self.validation
        if not self.strategy.edits or advice is None or validation is None:
            return
        accuracy = is_correct(predict(self.model, validation)).mean().item()
        chance = (torch.bincount(validation.labels).max() / len(validation)).item()
        limit = chance + NORMAL * math.sqrt(chance * (1 - chance) / len(validation))
        if accuracy <= limit < is_correct(predict(self.context.original, validation)).mean().item():
            note = f"the edit left the net at chance (validation accuracy {accuracy:.3f}): {advice}"
            self.context.notes["edit"] = note
            self.settings.say(note)

    def _run_phase(self, phase: Phase, number: int) -> UnlearnerModule:
        from unlearn.training.unlearner import UnlearnerModule, build_loader

        if phase.replays:
            return self._replay(phase)
        seed, hardware = self.context.seed, self.settings.hardware
        loader = build_loader(phase, number, seed, self.settings.augmentation)
        module = UnlearnerModule(self.model, phase, loader, seed, self.context.data)
        module.run(hardware, self.validation, self.settings.tick)
        return module

    def _replay(self, phase: Phase) -> UnlearnerModule:
        """Repeat the end of the original's training without D_f, with its seed, role and optimizer."""
        from unlearn.training.partial import Partial
        from unlearn.training.unlearner import UnlearnerModule, build_replay_loader

        replayed, data = self.settings.replayed, self.context.data
        assert replayed is not None, "only a strategy with a history replays"
        seed, role = replayed.seed, replayed.role
        loader = build_replay_loader(phase, data[Subset.FORGET], seed, role, self.settings.augmentation)
        module = UnlearnerModule(self.model, phase, loader, seed, data, role)
        path = replayed.checkpoint
        checkpoint = None if path is None else Partial(path, every=math.inf)  # only read, never written
        module.run(self.settings.hardware, self.validation, self.settings.tick, checkpoint)
        return module

    def _note_skipped_steps(self, modules: list[UnlearnerModule]) -> None:
        skipped = sum(int(module.curve[-1].get("skipped_steps", 0)) for module in modules if module.curve)
        if skipped:
            note = f"{skipped} steps were skipped: their gradients were too large for float16"
            self.context.notes["skipped_steps"] = note

    def _print_notes(self) -> None:
        for key, note in self.context.notes.items():
            if key != "edit":  # printed right after the edit
                self.settings.say(note)


def _make_fresh_model(stage: Unlearn, original: Classifier) -> Classifier:
    """Return a newly initialised model of the original's architecture, on its device."""
    fresh = stage.original.fresh("init/unlearned", stage.seed).to(original.mean.device)
    # Buffers computed from the training data, such as a whitening, are the original's. No strategy changes them, so
    # the unlearned model has them too, and weights that are taken from the fresh model must fit to them.
    stage.original.model.copy_data_dependent(fresh.net, original.net)
    return fresh
