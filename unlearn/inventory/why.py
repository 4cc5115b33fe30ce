"""Which stages of a run are there, and what makes the others a miss."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from unlearn.inventory.catalogue import BEGINNING, Catalogue, Item
from unlearn.inventory.specs import Change, changes, distinct, leaves, references
from unlearn.pipeline import Plan
from unlearn.stages.base import Stage, inputs


@dataclass(frozen=True)
class Answer:
    """About one stage. A miss has the inputs that miss, the nearest artefact of its kind, and what differs from it."""

    stage: Stage
    there: bool
    missing: tuple[str, ...] = ()  # labels
    nearest: Item | None = None
    differs: tuple[Change, ...] = ()


def stages(plans: Iterable[Plan]) -> list[Stage]:
    """All stages, each once and after its inputs."""
    found: dict[str, Stage] = {}
    for plan in plans:
        made = (plan.split, plan.original, plan.fresh, *plan.retrained, plan.spd_gan, plan.unlearned)
        for stage in (*made, *(reading.stage for reading in plan.readings)):
            if stage is not None:
                _visit(stage, found)
    return list(found.values())


def _visit(stage: Stage, found: dict[str, Stage]) -> None:
    if stage.key not in found:
        for needed in inputs(stage):
            _visit(needed, found)
        found[stage.key] = stage


def why(catalogue: Catalogue, wanted: Iterable[Stage]) -> Iterator[Answer]:
    """One answer a stage, in the order given."""
    kinds: dict[str, list[_Known]] = {}
    for item in catalogue.items.values():
        kinds.setdefault(item.kind, []).append(_Known(item))
    for stage in wanted:
        there = stage.key in catalogue.items
        yield Answer(stage, True) if there else _miss(catalogue, stage, kinds.get(stage.kind, []))


def _miss(catalogue: Catalogue, stage: Stage, known: list[_Known]) -> Answer:
    missing = tuple(dict.fromkeys(each.label for each in inputs(stage) if each.key not in catalogue.items))
    if not known:
        return Answer(stage, False, missing)
    asked, words, used = _flat(stage.spec), _words(stage.label), dict(references(stage.spec))
    nearest = min(known, key=lambda k: (k.words != words, len(k.flat ^ asked), k.elsewhere(used), -k.item.created)).item
    differs = [*distinct(changes(nearest.spec, stage.spec)), *_other_inputs(catalogue, stage, nearest)]
    return Answer(stage, False, missing, nearest, tuple(differs))


def _other_inputs(catalogue: Catalogue, stage: Stage, nearest: Item) -> Iterator[Change]:
    """Inputs that are there, where the nearest was made from others."""
    labels = {each.key: each.label for each in inputs(stage) if each.key in catalogue.items}
    before = dict(references(nearest.spec))
    for place, key in references(stage.spec):
        old = before.get(place)
        if key in labels and old != key:
            known = catalogue.items.get(old or "")
            yield Change(place, f"{known.label if known else ''} {(old or 'none')[:BEGINNING]}".strip(), labels[key])


@dataclass(frozen=True)
class _Known:
    item: Item

    @cached_property
    def flat(self) -> frozenset[tuple[str, str]]:
        return _flat(self.item.spec)

    @cached_property
    def words(self) -> str:
        return _words(self.item.label)

    def elsewhere(self, used: dict[str, str]) -> int:
        """How many inputs are others."""
        return len(dict(references(self.item.spec)).items() ^ used.items())


def _flat(spec: dict[str, Any]) -> frozenset[tuple[str, str]]:
    return frozenset((place, repr(value)) for place, value in leaves(spec))


def _words(label: str) -> str:
    """A label without its seed: `train original`."""
    return re.sub(r" \(.*\)", "", label)
