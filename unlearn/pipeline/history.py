"""Fill in and check what a checkpoint of ours has forgotten."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from unlearn.core.errors import Problem, UnlearnError
from unlearn.data.earlier import EarlierRequests
from unlearn.data.trained_on import CheckpointFile
from unlearn.pipeline.config import RunConfig
from unlearn.stages.lineage import Lineage, find_lineage
from unlearn.stages.own_models import find_source


def add_history(config: RunConfig) -> RunConfig:
    """Fill in the earlier requests of a checkpoint of ours, and the records that it was trained on.

    Other checkpoints, and those whose records no store at hand has, are returned unchanged.
    """
    lineage = _find_lineage(config)
    if lineage is None or lineage.split is None:
        return config
    split = str(lineage.split)
    forget = replace(config.forget, earlier=[*config.forget.earlier, split])
    return replace(config, forget=forget, checkpoint=_with_default(config.checkpoint, split))


def check_history(config: RunConfig) -> Problem | None:
    """Find earlier requests of a checkpoint of ours that are unknown: their records would count as new to it."""
    lineage = _find_lineage(config)
    if lineage is None:
        return None
    try:
        known = len(EarlierRequests.of(config.forget.earlier).records(config.dataset))
    except UnlearnError:  # another check reports it
        return None
    if known >= lineage.records:
        return None
    expected = (
        f"lists with the {lineage.records} records that the checkpoint has forgotten, since {config.paths.store} lacks "
        f"its model {lineage.key[:12]}"
    )
    return Problem("forget.earlier", expected, f"{known} records")


def _find_lineage(config: RunConfig) -> Lineage | None:
    if not isinstance(config.checkpoint, CheckpointFile) or not config.checkpoint.file:
        return None
    try:
        source = find_source(config.checkpoint.file, config.checkpoint.entry, config.paths.store)
        return find_lineage(source.path, Path(config.paths.store))
    except UnlearnError:  # the check of the checkpoint reports it
        return None


def _with_default(checkpoint: CheckpointFile, split: str) -> CheckpointFile:
    """Set the records that the checkpoint was trained on, unless they are given."""
    return checkpoint if checkpoint.trained_on is not None else replace(checkpoint, trained_on=split)
