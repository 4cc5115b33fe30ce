"""A competent teacher for the retain set, an incompetent one for the forget set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from unlearn.core.errors import Problem
from unlearn.core.recipe import Recipe
from unlearn.core.types import ImageSource, Subset
from unlearn.core.validation import fraction, positive
from unlearn.functional.divergence import kl
from unlearn.strategies.base import Batches, Context, Loss, compute_logits
from unlearn.strategies.iterative import Objective
from unlearn.strategies.selection import exact_count


@dataclass(frozen=True)
class BadTeacher(Objective):
    """Bad teacher (Chundawat et al. 2023): distil from the original on D_r and from a random net on D_f.

    Minimises the mean of KL(teacher || student) over D_f and a part R of D_r. The teacher is the original on R, and a
    net of random weights on D_f. That net is in eval mode and untrained: its batch normalisation uses the initial
    running statistics, mean 0 and variance 1.

    R is drawn once; the default is all of D_r [ours]. The authors' 30 % hurts nets that have memorised their data: on
    6,000 images of CIFAR-10 (JPEG copy, `model=cnn`, seed 10) it cost 7 points of test accuracy instead of 2.

    Each step has a batch of both sets, weighted by n_R : n_f, so that each sample has the weight it has in the union.
    An epoch is a pass over R. Forget batches pass batch normalisation by its running statistics, which the batches of R
    keep up to date [ours]. Labels are not read, so there is nothing to smooth.

    Trap: the authors' code averages the divergence over the batch and the C classes (reduction `mean`), so its loss is
    ours / C: divide a published learning rate by C for plain SGD [C].
    """

    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=10, lr=0.01, schedule="cosine"))
    retain_share: float = fraction(1.0, zero=False, one=True)  # n_R / n_r, at least one sample
    temperature: float = positive(1.0)  # of the softmax of teachers and student

    def check(self, net: Callable[[], nn.Module]) -> Iterator[Problem]:
        yield from super().check(net)
        if self.recipe.label_smoothing:
            yield Problem("strategy.recipe.label_smoothing", "0: no label is read", self.recipe.label_smoothing)

    def data(self, context: Context) -> Mapping[Subset, ImageSource]:
        retain = context.data[Subset.RETAIN]
        order = torch.randperm(len(retain), generator=context.generator("retain share"))
        chosen = order[: exact_count(float(self.retain_share), len(retain))].sort().values
        return {Subset.RETAIN: retain.take(chosen.to(retain.labels.device)), Subset.FORGET: context.data[Subset.FORGET]}

    def loss(self, context: Context) -> Loss:
        bad = context.fresh_model().eval().requires_grad_(False)
        teachers = {Subset.RETAIN: context.original, Subset.FORGET: bad}
        n_part = exact_count(float(self.retain_share), context.n_retain)
        sizes = {Subset.RETAIN: n_part, Subset.FORGET: len(context.data[Subset.FORGET])}

        def loss(model: nn.Module, batches: Batches, _: int) -> Tensor:
            divergences = [sizes[s] * self._divergence(model, batches, s, teacher) for s, teacher in teachers.items()]
            return torch.stack(divergences).sum() / sum(sizes.values())

        return loss

    def _divergence(self, model: nn.Module, batches: Batches, subset: Subset, teacher: nn.Module) -> Tensor:
        batch = batches[subset]
        with torch.no_grad():
            targets = teacher(batch.images)
        student = compute_logits(model, batch.images, running_statistics=subset is Subset.FORGET)
        return batch.mean(kl(targets, student, self.temperature))
