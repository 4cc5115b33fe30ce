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
from unlearn.data.loaders import (
    AlternatingLoader,
    ExcludedSamples,
    Loader,
    PairedLoader,
    RankShard,
    SerialLoader,
    StepSource,
)
from unlearn.functional.estimates import is_correct
from unlearn.strategies.base import Phase
from unlearn.strategies.gradient_phase import GradientPhase
from unlearn.training.dual_optimizer import DualOptimizer
from unlearn.training.frozen import Frozen
from unlearn.training.prediction import predict
from unlearn.training.ranks import rank, world_size
from unlearn.training.recipe_module import RecipeModule
from unlearn.training.two_gradients import set_combined_gradients

AS_THEY_ARE = (Subset.ADVERSARIAL,)  # no real images: a crop would undo what was computed


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
        loader: StepSource,
        seed: int,
        data: Mapping[Subset, ImageSource],
        role: str = Role.UNLEARNED,
    ) -> None:
        super().__init__(model, phase.recipe, loader, seed, role)
        self.phase = phase
        self.data = data
        self.ended: str | None = None  # the field of the budget that ended it
        self._frozen: Frozen | None = None
        self._gradients = (
            phase if isinstance(phase, GradientPhase) else GradientPhase(phase.data, phase.loss, phase.recipe)
        )

    def loss(self, batch: dict[str, Batch]) -> Tensor:
        retain = self.phase.loss(self.model, batch, self.current_epoch)  # type: ignore[arg-type]  # Subset is a str
        if self._gradients.second is not None:  # after the retain loss, which updates running statistics
            forget = self._gradients.second.loss(self.model, batch, self.current_epoch)  # type: ignore[arg-type]
            self._losses_of_step = retain, forget
        return retain

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Create the recipe's optimizer, and a second one for forget steps if the phase has one."""
        optimizer: torch.optim.Optimizer = super().configure_optimizers()
        forget = self._gradients.forget_optimizer
        return optimizer if forget is None else DualOptimizer(optimizer, forget.make_optimizer(self.model))

    def on_train_batch_start(self, batch: dict[str, Batch], step: int) -> None:
        """Choose the optimizer of the step, then set its learning rate."""
        self._step_subset = Subset(next(iter(batch))) if len(batch) == 1 else None
        optimizer = self.trainer.optimizers[0]
        if isinstance(optimizer, DualOptimizer):
            optimizer.select("forget" if self._step_subset is Subset.FORGET else "retain")
        super().on_train_batch_start(batch, step)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute the gradient of the loss, or combine the gradients of two losses."""
        if self._gradients.second is None:
            super().backward(loss, *args, **kwargs)
            return
        parameters, combine = list(self.model.parameters()), self._gradients.second.combine
        set_combined_gradients(parameters, self._losses_of_step, combine, self._frozen, self._scaler)

    def on_train_start(self) -> None:
        """Record the time, the frozen entries, and the accuracies before the first epoch."""
        self._started, self._first_step = time.perf_counter(), self.steps_taken
        self._frozen = None if self.phase.trainable_mask is None else Frozen(self.model, self.phase.trainable_mask)
        self._before = self._accuracies() if self.phase.budget.needs_accuracies else {}
        for norm in self._frozen_norms():
            norm.eval()
        parameters = dict(self.model.named_parameters())
        self._factors = {
            subset: [(parameters[name], factor.to(parameters[name])) for name, factor in factors.items()]
            for subset, factors in self._gradients.factors.items()
        }
        if self._gradients.second is not None and world_size() > 1:
            # Both gradients are averaged over the processes before they are combined, not by DistributedDataParallel.
            self.trainer.strategy.model.require_backward_grad_sync = False  # type: ignore[union-attr]

    def on_after_backward(self) -> None:
        """Mask the gradients of frozen entries, so that they do not enter the norm for clipping."""
        if self._frozen is not None:
            self._frozen.mask_gradients()
        if self._step_subset is None:
            return
        for p, factor in self._factors.get(self._step_subset, ()):
            if p.grad is not None:
                p.grad.mul_(factor)

    def on_before_optimizer_step(self, _: torch.optim.Optimizer) -> None:
        """Clip the gradient of steps that have a bound of their own; float16 has taken out its scale here."""
        clip = None if self._step_subset is None else self._gradients.clips.get(self._step_subset)
        if clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), clip)

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
            retained = self._retained_fraction() if self.phase.budget.like_unseen else 1.0
            self._stop(self.phase.budget.reached_limit(self._before, self._accuracies(), retained))

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


def build_loader(phase: Phase, number: int, seed: int, augmentation: Augmentation | None = None) -> StepSource:
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
        augmented = None if subset in AS_THEY_ARE else augmentation
        loaders[subset] = Loader(data, batch_size, seed, f"unlearned/{subset}{suffix}", augmented, shard)
    if isinstance(phase, GradientPhase) and phase.forget_every is not None:
        return AlternatingLoader(loaders[Subset.RETAIN], loaders[Subset.FORGET], phase.forget_every)
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
