"""Which stages of a run are there, and what makes the others a miss."""

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
    """About one stage; if it is a miss, by what: `missing` are labels of inputs, `because` tells what is its own.

    Leaves differ from the `nearest` artefact of its kind: of the same role, strategy or metric if there is one.
    """

    stage: Stage
    there: bool
    missing: tuple[str, ...] = ()
    because: tuple[str, ...] = ()
    nearest: Item | None = None


def list_stages(runs: Iterable[RunConfig]) -> list[Stage]:
    """All stages that the runs would need, each once and after its inputs."""
    found: dict[str, Stage] = {}
    for config in runs:
        graph = make_plan(config)
        after = (
            () if config.until == BASELINE else (graph.final_model, *(reading.stage for reading in graph.evaluations))
        )
        for stage in (*graph.shared_stages, *after):
            _visit(stage, found)
    return list(found.values())


def _visit(stage: Stage, found: dict[str, Stage]) -> None:
    if stage.key not in found:
        for needed in inputs(stage):
            _visit(needed, found)
        found[stage.key] = stage


def explain_stages(catalogue: Catalogue, wanted: Iterable[Stage], gone: dict[str, str]) -> Iterator[Answer]:
    """One answer a stage, in the order given; `gone` says how keys were removed on purpose."""
    kinds: dict[str, list[_Known]] = {}
    for known in catalogue.items.values():
        kinds.setdefault(known.kind, []).append(_Known(known))
    for stage in wanted:
        item, missing = catalogue.items.get(stage.key), tuple(_missing(catalogue, stage))
        if item is not None:
            yield Answer(stage, bool(item.meta), because=() if item.meta else (item.label,))
        elif stage.key in gone:
            yield Answer(stage, False, missing, (f"removed by the {gone[stage.key]}",))
        elif stage.kind not in kinds:
            yield Answer(stage, False, missing, (f"the store has no {stage.kind}",))
        else:
            nearest = _nearest(stage, kinds[stage.kind])
            own = (*distinct(changes(nearest.spec, stage.spec)), *_other_inputs(catalogue, stage, nearest))
            yield Answer(stage, False, missing, tuple(map(str, own)), nearest)


def _missing(catalogue: Catalogue, stage: Stage) -> Iterator[str]:
    """Labels of inputs that miss; in place of a prediction, what that one misses."""
    for needed in inputs(stage):
        if needed.key not in catalogue.items:
            deeper = () if needed.is_announced else tuple(_missing(catalogue, needed))
            yield from deeper or (needed.label,)


def _nearest(stage: Stage, known: list[_Known]) -> Item:
    asked, words, used = _flat(stage.spec), _words(stage.label), dict(references(stage.spec))

    def distance(each: _Known) -> tuple[bool, int, int, float]:
        return each.words != words, len(each.flat ^ asked), len(each.used.items() ^ used.items()), -each.item.created

    return min(known, key=distance).item


def _other_inputs(catalogue: Catalogue, stage: Stage, nearest: Item) -> Iterator[Change]:
    """Inputs that the nearest has otherwise; those that miss are told of the stage itself."""
    before, now = dict(references(nearest.spec)), dict(references(stage.spec))
    for place in dict.fromkeys((*before, *now)):
        old, new = before.get(place), now.get(place)
        if old != new and (new is None or new in catalogue.items):
            yield Change(place, _label(catalogue, old), _label(catalogue, new))


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
        return _flat(self.item.spec)

    @cached_property
    def words(self) -> str:
        return _words(self.item.label)

    @cached_property
    def used(self) -> dict[str, str]:
        return dict(references(self.item.spec))


def _flat(spec: dict[str, Any]) -> frozenset[tuple[str, str]]:
    return frozenset((place, repr(value)) for place, value in leaves(spec))


def _words(label: str) -> str:
    """A label without its seed: `train original`."""
    return re.sub(r" \(.*\)", "", label)
