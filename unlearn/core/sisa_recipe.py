"""The recipe of SISA training: one net per shard of the data, each trained slice by slice."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from unlearn.core.recipe import Recipe
from unlearn.core.validation import at_least, one_of, runtime


@dataclass(frozen=True)
class SisaRecipe(Recipe):
    """SISA training: the records are divided into shards, and each shard trains a net of its own, slice by slice.

    Slice r of a shard starts from the weights after slice r - 1 and trains `epochs` epochs on the records of the slices
    1 to r, with a new optimizer and the whole schedule. Every slice is an artifact, so that `strategy=sisa` trains only
    those again that a request hits.

    Source: [P] Bourtoule et al. 2021, sections IV and V. [ours] the default numbers, and the new optimizer per slice.
    """

    is_variant: ClassVar[bool] = True  # `Recipe` stays an option

    epochs: int = at_least(0, 10)  # of each slice, over the records of its shard so far
    shards: int = at_least(1, 5)  # nets, each trained on its own records
    slices: int = at_least(1, 3)  # steps in which a net gets the records of its shard
    aggregation: str = one_of("mean", "vote")  # of the nets: mean probabilities, or votes (ties go to the higher mean)
    single_model: bool = runtime(True)  # with a baseline: also train one net on all records, to compare accuracy

    @property
    def of_slice(self) -> Recipe:
        """The recipe of each slice."""
        return Recipe(**self._shared)

    @property
    def of_single_model(self) -> Recipe:
        """The recipe of one model on all records that costs as much: epochs * (slices + 1) / 2, rounded [P]."""
        return Recipe(**self._shared | {"epochs": round(self.epochs * (self.slices + 1) / 2)})

    @property
    def _shared(self) -> dict[str, Any]:
        return {spec.name: getattr(self, spec.name) for spec in fields(Recipe)}
