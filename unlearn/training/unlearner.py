"""One phase of a strategy."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from unlearn.core.batch import Batch
from unlearn.core.types import ImageSource, Role, Subset
from unlearn.data.augmentation import Augmentation
from unlearn.data.loaders import Loader, PairedLoader, SerialLoader, Share, Without
from unlearn.functional.estimates import is_correct
from unlearn.strategies.base import Phase
from unlearn.training.frozen import Frozen
from unlearn.training.prediction import predict
from unlearn.training.ranks import rank, world_size
from unlearn.training.recipe_module import RecipeModule


class UnlearnerModule(RecipeModule):
    """Minimises a phase's loss until its epochs or its budget are over.

    Entries that may not move are put back after each step, bit for bit: masking gradients instead would leak through
    momentum and weight decay. Batch normalisation of which nothing may move keeps its running statistics too.
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
        """The phase's budget looks at the forget, retain and validation sets of `data`."""
        super().__init__(model, phase.recipe, loader, seed, role)
        self.phase = phase
        self.data = data
        self.ended: str | None = None  # the field of the budget that ended it
        self._frozen: Frozen | None = None

    def loss(self, batch: dict[str, Batch]) -> Tensor:
        return self.phase.loss(self.model, batch, self.current_epoch)  # type: ignore[arg-type]  # Subset is a str

    def on_train_start(self) -> None:
        """Note the time, what may not move, and what the model scores before the first epoch."""
        self._started, self._first = time.perf_counter(), self.steps_taken
        self._frozen = None if self.phase.trainable_mask is None else Frozen(self.model, self.phase.trainable_mask)
        self._before = self._accuracies() if self.phase.budget.needs_accuracies else {}
        for norm in self._frozen_norms():
            norm.eval()

    def on_after_backward(self) -> None:
        """What may not move does not enter the norm by which gradients are clipped."""
        if self._frozen is not None:
            self._frozen.mask_gradients()

    @torch.no_grad()
    def on_train_batch_end(self, *_: Any) -> None:
        """Restore what is frozen; stop where steps or time are over."""
        if self._frozen is not None:
            self._frozen.restore()
        self._end(self._out_of_time())

    def on_train_epoch_end(self) -> None:
        """Stop where accuracies say that it is enough."""
        super().on_train_epoch_end()
        if self._before and self.ended is None:
            self._end(self.phase.budget.reached_limit(self._before, self._accuracies(), self._retained_share()))

    def _end(self, reached: str | None) -> None:
        if reached is not None:
            self.ended = reached
            self.trainer.should_stop = True

    def _out_of_time(self) -> str | None:
        budget = self.phase.budget
        if budget.steps is not None and self.steps_taken - self._first >= budget.steps:
            return "steps"
        if budget.seconds is None:
            return None
        late = time.perf_counter() - self._started >= budget.seconds
        return "seconds" if self.trainer.strategy.broadcast(late) else None  # the first process's clock counts

    def _accuracies(self) -> dict[Subset, float]:
        watched = {subset: self.data[subset] for subset in (Subset.FORGET, Subset.VALIDATION)}
        return {subset: is_correct(predict(self.model, data)).mean().item() for subset, data in watched.items()}

    def _retained_share(self) -> float:
        """How much of the forget set is of classes that the retain set has as well."""
        forget, retain = self.data[Subset.FORGET].labels, self.data[Subset.RETAIN].labels
        return torch.isin(forget, retain).double().mean().item()

    def _frozen_norms(self) -> list[nn.Module]:
        """Those of which nothing moves, or, where they have no weights, nothing registered before them."""
        if self.phase.trainable_mask is None:
            return []
        frozen, moved = list[nn.Module](), False
        for name, module in self.model.named_modules():
            own = [
                self.phase.trainable_mask[f"{name}.{p}".lstrip(".")] for p, _ in module.named_parameters(recurse=False)
            ]
            moves = any(bool(mask.any()) for mask in own)
            moved = moved or moves
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and not (moves if own else moved):
                frozen.append(module)
        return frozen


def build_loader(
    phase: Phase, number: int, seed: int, augmentation: Augmentation | None = None
) -> PairedLoader | SerialLoader:
    """The loader of a strategy's phase, the process's share of it where several train together."""
    share = Share(rank(), world_size()) if world_size() > 1 else None
    suffix = f"/{number}" if number else ""  # each phase draws its own order
    loaders = dict[str, Loader]()
    for subset, data in phase.data.items():
        batch_size = phase.batch_sizes.get(subset, phase.recipe.batch_size)
        loaders[subset] = Loader(data, batch_size, seed, f"unlearned/{subset}{suffix}", augmentation, share)
    return PairedLoader(loaders) if phase.passes is None else SerialLoader(loaders, phase.passes)


def build_replay_loader(
    phase: Phase, forget: ImageSource, seed: int, role: str, augmentation: Augmentation | None = None
) -> PairedLoader:
    """The batches of a training that had that seed and role, without the rows of the forget set."""
    data = phase.data[Subset.TRAIN]
    lost = torch.isin(data.index, forget.index).cpu()
    return PairedLoader({Subset.TRAIN: Loader(data, phase.recipe.batch_size, seed, role, augmentation, Without(lost))})
