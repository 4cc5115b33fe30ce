"""The contract of a strategy: two optional hooks, `edit` and `phases`, on a copy of the original model."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from unlearn.core.batch import Batch
from unlearn.core.errors import Problem
from unlearn.core.progress import Tick
from unlearn.core.random_streams import stream, stream_seed
from unlearn.core.recipe import Recipe
from unlearn.core.types import ImageSource, Subset
from unlearn.core.validation import at_least, fraction, positive
from unlearn.functional.parameter_scores import Need, Scores

Masks = dict[str, Tensor]  # parameter name -> bool, in the parameter's shape
Batches = Mapping[Subset, Batch]  # the batches of one step, by subset
Loss = Callable[[nn.Module, Batches, int], Tensor]  # of the model, on the batches of a step, in an epoch (from 0)


@dataclass(frozen=True)
class Budget:
    """Limits that end fine-tuning before its epochs do; the first one reached counts.

    Accuracies are measured once an epoch. `like_unseen` ends fine-tuning once forget accuracy is no higher than unseen
    data would score: the validation accuracy before the first epoch, and 0 for samples of classes that the retain set
    lacks [ours].
    """

    steps: int | None = at_least(1, None)  # optimizer steps; null: no limit
    seconds: float | None = positive(None)  # checked after each step; the result then depends on the machine's speed
    forget_accuracy: float | None = fraction(None, one=True)  # end once forget accuracy is at or below it
    like_unseen: bool = False  # end once the forget set scores like unseen data
    validation_drop: float | None = fraction(None, one=True)  # end once validation accuracy has fallen by more

    @property
    def needs_accuracies(self) -> bool:
        """Whether a limit refers to accuracies."""
        return self.like_unseen or self.forget_accuracy is not None or self.validation_drop is not None

    def reached_limit(
        self, before: Mapping[Subset, float], now: Mapping[Subset, float], retained_fraction: float
    ) -> str | None:
        """Return the name of the accuracy limit that is reached, or None.

        Args:
            before: accuracies (0-1) on the forget and validation sets before the first epoch.
            now: the same accuracies after this epoch.
            retained_fraction: the fraction of the forget set whose class the retain set has as well.
        """
        if (
            self.validation_drop is not None
            and before[Subset.VALIDATION] - now[Subset.VALIDATION] > self.validation_drop
        ):
            return "validation_drop"
        if self.forget_accuracy is not None and now[Subset.FORGET] <= self.forget_accuracy:
            return "forget_accuracy"
        if self.like_unseen and now[Subset.FORGET] <= before[Subset.VALIDATION] * retained_fraction:
            return "like_unseen"
        return None


@dataclass(frozen=True)
class Phase:
    """One stretch of fine-tuning by one optimizer.

    Each step draws one batch from every subset of `data`, and an epoch is a pass over the first subset. With `passes`
    the subsets come one after another instead: an epoch goes through those that `passes(epoch)` names, in that order.
    """

    data: Mapping[Subset, ImageSource]  # the context's subsets or some of them, perhaps relabelled
    loss: Loss
    recipe: Recipe
    trainable_mask: Masks | None = None  # entries that may change; all others end bit-identical. None: all may
    budget: Budget = field(default_factory=Budget)
    passes: Callable[[int], tuple[Subset, ...]] | None = None
    batch_sizes: Mapping[Subset, int] = field(default_factory=dict)  # where they differ from the recipe's
    replays: bool = False  # repeats the original's training from `Strategy.history` on, without the forget rows


@dataclass(frozen=True)
class Context:
    """What a strategy may read. The original is frozen and in eval mode."""

    original: nn.Module
    fresh_model: Callable[[], nn.Module]  # the same architecture, newly initialised
    scores: Mapping[Need, Scores]  # the statistics that `needs` named
    data: Mapping[Subset, ImageSource]  # forget, retain, validation; `relabelled` if labels are corrected; read lazily
    seed: int
    tick: Tick = lambda done, total: None  # reports the progress of a long edit
    condensed_from: int | None = None  # n_r, where fewer images stand in for the retain set
    notes: dict[str, str] = field(default_factory=dict)  # a strategy adds what the report must mention

    @property
    def n_retain(self) -> int:
        """The size n_r of the retain set, also where the retain set was condensed."""
        return self.condensed_from or len(self.data[Subset.RETAIN])

    def generator(self, purpose: str) -> torch.Generator:
        """Return the random stream of a purpose; all strategies and all cells of a grid share its draws."""
        return stream(self.seed, purpose, "unlearned")

    def seed_of(self, purpose: str) -> int:
        """Return the seed of that stream, for draws that torch does not make."""
        return stream_seed(self.seed, purpose, "unlearned")


def compute_logits(model: nn.Module, images: Tensor, running_statistics: bool = False) -> Tensor:
    """Return the logits of a batch, with care for batch normalisation.

    Args:
        model: the model, in train or eval mode.
        images: float32 [b, c, h, w] in [0, 1].
        running_statistics: normalise by the running statistics and leave them unchanged. A batch of fewer than two
            images always does, since it has no statistics of its own.

    Returns:
        Logits [b, C].
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    switched = norms if running_statistics or len(images) < 2 else []
    for norm in switched:
        norm.eval()
    try:
        logits: Tensor = model(images)
    finally:
        for norm in switched:
            norm.train()
    return logits


