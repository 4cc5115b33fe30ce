"""The training module and loaders of one phase of a strategy."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from unlearn.core.batch import Batch
from unlearn.core.types import ImageSource, Role, Subset
from unlearn.data.augmentation import Augmentation
from unlearn.data.loaders import ExcludedSamples, Loader, PairedLoader, RankShard, SerialLoader
from unlearn.functional.estimates import is_correct
from unlearn.strategies.base import Phase
from unlearn.training.frozen import Frozen
from unlearn.training.prediction import predict
from unlearn.training.ranks import rank, world_size
from unlearn.training.recipe_module import RecipeModule


class UnlearnerModule(RecipeModule):
    """Minimises a phase's loss until its epochs are over or its budget is used up.

    Frozen entries are restored bit for bit after each step: masking gradients alone would let momentum and weight
    decay change them. Batch normalisation without trainable entries also keeps its running statistics.

    Args:
        model: the model, which is trained in place.
        phase: loss, recipe, budget and trainable entries.
        loader: yields the batches.
        seed: the seed of the draws.
        data: data by subset; the budget reads forget, retain and validation.
        role: the role of the model.
    """

    def __init__(
        self,
        model: nn.Module,
        phase: Phase,
        loader: PairedLoader | SerialLoader,
        seed: int,
        data: Mapping[Subset, ImageSource],
        role: str = Role.UNLEARNED,
    ) -> None:
        super().__init__(model, phase.recipe, loader, seed, role)
        self.phase = phase
        self.data = data
        self.ended: str | None = None  # the field of the budget that ended it
        self._frozen: Frozen | None = None

    def loss(self, batch: dict[str, Batch]) -> Tensor:
        return self.phase.loss(self.model, batch, self.current_epoch)  # type: ignore[arg-type]  # Subset is a str

    def on_train_start(self) -> None:
        """Record the time, the frozen entries, and the accuracies before the first epoch."""
        self._started, self._first_step = time.perf_counter(), self.steps_taken
        self._frozen = None if self.phase.trainable_mask is None else Frozen(self.model, self.phase.trainable_mask)
        self._before = self._accuracies() if self.phase.budget.needs_accuracies else {}
        for norm in self._frozen_norms():
            norm.eval()

    def on_after_backward(self) -> None:
        """Mask the gradients of frozen entries, so that they do not enter the norm for clipping."""
        if self._frozen is not None:
            self._frozen.mask_gradients()

    @torch.no_grad()
    def on_train_batch_end(self, *_: Any) -> None:
        """Restore frozen entries; stop if the budget's steps or seconds are used up."""
        if self._frozen is not None:
            self._frozen.restore()
        self._stop(self._exhausted_limit())

    def on_train_epoch_end(self) -> None:
        """Stop if the accuracies have reached a limit of the budget."""
        super().on_train_epoch_end()
        if self._before and self.ended is None:
            self._stop(self.phase.budget.reached_limit(self._before, self._accuracies(), self._retained_fraction()))

    def _stop(self, limit: str | None) -> None:
        if limit is not None:
            self.ended = limit
            self.trainer.should_stop = True

    def _exhausted_limit(self) -> str | None:
        """The limit of steps or seconds that is used up, or None."""
        budget = self.phase.budget
        if budget.steps is not None and self.steps_taken - self._first_step >= budget.steps:
            return "steps"
        if budget.seconds is None:
            return None
        is_over = time.perf_counter() - self._started >= budget.seconds
        return "seconds" if self.trainer.strategy.broadcast(is_over) else None  # by the clock of rank 0

    def _accuracies(self) -> dict[Subset, float]:
        subsets = (Subset.FORGET, Subset.VALIDATION)
        return {subset: is_correct(predict(self.model, self.data[subset])).mean().item() for subset in subsets}

    def _retained_fraction(self) -> float:
        """Fraction of the forget set whose class the retain set also has."""
        forget, retain = self.data[Subset.FORGET].labels, self.data[Subset.RETAIN].labels
        return torch.isin(forget, retain).double().mean().item()

    def _frozen_norms(self) -> list[nn.Module]:
        """Batch-norm layers without trainable entries.

        A layer without weights counts as frozen if no layer registered before it has trainable entries.
        """
        if self.phase.trainable_mask is None:
            return []
        frozen, is_trainable_before = list[nn.Module](), False
        for name, module in self.model.named_modules():
            parameters = [f"{name}.{p}".lstrip(".") for p, _ in module.named_parameters(recurse=False)]
            is_trainable = any(bool(self.phase.trainable_mask[p].any()) for p in parameters)
            is_trainable_before = is_trainable_before or is_trainable
            is_frozen = not (is_trainable if parameters else is_trainable_before)
            if is_frozen and isinstance(module, nn.modules.batchnorm._BatchNorm):
                frozen.append(module)
        return frozen


def build_loader(
    phase: Phase, number: int, seed: int, augmentation: Augmentation | None = None
) -> PairedLoader | SerialLoader:
    """Build the loader of a strategy's phase; with several ranks, the part of this rank.

    Args:
        phase: data, batch sizes and passes.
        number: the position of the phase in its strategy, from 0.
        seed: the seed of the order of samples.
        augmentation: applied to each batch; None: no augmentation.
    """
    shard = RankShard(rank(), world_size()) if world_size() > 1 else None
    suffix = f"/{number}" if number else ""  # each phase has its own order of samples
    loaders = dict[str, Loader]()
    for subset, data in phase.data.items():
        batch_size = phase.batch_sizes.get(subset, phase.recipe.batch_size)
        loaders[subset] = Loader(data, batch_size, seed, f"unlearned/{subset}{suffix}", augmentation, shard)
    return PairedLoader(loaders) if phase.passes is None else SerialLoader(loaders, phase.passes)


def build_replay_loader(
    phase: Phase, forget: ImageSource, seed: int, role: str, augmentation: Augmentation | None = None
) -> PairedLoader:
    """Build the loader that repeats the batches of an earlier training without the rows of the forget set.

    Args:
        phase: data and batch size.
        forget: the forget set.
        seed: the seed of the earlier training.
        role: the role of the earlier training.
        augmentation: that of the earlier training.
    """
    data = phase.data[Subset.TRAIN]
    is_forgotten = torch.isin(data.index, forget.index).cpu()
    return PairedLoader(
        {Subset.TRAIN: Loader(data, phase.recipe.batch_size, seed, role, augmentation, ExcludedSamples(is_forgotten))}
    )
