"""Explains which stages of a run are in a store, and why the others are not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from unlearn.inventory.catalogue import BEGINNING, Catalogue, Item
from unlearn.inventory.specs import Change, changes, distinct, leaves, references
from unlearn.pipeline.config import BASELINE, RunConfig
from unlearn.pipeline.plan import make_plan
from unlearn.stages.base import Stage, inputs


@dataclass(frozen=True)
class Answer:
    """Whether a stage is in the store and, if not, why.

    Attributes:
        stage: the stage.
        there: whether the store has it.
        missing: labels of its inputs that the store lacks.
        because: its differences from the nearest artifact, or another reason.
        nearest: the nearest artifact of its kind: of the same role, strategy or metric if there is one.
    """

    stage: Stage
    there: bool
    missing: tuple[str, ...] = ()
    because: tuple[str, ...] = ()
    nearest: Item | None = None


def list_stages(runs: Iterable[RunConfig]) -> list[Stage]:
    """List all stages that runs need, each once and after its inputs."""
    stages: dict[str, Stage] = {}
    for config in runs:
        plan = make_plan(config)
        stages_of_strategy: tuple[Stage, ...] = ()
        if config.until != BASELINE:
            stages_of_strategy = (plan.final_model, *(evaluation.stage for evaluation in plan.evaluations))
        for stage in (*plan.shared_stages, *stages_of_strategy):
            _visit(stage, stages)
    return list(stages.values())


def _visit(stage: Stage, stages: dict[str, Stage]) -> None:
    if stage.key not in stages:
        for input_stage in inputs(stage):
            _visit(input_stage, stages)
        stages[stage.key] = stage


def explain_stages(catalogue: Catalogue, stages: Iterable[Stage], removed: dict[str, str]) -> Iterator[Answer]:
    """Explain each stage, in the given order.

    Args:
        catalogue: the store.
        stages: the stages.
        removed: artifacts that were removed on purpose, from `read_removals`.
    """
    kinds: dict[str, list[_Known]] = {}
    for item in catalogue.items.values():
        kinds.setdefault(item.kind, []).append(_Known(item))
    for stage in stages:
        stored, missing = catalogue.items.get(stage.key), tuple(_missing(catalogue, stage))
        if stored is not None:
            yield Answer(stage, bool(stored.meta), because=() if stored.meta else (stored.label,))
        elif stage.key in removed:
            yield Answer(stage, False, missing, (f"removed by the {removed[stage.key]}",))
        elif stage.kind not in kinds:
            yield Answer(stage, False, missing, (f"the store has no {stage.kind}",))
        else:
            nearest = _nearest(stage, kinds[stage.kind])
            differences = (*distinct(changes(nearest.spec, stage.spec)), *_other_inputs(catalogue, stage, nearest))
            yield Answer(stage, False, missing, tuple(map(str, differences)), nearest)


def _missing(catalogue: Catalogue, stage: Stage) -> Iterator[str]:
    """Yield the labels of missing inputs; for a prediction, the labels of its own missing inputs."""
    for input_stage in inputs(stage):
        if input_stage.key not in catalogue.items:
            deeper = () if input_stage.is_announced else tuple(_missing(catalogue, input_stage))
            yield from deeper or (input_stage.label,)


def _nearest(stage: Stage, known: list[_Known]) -> Item:
    flat, role, used = _flatten(stage.spec), _role(stage.label), dict(references(stage.spec))

    def distance(one: _Known) -> tuple[bool, int, int, float]:
        return one.role != role, len(one.flat ^ flat), len(one.used.items() ^ used.items()), -one.item.created

    return min(known, key=distance).item


def _other_inputs(catalogue: Catalogue, stage: Stage, nearest: Item) -> Iterator[Change]:
    """Yield the inputs in which the nearest artifact differs, without missing ones, which `missing` lists."""
    before, now = dict(references(nearest.spec)), dict(references(stage.spec))
    for path in dict.fromkeys((*before, *now)):
        old, new = before.get(path), now.get(path)
        if old != new and (new is None or new in catalogue.items):
            yield Change(path, _label(catalogue, old), _label(catalogue, new))


def _label(catalogue: Catalogue, key: str | None) -> str | None:
    if key is None:
        return None
    item = catalogue.items.get(key)
    return f"{item.label} {key[:BEGINNING]}" if item else key[:BEGINNING]


@dataclass(frozen=True)
class _Known:
    item: Item

    @cached_property
    def flat(self) -> frozenset[tuple[str, str]]:
        return _flatten(self.item.spec)

    @cached_property
    def role(self) -> str:
        return _role(self.item.label)

    @cached_property
    def used(self) -> dict[str, str]:
        return dict(references(self.item.spec))


def _flatten(spec: dict[str, Any]) -> frozenset[tuple[str, str]]:
    return frozenset((path, repr(value)) for path, value in leaves(spec))


def _role(label: str) -> str:
    """The label without its seed: `train original`."""
    return re.sub(r" \(.*\)", "", label)
