"""What shadow models learn, and what some of them are then made to forget."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unlearn.core.errors import DataError
from unlearn.core.random_streams import stream
from unlearn.core.types import ImageSource, Subset
from unlearn.data.population import Population
from unlearn.data.stream import joined
from unlearn.stages.base import BuildContext
from unlearn.stages.samples import DataView, Sampled, Samples, load

FEWEST = 2  # shadow models that forget a sample: one would leave its variance unknown


def half(n: int, number: int, seed: int) -> Tensor:
    """Who of a pool of `n` is in the half of shadow model `number`, bool [n].

    Models 2i and 2i + 1 get the two halves of one draw, so that every sample is learnt by exactly half of an even
    number of models; more models leave the halves of the first as they are [ours].
    """
    order = torch.randperm(n, generator=stream(seed, "half", "shadow", number // 2))
    mine = torch.zeros(n, dtype=torch.bool)
    mine[order[: n // 2]] = True
    return mine if number % 2 == 0 else ~mine


@dataclass(frozen=True)
class ShadowTrainSet:
    """A random half of the pool, which is D and then holdout, each by index: what one shadow model learns.

    Both are as the original and those who attack it see them: under SPD-GAN's marker D holds D_f', holdout is moved
    alike, and the pool depends on who is forgotten. Otherwise it does not, unless a request names its records.
    """

    members: Samples  # D
    holdout: Samples
    number: int

    @property
    def population(self) -> Population:
        """That of the run."""
        return self.members.population

    def learnt(self) -> Tensor:
        """Who of the pool is in it, bool [n]; no data are read."""
        drawn = self.population.draw()
        return half(len(drawn.member) + len(drawn.holdout), self.number, self.population.seed)

    @property
    def share(self) -> float:
        """Its size over that of D."""
        return int(self.learnt().sum()) / self.population.members

    def places(self, subset: Subset, index: Tensor) -> Tensor:
        """Where samples of holdout, or of D, stand in the pool, int64 [m], by data set index int64 [m]."""
        drawn = self.population.draw()
        if subset is Subset.HOLDOUT:
            return len(drawn.member) + torch.searchsorted(drawn.holdout, index)
        return torch.searchsorted(drawn.member, index)

    def load(self, context: BuildContext) -> ImageSource:
        """Images, labels and indices, on the training device."""
        return self.part(self.learnt(), context)

    def part(self, wanted: Tensor, context: BuildContext) -> ImageSource:
        """Of the pool what a mask bool [n] says, by index. Holdout from the test part counts on behind the training
        part, so that no two samples share an index."""
        aside = 0 if self.population.draw().test is None else self.population.dataset.train_size
        pool = joined(self.members.load(context), self.holdout.load(context), aside)
        found = pool.take(wanted.nonzero()[:, 0].to(pool.index.device))
        return found.take(found.index.argsort())


@dataclass(frozen=True)
class ShadowForgetSet:
    """What a shadow model is made to forget of its half (`forget`), or the rest of it (`retain`).

    It forgets at random some of those whom the attack asks about: D_f and the holdout samples of its classes, both
    alike, so that whether it forgot a sample says nothing of whether the original learnt it. It forgets as large a
    share of its half as the original does of D, and each of them is forgotten by equally many models, two at least;
    where a whole class is forgotten, a half loses all of it too [ours].
    """

    half: ShadowTrainSet
    forget: Samples  # D_f
    count: int  # shadow models, among whom those asked about are shared out
    subset: Subset

    @property
    def population(self) -> Population:
        """That of the run."""
        return self.half.population

    def load(self, context: BuildContext) -> ImageSource:
        """Images, labels and indices, on the training device.

        Raises:
            DataError: this model has nothing to forget: the attack asks about too few samples.
        """
        forgotten = self.forgotten(context)
        if not forgotten.any():
            raise DataError(
                f"attacks.u_lira: expected enough samples for each of {self.count} shadow models to forget some, got "
                "none for one of them; ask for fewer models, or forget more"
            )
        wanted = forgotten if self.subset is Subset.FORGET else self.half.learnt() & ~forgotten
        return self.half.part(wanted, context)

    def forgotten(self, context: BuildContext) -> Tensor:
        """Who of the pool is forgotten, bool [n]."""
        asked, members = self._asked(context)
        models = [replace(self.half, number=number).learnt() for number in range(self.count)]
        draws = torch.rand(self.count, len(asked), generator=stream(self.population.seed, "forgotten", "shadow"))
        turn = torch.where(torch.stack(models), draws, torch.inf).argsort(0).argsort(0)  # of each model, by sample
        return asked & (turn[self.half.number] < self._turns(asked, members))

    def _asked(self, context: BuildContext) -> tuple[Tensor, int]:
        """Whom the attack asks about, bool [n], and the size of D."""
        contents, drawn = load(self.population.dataset, context), self.population.draw()
        labels = self.population.labels(contents.train.labels)
        forgotten = self.forget.split(contents, context).forget
        theirs = (labels if drawn.test is None else contents.test.labels)[drawn.holdout]
        asked = torch.cat([torch.isin(drawn.member, forgotten), torch.isin(theirs, labels[forgotten])])
        return asked, len(drawn.member)

    def _turns(self, asked: Tensor, members: int) -> int:
        """How many models forget each sample."""
        most = self.count // 2
        if self.forget.forget is not None and self.forget.forget.whole_class:
            return most
        share = int(asked[:members].sum()) / members
        return min(most, max(FEWEST, round(most * share * len(asked) / int(asked.sum()))))


@dataclass(frozen=True)
class ShadowDataView:
    """A run's scenario as one of `count` shadow models goes through it."""

    scenario: DataView
    number: int
    count: int

    @property
    def half(self) -> ShadowTrainSet:
        """What it learns."""
        return ShadowTrainSet(self.scenario[Subset.TRAIN], self.scenario[Subset.HOLDOUT], self.number)

    def part(self, subset: Subset) -> ShadowForgetSet:
        """What it forgets of that, or retains."""
        return ShadowForgetSet(self.half, self.scenario[Subset.FORGET], self.count, subset)

    def __getitem__(self, subset: Subset) -> Sampled:
        if subset in {Subset.FORGET, Subset.RETAIN}:
            return self.part(subset)
        return self.half if subset is Subset.TRAIN else self.scenario[subset]
