"""Models that a run would have made from other seeds, for metrics that look at many models of a kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unlearn.stages.blend import FinalModel
from unlearn.stages.cost import Extra
from unlearn.stages.train import Train


@dataclass(frozen=True)
class SeedReplica:
    """An original of another seed of training, and what the unlearning under test makes of it by that same seed.

    Who is forgotten, and SPD-GAN's images of them, are the run's own: all models are asked about the same samples.
    """

    original: Train
    unlearned: FinalModel


def extra(siblings: Sequence[SeedReplica]) -> Extra:
    """What they cost."""
    return Extra("models of other seeds", [s.original for s in siblings], [s.unlearned for s in siblings])