def task_loss(
    model: nn.Module, batches: Batches, subset: Subset, label_smoothing: float, running_statistics: bool = False
) -> Tensor:
    """Return the mean cross-entropy on the batch of a subset, in nats.

    Args:
        model: the model being trained.
        batches: the batches of this step, by subset.
        subset: the subset to compute it on.
        label_smoothing: 0 to 1.
        running_statistics: as for `compute_logits`.
    """
    batch = batches[subset]
    return batch.cross_entropy(compute_logits(model, batch.images, running_statistics), label_smoothing)


@dataclass(frozen=True)
class Edit:
    """What a one-shot edit did."""

    masks: Masks  # entries that it may have changed
    refresh_bn: bool = False  # estimate batch normalisation's running statistics again, on the retain set


@dataclass(frozen=True)
class Strategy(ABC):
    """A way to unlearn. Its fields are its config; a new one is a `.py` here and a `.yaml` in `conf/strategy`."""

    class_wise_only: ClassVar[bool] = False  # serves only requests for a whole class
    corrects_labels: ClassVar[bool] = False  # also serves requests that correct labels

    @property
    def reads_retain(self) -> bool:
        """Whether it reads images of the retain set, so that condensing the retain set has an effect."""
        return True

    @property
    def history(self) -> int | None:
        """How many of the last epochs of the original's training it repeats; None: it starts from the original."""
        return None

    def prepare(self) -> None:
        """Import what only this strategy needs, before its time is measured."""

    def needs(self) -> tuple[Need, ...]:
        """Return the statistics of the original that it uses, computed beforehand and shared between cells."""
        return ()

    def check(self, net: Callable[[], nn.Module]) -> Iterator[Problem]:
        """Yield problems with the net before anything is trained; `net()` has shapes but no values."""
        del net
        yield from ()

    def edit(self, model: nn.Module, context: Context) -> Edit:
        """Change the weights of `model`, a copy of the original, in one shot."""
        del model, context
        return Edit({})

    def phases(self, context: Context, edit: Edit) -> Iterator[Phase]:
        """Yield the fine-tuning phases that follow the edit."""
        del context, edit
        yield from ()

    @property
    def gentler_advice(self) -> str | None:
        """An instruction that makes the edit gentler, such as "lower strategy.k"; None: the net need not survive."""
        return None

    @property
    def edits(self) -> bool:
        """Whether it changes weights in one shot."""
        return type(self).edit is not Strategy.edit

    @property
    def trains(self) -> bool:
        """Whether it has phases; an edit alone runs on one device."""
        return type(self).phases is not Strategy.phases
