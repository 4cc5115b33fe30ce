"""One object decides who is in which subset; strategy, retraining, SPD-GAN and metrics cannot disagree."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn.core.errors import DataError
from unlearn.data.population import Population
from unlearn.data.requests.base import Forget


@dataclass(frozen=True)
class ForgetSplit:
    """Index sets int64: disjoint within their part of the data set, none of them empty; forget and retain are D."""

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
        """Split a training part with labels `clean` and, where there are some, finer labels, int64 [n] each.

        `loss` float64 is a proxy's on D, in D's order, for a rule that ranks.

        Raises:
            DataError: the request is empty, foreign, or leaves nothing to retain.
        """
        member, validation, holdout, _ = population.draw()
        chosen = forget.choose(population.candidates(clean, subclass, loss), population.seed).sort().values
        retain = member[~torch.isin(member, chosen)]
        if len(chosen) == 0 or len(retain) == 0:
            raise DataError(f"forget: expected some but not all training images, got {len(chosen)} of {len(member)}")
        return cls(chosen, retain, validation, holdout)
