"""Fill in and check what a checkpoint of ours has forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from unlearn.core.errors import Problem, UnlearnError
from unlearn.data.earlier import EarlierRequests
from unlearn.data.trained_on import CheckpointFile
from unlearn.pipeline.config import RunConfig
from unlearn.stages.lineage import Lineage, find_lineage
from unlearn.stages.own_models import find_source


def find_history(config: RunConfig) -> Lineage | None:
    """Find what a checkpoint of ours has forgotten; None without one, or if it cannot be read."""
    if not isinstance(config.checkpoint, CheckpointFile) or not config.checkpoint.file:
        return None
    try:
        source = find_source(config.checkpoint.file, config.checkpoint.entry, config.paths.store)
        return find_lineage(source.path, Path(config.paths.store))
    except UnlearnError:  # the check of the checkpoint reports it
        return None


def add_history(config: RunConfig, lineage: Lineage | None) -> RunConfig:
    """Fill in the earlier requests of a checkpoint of ours, and the records that it was trained on.

    Other checkpoints, and those whose records no store at hand has, are returned unchanged.
    """
    if lineage is None or lineage.split is None:
        return config
    split = str(lineage.split)
    forget = replace(config.forget, earlier=[*config.forget.earlier, split])
    checkpoint = config.checkpoint
    if checkpoint.trained_on is None:
        checkpoint = replace(checkpoint, trained_on=split)
    return replace(config, forget=forget, checkpoint=checkpoint)


def check_history(config: RunConfig, lineage: Lineage | None) -> Iterator[Problem]:
    """Find earlier requests of a checkpoint of ours that are unknown: their records would count as new to it."""
    if lineage is None or lineage.split is not None:
        return
    try:
        known = len(EarlierRequests.of(config.forget.earlier).records(config.dataset))
    except UnlearnError:  # another check reports it
        return
    if known < lineage.records:
        expected = (
            f"lists with the {lineage.records} records that the checkpoint has forgotten, since {config.paths.store} "
            f"lacks its model {lineage.key[:12]}"
        )
        yield Problem("forget.earlier", expected, f"{known} records")
