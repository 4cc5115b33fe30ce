"""A competent teacher for the retain set, an incompetent one for the forget set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from unlearn.core.errors import Problem
from unlearn.core.recipe import Recipe
from unlearn.core.types import ImageSource, Subset
from unlearn.core.validation import checked, positive
from unlearn.functional.divergence import kl
from unlearn.strategies.base import Batches, Context, Loss, outputs
from unlearn.strategies.iterative import Objective
from unlearn.strategies.selection import exact_count


@dataclass(frozen=True)
class BadTeacher(Objective):
    """Bad teacher (Chundawat et al. 2023): the mean over D_f and a part R of D_r of KL(teacher || student).

    The authors' code averages the divergence over the batch and the C classes (reduction `mean`), so its loss is ours
    / C: divide a published learning rate by C for plain SGD [C].

    The teacher is the original on R and a net of random weights on D_f. That net is in eval mode and was never
    trained: its batch normalisation passes by initial running statistics, mean 0 and variance 1.

    R is drawn once; the default is all of D_r [ours]. The authors' 30 % costs nets that have memorised their data: on
    6,000 images of CIFAR-10 (JPEG copy, `model=cnn`, seed 10) 7 points of test accuracy instead of 2.

    Batches of both sets come side by side, weighted by n_R : n_f, so that each sample has the weight that it has in the
    union. An epoch is a pass over R; forget batches pass batch normalisation by its running statistics, which those of
    R keep up to date [ours]. Labels are not read, so there is none to smooth.
    """

    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=10, lr=0.01, schedule="cosine"))
    retain_share: float = checked(1.0, "a share in (0, 1]", lambda v: 0 < v <= 1)  # n_R / n_r, at least one sample
    temperature: float = positive(1.0)

    def check(self, net: Callable[[], nn.Module]) -> Iterator[Problem]:
        yield from super().check(net)
        if self.recipe.label_smoothing:
            yield Problem("strategy.recipe.label_smoothing", "0: no label is looked at", self.recipe.label_smoothing)

    def data(self, context: Context) -> Mapping[Subset, ImageSource]:
        retain = context.data[Subset.RETAIN]
        order = torch.randperm(len(retain), generator=context.generator("retain share"))
        chosen = order[: exact_count(float(self.retain_share), len(retain))].sort().values
        return {Subset.RETAIN: retain.take(chosen.to(retain.labels.device)), Subset.FORGET: context.data[Subset.FORGET]}

    def loss(self, context: Context) -> Loss:
        bad = context.fresh_model().eval().requires_grad_(False)
        teachers = {Subset.RETAIN: context.original, Subset.FORGET: bad}
        kept = exact_count(float(self.retain_share), context.n_retain)
        sizes = {Subset.RETAIN: kept, Subset.FORGET: len(context.data[Subset.FORGET])}

        def loss(model: nn.Module, batches: Batches, _: int) -> Tensor:
            divergences = [
                sizes[subset] * self._divergence(model, batches, subset, t) for subset, t in teachers.items()
            ]
            return torch.stack(divergences).sum() / sum(sizes.values())

        return loss

    def _divergence(self, model: nn.Module, batches: Batches, subset: Subset, teacher: nn.Module) -> Tensor:
        batch = batches[subset]
        with torch.no_grad():
            taught = teacher(batch.images)
        student = outputs(model, batch.images, running_statistics=subset is Subset.FORGET)
        return batch.mean(kl(taught, student, self.temperature))
