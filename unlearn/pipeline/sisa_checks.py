"""Checks of runs with `train=sisa` or `strategy=sisa`."""

from __future__ import annotations

from collections.abc import Iterator

from unlearn.core.errors import Problem
from unlearn.core.plugins import option_name
from unlearn.core.sisa_recipe import SisaRecipe
from unlearn.data.trained_on import CheckpointFile
from unlearn.pipeline.config import RunConfig
from unlearn.strategies.blend import Mix
from unlearn.strategies.identity import Identity
from unlearn.strategies.retain_set import Condensed
from unlearn.strategies.sisa import Sisa


def check_sisa(config: RunConfig) -> Iterator[Problem]:
    """Refuse what SISA cannot be combined with: its guarantee holds for ensembles that nothing else changes."""
    if isinstance(config.train, SisaRecipe):
        yield from _check_training(config, config.train)
        yield from _check_strategy(config)
    elif isinstance(config.strategy, Sisa):
        yield Problem("train", "sisa with strategy=sisa, which trains slices again", "a training without slices")


def _check_training(config: RunConfig, recipe: SisaRecipe) -> Iterator[Problem]:
    if isinstance(config.checkpoint, CheckpointFile):
        yield Problem("checkpoint", "none with train=sisa: the shards must have been trained here", "file")
        return  # the number of records is that of the checkpoint
    if recipe.patience is not None:
        expected = "null with train=sisa: slices are not validated, so that they do not depend on held-out records"
        yield Problem("train.patience", expected, recipe.patience)
    if config.spd_gan.marks:
        expected = "probe or off with train=sisa: a marked image would depend on the other images of the request"
        yield Problem("spd_gan", expected, option_name(type(config.spd_gan)))
    count, members = recipe.shards * recipe.slices, config.population.members
    if count > members:
        expected = f"at most one slice for each of the {members:,} records in shards * slices"
        yield Problem("train.shards", expected, f"{recipe.shards} * {recipe.slices} = {count:,}")


def _check_strategy(config: RunConfig) -> Iterator[Problem]:
    if not isinstance(config.strategy, Sisa | Identity):
        expected = "sisa, or identity as the control, with train=sisa: others change every shard, also those not hit"
        yield Problem("strategy", expected, option_name(type(config.strategy)))
    if isinstance(config.blend, Mix):
        yield Problem("blend", "none with train=sisa: the original remembers the forgotten records", "mix")
    if isinstance(config.retain, Condensed):
        yield Problem("retain", "full with train=sisa: slices are trained on the records themselves", "condensed")
