"""The contract of a strategy: two hooks, each optional, on a copy of the original model."""

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
from unlearn.core.validation import at_least, checked, positive
from unlearn.functional.parameter_scores import Need, Scores

Masks = dict[str, Tensor]  # parameter name -> bool, the parameter's shape
Batches = Mapping[Subset, Batch]  # side by side, by subset
Loss = Callable[[nn.Module, Batches, int], Tensor]  # of the model, on a batch, in an epoch counted from 0


@dataclass(frozen=True)
class Budget:
    """When fine-tuning ends before its epochs are over: at what comes first. Accuracies are looked at once an epoch.

    `like_unseen` ends it once forget accuracy is no higher than what data it never saw would score: the validation
    accuracy before the first epoch, and nothing for samples of classes that are not retained (our choice).
    """

    steps: int | None = at_least(1, None)
    seconds: float | None = positive(None)  # looked at after each step; the result then hangs on the machine's speed
    forget_accuracy: float | None = checked(None, "a share in [0, 1]", lambda v: 0 <= v <= 1)  # ends at or under this
    like_unseen: bool = False
    validation_drop: float | None = checked(None, "a share in [0, 1]", lambda v: 0 <= v <= 1)  # ends once it lost more

    @property
    def watches(self) -> bool:
        """Whether it asks for accuracies."""
        return self.like_unseen or self.forget_accuracy is not None or self.validation_drop is not None

    def spent(self, before: Mapping[Subset, float], now: Mapping[Subset, float], retained_share: float) -> str | None:
        """Which field accuracies on forget and validation set, before the first epoch and now, say is reached.

        `retained_share` of the forget set is of classes that the retain set has as well.
        """
        if (
            self.validation_drop is not None
            and before[Subset.VALIDATION] - now[Subset.VALIDATION] > self.validation_drop
        ):
            return "validation_drop"
        if self.forget_accuracy is not None and now[Subset.FORGET] <= self.forget_accuracy:
            return "forget_accuracy"
        if self.like_unseen and now[Subset.FORGET] <= before[Subset.VALIDATION] * retained_share:
            return "like_unseen"
        return None


@dataclass(frozen=True)
class Phase:
    """One stretch of fine-tuning, by one optimizer.

    The batches of all its `data` come side by side, and an epoch is a pass over the first; or, with `passes`, one
    after another, each epoch going through the subsets that `passes(epoch)` names.
    """

    data: Mapping[Subset, ImageSource]  # a context's, or fewer of it, or under other labels
    loss: Loss
    recipe: Recipe
    movable: Masks | None = None  # entries that may change; all others end bit-identical. None: all
    budget: Budget = field(default_factory=Budget)
    passes: Callable[[int], tuple[Subset, ...]] | None = None
    batch_sizes: Mapping[Subset, int] = field(default_factory=dict)  # of subsets that differ from the recipe's
    replays: bool = False  # the original's training from where `Strategy.history` left it, without the forget rows


@dataclass(frozen=True)
class Context:
    """What a strategy may look at. The original is frozen and in eval mode."""

    original: nn.Module
    fresh_model: Callable[[], nn.Module]  # the same architecture, newly initialised
    scores: Mapping[Need, Scores]  # what `needs` asked for
    data: Mapping[Subset, ImageSource]  # forget, retain, validation; relabelled where there is; read when asked for
    seed: int
    tick: Tick = lambda done, total: None  # tells progress of a long edit
    condensed_from: int | None = None  # n_r, where fewer images stand in for the retain set
    notes: dict[str, str] = field(default_factory=dict)  # to be filled with what the report must say of how it went

    @property
    def n_retain(self) -> int:
        """n_r, also where the retain set was condensed."""
        return self.condensed_from or len(self.data[Subset.RETAIN])

    def generator(self, purpose: str) -> torch.Generator:
        """The stream for one purpose: two strategies, or two cells of a grid, share its draws."""
        return stream(self.seed, purpose, "unlearned")

    def seed_of(self, purpose: str) -> int:
        """The seed of that stream, for draws that are not torch's."""
        return stream_seed(self.seed, purpose, "unlearned")


def outputs(model: nn.Module, images: Tensor, running_statistics: bool = False) -> Tensor:
    """Logits of a batch; fewer than two images pass batch normalisation by its running statistics, having none.

    With `running_statistics` every batch does, and leaves them as they are.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    still = norms if running_statistics or len(images) < 2 else []
    for norm in still:
        norm.eval()
    try:
        logits: Tensor = model(images)
    finally:
        for norm in still:
            norm.train()
    return logits


def task(
    model: nn.Module, batches: Batches, subset: Subset, label_smoothing: float, running_statistics: bool = False
) -> Tensor:
    """Mean cross-entropy on the batch of a subset, in nats."""
    batch = batches[subset]
    return batch.cross_entropy(outputs(model, batch.images, running_statistics), label_smoothing)


@dataclass(frozen=True)
class Edit:
    """What a one-shot edit did."""

    masks: Masks  # entries it may have changed
    refresh_bn: bool = False  # running statistics of batch normalisation are to be estimated anew, on the retain set


@dataclass(frozen=True)
class Strategy(ABC):
    """A way to forget. Its fields are its config; adding one is a `.py` here and a `.yaml` in `conf/strategy`."""

    class_wise_only: ClassVar[bool] = False  # serves requests for a whole class alone
    corrects_labels: ClassVar[bool] = False  # serves requests that correct labels as well

    @property
    def reads_retain(self) -> bool:
        """Whether it reads images of the retain set, so that condensing it is of use."""
        return True

    @property
    def history(self) -> int | None:
        """How many of the last epochs of the original's training it does again, if any; it then starts before them."""
        return None

    def prepare(self) -> None:
        """Import what only running it needs, before its time is taken."""

    def needs(self) -> tuple[Need, ...]:
        """Scores of the original, made before the strategy runs and shared between cells."""
        return ()

    def check(self, net: Callable[[], nn.Module]) -> Iterator[Problem]:
        """Problems with the net, which has shapes but no values; asked before anything is trained."""
        del net
        yield from ()

    def edit(self, model: nn.Module, context: Context) -> Edit:
        """Change the weights of `model`, a copy of the original, in one shot."""
        del model, context
        return Edit({})

    def phases(self, context: Context, edit: Edit) -> Iterator[Phase]:
        """The fine-tuning that follows the edit."""
        del context, edit
        yield from ()

    @property
    def gentler(self) -> str | None:
        """What makes the edit gentler, as an instruction to the user; None: the net need not survive it."""
        return None

    @property
    def edits(self) -> bool:
        """Whether it changes weights in one shot."""
        return type(self).edit is not Strategy.edit

    @property
    def trains(self) -> bool:
        """Whether it has phases: an edit alone runs on one device."""
        return type(self).phases is not Strategy.phases
