"""The numbers of an audit record: whether they follow from its evaluations, and these from what the store holds."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from unlearn.audit.record import Record
from unlearn.audit.store import Finding, Shelf, State
from unlearn.core.artifact_store import Entry
from unlearn.core.errors import format_error
from unlearn.core.plugins import snake_case
from unlearn.inventory.catalogue import BEGINNING, Item

NEAR = {"rel_tol": 1e-6, "abs_tol": 1e-9}  # of what is measured again: other processors add in another order
MEASURED = ("value", "n", "standard_error", "interval", "reason")


@dataclass(frozen=True)
class Numbers:
    """A record's numbers, and the store to hold them against."""

    record: Record
    shelf: Shelf

    def findings(self) -> Iterator[Finding]:
        """Of figures, then of evaluations as they were stored, then of evaluations that are made again."""
        yield from self._figures()
        yield from self._stored()
        yield from self._repeated()

    def _figures(self) -> Iterator[Finding]:
        """Means, gaps, noise floors: made again from the record's evaluations."""
        from unlearn.audit.build import figure
        from unlearn.report.attacks import descended
        from unlearn.report.figures import figures_of

        try:
            strategy = snake_case(self.record["strategy"]["class"])
            unfit = descended(strategy, self.record["config"]["attacks"])
            figures = figures_of(_table(self.record["readings"]), strategy, unfit)
        except (LookupError, ValueError, StopIteration) as error:
            why = f"cannot follow from these evaluations, some are missing or impossible ({format_error(error)})"
            yield Finding(State.DIFFERS, "figures", why)
            return
        told, again = self.record["figures"], {name: figure(figures, name) for name in figures.metrics}
        agreeing, unchecked = 0, Counter[str]()
        for name in dict.fromkeys((*told, *again)):
            if name not in again or name not in told:
                why = (
                    "follows from none of the evaluations"
                    if name in told
                    else "missing, though the evaluations have it"
                )
                yield Finding(State.DIFFERS, f"figures.{name}", why)
            elif differing := _differing(told[name], again[name]):
                yield Finding(
                    State.DIFFERS, f"figures.{name}", _two(told[name], again[name], differing, "by evaluations")
                )
            elif told[name] == again[name]:
                agreeing += 1
            else:
                unchecked["their values do, but their intervals take predictions"] += 1
        yield from _counted("figures", agreeing, "follow from the evaluations", unchecked)

    @cached_property
    def _by_key(self) -> dict[str, list[dict[str, Any]]]:
        """Readings by the artefact they are of."""
        found = defaultdict(list)
        for reading in self.record["readings"]:
            found[reading["key"]].append(reading)
        return dict(found)

    def _stored(self) -> Iterator[Finding]:
        """Readings, held against the measurements in the store."""
        agreeing, unchecked = 0, Counter[str]()
        for key, evaluations in self._by_key.items():
            item = self.shelf.find(key)
            if item is None:
                unchecked[self.shelf.why or f"not in {self.shelf.root}"] += len(evaluations)
                continue
            for reading in evaluations:
                why = self._other(item, reading)
                agreeing += not why
                yield from (Finding(State.DIFFERS, _place(reading), why),) if why else ()
        yield from _counted("readings", agreeing, "are the store's measurements of these models", unchecked)

    def _other(self, item: Item, reading: dict[str, Any]) -> str:
        """In what a reading is not the stored measurement; empty where it is."""
        if item.kind != "evaluate":
            return f"{item.key[:BEGINNING]} is a {item.kind}, not a measurement"
        if wrong := self.shelf.wrong(item):
            return wrong[0]
        model = item.spec["model"]["stage"]
        if model not in self._models_of(reading):
            return f"measured on {model[:BEGINNING]}, another model"
        found = item.entry.json("measurements.json").get(reading["metric"])
        differing = [part for part in MEASURED if found is not None and found[part] != reading[part]]
        return _two(reading, found, differing, "in the store") if differing or found is None else ""

    def _models_of(self, reading: dict[str, Any]) -> list[str]:
        """Keys of the models that a reading may be of: where there is a blend, `unlearned` means it."""
        models = dict(self.record["models"])
        if "blended" in models:
            models.pop("unlearned", None)
        who = (reading["role"], reading["seed"])
        return [told["key"] for told in models.values() if (told["role"], told["seed"]) == who]

    def _repeated(self) -> Iterator[Finding]:
        """Readings, measured again from the predictions in the store."""
        agreeing, unchecked = 0, Counter[str]()
        for key, evaluations in self._by_key.items():
            again = self._again(key)
            if isinstance(again, str):
                unchecked[again] += len(evaluations)
                continue
            for reading in evaluations:
                found = again.get(reading["metric"])
                differing = [part for part in MEASURED if found is not None and not _near(reading[part], found[part])]
                if differing or found is None:
                    yield Finding(State.DIFFERS, _place(reading), _two(reading, found, differing, "measured again"))
                else:
                    agreeing += 1
        yield from _counted("readings", agreeing, "come out again from the stored predictions", unchecked)

    def _again(self, key: str) -> dict[str, dict[str, Any]] | str:
        """Measurements by name, or why there are none."""
        from unlearn.audit.remeasure import NotRepeatableError, remeasure

        item = self.shelf.find(key)
        if item is None:
            return self.shelf.why or f"not in {self.shelf.root}"
        if item.kind != "evaluate" or self.shelf.wrong(item):
            return "what was measured is not known"
        try:
            found = remeasure(item.spec, self._entry)
        except NotRepeatableError as error:
            return str(error)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            return f"not understood ({format_error(error)})"
        return {name: asdict(value) for name, value in found.items()}

    def _entry(self, key: str) -> Entry:
        from unlearn.audit.remeasure import NotRepeatableError

        item = self.shelf.find(key)
        if item is None:
            raise NotRepeatableError("what they were measured on is not in the store")
        if self.shelf.wrong(item):
            raise NotRepeatableError("what they were measured on is damaged")
        return item.entry


