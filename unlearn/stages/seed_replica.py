"""Models from other seeds, for metrics that compare groups of models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unlearn.stages.blend import FinalModel
from unlearn.stages.cost import ExtraModels
from unlearn.stages.shards import Trained


@dataclass(frozen=True)
class SeedReplica:
    """An original trained from another seed, and the model that the strategy makes of it from the same seed.

    The forget set and SPD-GAN's images are the run's own, so that metrics compare all models on the same samples.
    """

    original: Trained
    unlearned: FinalModel


def extra_models(replicas: Sequence[SeedReplica]) -> ExtraModels:
    """List the models of the replicas, for the cost estimate."""
    originals, unlearned = [r.original for r in replicas], [r.unlearned for r in replicas]
    return ExtraModels("models of other seeds", originals, unlearned)
