"""The data of shadow models: what each of them learns, and what some are then made to forget."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unlearn.core.errors import DataError
from unlearn.core.random_streams import stream
from unlearn.core.types import ImageSource, Subset
from unlearn.data.population import Population
from unlearn.data.stream import concatenate
from unlearn.stages.base import BuildContext
from unlearn.stages.samples import DataView, Samples, SampleSource, load_dataset

MIN_FORGETTING = 2  # shadow models that forget a sample: one alone would leave its variance unknown


def draw_half_mask(n: int, number: int, seed: int) -> Tensor:
    """Draw the half of a pool of `n` samples that shadow model `number` learns.

    Models 2i and 2i + 1 get the two halves of one draw, so that of an even number of models exactly half learn each
    sample. More models leave the halves of the first ones unchanged [ours].

    Returns:
        A mask, bool [n].
    """
    order = torch.randperm(n, generator=stream(seed, "half", "shadow", number // 2))
    mask = torch.zeros(n, dtype=torch.bool)
    mask[order[: n // 2]] = True
    return mask if number % 2 == 0 else ~mask


@dataclass(frozen=True)
class ShadowTrainSet:
    """The samples that one shadow model learns: a random half of the pool.

    The pool is D followed by holdout, each in the order of its index. Both are as the original and its attackers see
    them: under SPD-GAN's marker D contains D_f' and holdout is perturbed too, so the pool depends on the request.
    Otherwise it does not, unless a request names its records.
    """

    members: Samples  # D
    holdout: Samples
    number: int

    @property
    def population(self) -> Population:
        """Population of the run."""
        return self.members.population

    def train_mask(self) -> Tensor:
        """Return the mask of its samples over the pool, bool [n], without reading data."""
        drawn = self.population.draw()
        return draw_half_mask(len(drawn.member) + len(drawn.holdout), self.number, self.population.seed)

    @property
    def relative_size(self) -> float:
        """Its size divided by the size of D."""
        return int(self.train_mask().sum()) / self.population.members

    def pool_positions(self, subset: Subset, index: Tensor) -> Tensor:
        """Return the positions int64 [m] in the pool of samples of holdout, or of D, by data set index int64 [m]."""
        drawn = self.population.draw()
        if subset is Subset.HOLDOUT:
            return len(drawn.member) + torch.searchsorted(drawn.holdout, index)
        return torch.searchsorted(drawn.member, index)

    def load(self, context: BuildContext) -> ImageSource:
        """Return images, labels and indices, on the training device."""
        return self.take(self.train_mask(), context)

    def take(self, mask: Tensor, context: BuildContext) -> ImageSource:
        """Return the samples of the pool that a mask bool [n] selects, in the order of their index.

        The indices of holdout samples from the test part continue after the training part, so that no two samples
        share an index.
        """
        offset = 0 if self.population.draw().test is None else self.population.dataset.train_size
        pool = concatenate(self.members.load(context), self.holdout.load(context), offset)
        samples = pool.take(mask.nonzero()[:, 0].to(pool.index.device))
        return samples.take(samples.index.argsort())


@dataclass(frozen=True)
class ShadowForgetSet:
    """The samples of its train set that a shadow model is made to forget (`forget`), or the rest of them (`retain`).

    A model forgets a random part of the candidates: D_f, and the holdout samples of the classes in D_f. It treats both
    the same way, so that whether a shadow model forgot a sample does not depend on whether the original learned it. It
    forgets as large a fraction of its train set as the original forgets of D. Each candidate is forgotten by equally
    many models, at least two. If a whole class is forgotten, a shadow model forgets all of it too [ours].
    """

    train_set: ShadowTrainSet
    forget: Samples  # D_f
    count: int  # shadow models, over which the candidates are distributed
    subset: Subset

    @property
    def population(self) -> Population:
        """Population of the run."""
        return self.train_set.population

    def load(self, context: BuildContext) -> ImageSource:
        """Return images, labels and indices, on the training device.

        Raises:
            DataError: this model has nothing to forget, because there are too few candidates.
        """
        forget_mask = self.forget_mask(context)
        if not forget_mask.any():
            raise DataError(
                f"attacks.u_lira: expected enough samples for each of {self.count} shadow models to forget some, got "
                "none for one of them; ask for fewer models, or forget more"
            )
        mask = forget_mask if self.subset is Subset.FORGET else self.train_set.train_mask() & ~forget_mask
        return self.train_set.take(mask, context)

    def forget_mask(self, context: BuildContext) -> Tensor:
        """Return the mask of the forgotten samples over the pool, bool [n]."""
        candidates, members = self._find_candidates(context)
        learned = torch.stack([replace(self.train_set, number=number).train_mask() for number in range(self.count)])
        generator = stream(self.population.seed, "forgotten", "shadow")
        draws = torch.rand(self.count, len(candidates), generator=generator)
        # The rank of each model among those that learned a sample; models that did not come last.
        rank = torch.where(learned, draws, torch.inf).argsort(0).argsort(0)
        return candidates & (rank[self.train_set.number] < self._forgetting_models(candidates, members))

    def _find_candidates(self, context: BuildContext) -> tuple[Tensor, int]:
        """Return the mask of D_f and the holdout samples of its classes over the pool, bool [n], and the size of D."""
        contents, drawn = load_dataset(self.population.dataset, context), self.population.draw()
        labels = self.population.labels(contents.train.labels)
        forgotten = self.forget.split(contents, context).forget
        holdout_labels = (labels if drawn.test is None else contents.test.labels)[drawn.holdout]
        in_forget, in_classes = torch.isin(drawn.member, forgotten), torch.isin(holdout_labels, labels[forgotten])
        return torch.cat([in_forget, in_classes]), len(drawn.member)

    def _forgetting_models(self, candidates: Tensor, members: int) -> int:
        """Return how many models forget each candidate."""
        maximum = self.count // 2
        if self.forget.forget is not None and self.forget.forget.whole_class:
            return maximum
        fraction = int(candidates[:members].sum()) / members
        return min(maximum, max(MIN_FORGETTING, round(maximum * fraction * len(candidates) / int(candidates.sum()))))


@dataclass(frozen=True)
class ShadowDataView:
    """The data of a run as one of `count` shadow models sees it."""

    run_data: DataView
    number: int
    count: int

    @property
    def train_set(self) -> ShadowTrainSet:
        """What it learns."""
        return ShadowTrainSet(self.run_data[Subset.TRAIN], self.run_data[Subset.HOLDOUT], self.number)

    def forget_set(self, subset: Subset) -> ShadowForgetSet:
        """Return what it forgets of its train set, or what it retains."""
        return ShadowForgetSet(self.train_set, self.run_data[Subset.FORGET], self.count, subset)

    def __getitem__(self, subset: Subset) -> SampleSource:
        if subset in {Subset.FORGET, Subset.RETAIN}:
            return self.forget_set(subset)
        return self.train_set if subset is Subset.TRAIN else self.run_data[subset]