def _counted(what: str, agreeing: int, good: str, unchecked: Counter[str]) -> Iterator[Finding]:
    if agreeing:
        yield Finding(State.AGREES, what, f"{agreeing} {good}")
    for why, count in unchecked.items():
        yield Finding(State.UNCHECKED, what, f"{count} cannot be seen to be so ({good}): {why}")


def _table(evaluations: list[dict[str, Any]]) -> Any:
    """As `figures_of` takes it."""
    from unlearn.core.types import Measurement, Role

    table: Any = defaultdict(dict)
    for reading in evaluations:
        found = Measurement(**{part: reading[part] for part in MEASURED})
        where = (reading["seed"], reading["reference_seed"])
        table[Role(reading["role"]), reading["metric"]][where] = (found, reading["key"])
    return table


def _place(reading: dict[str, Any]) -> str:
    against = "" if reading["reference_seed"] is None else f" against retrained {reading['reference_seed']}"
    return f"evaluations.{reading['role']}/{reading['metric']} (seed {reading['seed']}{against})"


def _differing(told: dict[str, Any], again: dict[str, Any]) -> list[str]:
    """The parts of a figure that do not follow from the evaluations; an interval that takes more than these may."""
    parts = ["value"] if again["interval"] is None else ["value", "interval"]
    return [part for part in parts if told[part] != again[part]]


def _two(told: dict[str, Any], found: dict[str, Any] | None, differing: list[str], where: str) -> str:
    if found is None:
        return f"no such measurement {where}"
    return "; ".join(f"{part} {told[part]} in the record, {found[part]} {where}" for part in differing)


def _near(a: Any, b: Any) -> bool:
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_near, a, b))
    if isinstance(a, float | int) and isinstance(b, float | int):
        return math.isclose(a, b, **NEAR)
    return bool(a == b)
