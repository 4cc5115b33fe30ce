"""One object decides who is in which subset; strategy, retraining, SPD-GAN and metrics cannot disagree."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn.data.datasets.base import Dataset
from unlearn.data.forget import Forget
from unlearn.errors import DataError
from unlearn.seeding import stream


@dataclass(frozen=True)
class Population:
    """What does not depend on who is forgotten: D, validation and holdout, as a rule and a seed.

    A request that names its records is `reserved`: people who ask to be deleted were trained on, so validation
    and holdout are drawn from the others (our choice).
    """

    dataset: Dataset
    seed: int
    reserved: Forget | None = None

    @classmethod
    def of(cls, dataset: Dataset, seed: int, forget: Forget) -> Population:
        """The population in which `forget` picks."""
        return cls(dataset, seed, forget if forget.explicit else None)

    def draw(self) -> tuple[Tensor, Tensor, Tensor]:
        """Indices int64 of D, validation and holdout, each sorted; together they are the training part."""
        n = self.dataset.size
        order = torch.randperm(n, generator=stream(self.seed, "split"))
        if self.reserved is not None:
            order = order[~torch.isin(order, self.reserved.requested())]
        validation, holdout = self.dataset.aside
        aside = order[: validation + holdout]
        member = torch.ones(n, dtype=torch.bool)
        member[aside] = False
        return member.nonzero()[:, 0], aside[:validation].sort().values, aside[validation:].sort().values


@dataclass(frozen=True)
class ForgetSplit:
    """Index sets int64 into the training part: disjoint, complete, none of them empty."""

    forget: Tensor
    retain: Tensor
    validation: Tensor
    holdout: Tensor

    @classmethod
    def draw(cls, population: Population, forget: Forget, labels: Tensor) -> ForgetSplit:
        """Split a training part with `labels` int64 [n].

        Raises:
            DataError: the request is empty, foreign, or leaves nothing to retain.
        """
        member, validation, holdout = population.draw()
        chosen = forget.choose(member, labels[member], population.seed).sort().values
        retain = member[~torch.isin(member, chosen)]
        if len(chosen) == 0 or len(retain) == 0:
            raise DataError(f"forget: expected some but not all training images, came {len(chosen)} of {len(member)}")
        return cls(chosen, retain, validation, holdout)
