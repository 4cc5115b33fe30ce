"""The split of a data set into forget, retain, validation and holdout, which all parts of a run share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn.core.errors import DataError
from unlearn.data.population import Population
from unlearn.data.requests.base import Forget


@dataclass(frozen=True)
class ForgetSplit:
    """Indices int64 of each subset; none is empty, those of one part of the data set are disjoint.

    Forget and retain together are D.
    """

    forget: Tensor
    retain: Tensor
    validation: Tensor
    holdout: Tensor

    @classmethod
    def draw(
        cls,
        population: Population,
        forget: Forget,
        clean: Tensor,
        subclass: Tensor | None = None,
        loss: Tensor | None = None,
    ) -> ForgetSplit:
        """Split the training part.

        Args:
            population: decides D, validation and holdout.
            forget: picks the forget set.
            clean: labels of the training part, int64 [n].
            subclass: finer labels, int64 [n], if there are any.
            loss: float64, of a proxy model on D in the order of D, for a rule that ranks.

        Raises:
            DataError: the request picks nothing, records outside the data set, or all of D.
        """
        member, validation, holdout, _ = population.draw()
        chosen = forget.choose(population.candidates(clean, subclass, loss), population.seed).sort().values
        retain = member[~torch.isin(member, chosen)]
        if len(chosen) == 0 or len(retain) == 0:
            raise DataError(f"forget: expected some but not all training images, got {len(chosen)} of {len(member)}")
        return cls(chosen, retain, validation, holdout)
