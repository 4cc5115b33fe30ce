"""Verify the numbers of an audit record: figures against its readings, readings against the store."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from unlearn.audit.record import Record
from unlearn.audit.store import AuditStore, Finding, State
from unlearn.core.artifact_store import Entry
from unlearn.core.errors import format_error
from unlearn.core.plugins import snake_case
from unlearn.inventory.catalogue import BEGINNING, Item

TOLERANCE = {"rel_tol": 1e-6, "abs_tol": 1e-9}  # of a repeated measurement: CPUs differ in the order of additions
MEASURED = ("value", "n", "standard_error", "interval", "reason")
NEEDS_PREDICTIONS = "their values do, but their intervals also need predictions"


@dataclass(frozen=True)
class NumberVerifier:
    """Compares the numbers of a record with each other and with a store."""

    record: Record
    store: AuditStore

    def verify(self) -> Iterator[Finding]:
        """Yield the findings about figures, about readings as stored, and about readings measured again."""
        yield from self._verify_figures()
        yield from self._verify_stored_readings()
        yield from self._verify_repeated_readings()

    def _verify_figures(self) -> Iterator[Finding]:
        """Compute means, gaps and noise floors again from the readings of the record."""
        try:
            computed = self._compute_figures()
        except (LookupError, ValueError, StopIteration) as error:
            reason = f"do not follow from the readings: some are missing or impossible ({format_error(error)})"
            yield Finding(State.DIFFERS, "figures", reason)
            return
        recorded, agreeing, unchecked = self.record["figures"], 0, Counter[str]()
        for name in dict.fromkeys((*recorded, *computed)):
            if name not in computed:
                yield Finding(State.DIFFERS, f"figures.{name}", "does not follow from any reading")
            elif name not in recorded:
                yield Finding(State.DIFFERS, f"figures.{name}", "is missing, although the readings are there")
            elif fields := _differing_fields(recorded[name], computed[name]):
                reason = _describe_difference(recorded[name], computed[name], fields, "from the readings")
                yield Finding(State.DIFFERS, f"figures.{name}", reason)
            elif recorded[name] == computed[name]:
                agreeing += 1
            else:
                unchecked[NEEDS_PREDICTIONS] += 1
        yield from _summarise("figures", agreeing, "follow from the readings", unchecked)

    def _compute_figures(self) -> dict[str, dict[str, Any]]:
        from unlearn.audit.build import figure
        from unlearn.report.attacks import find_invalid_attacks
        from unlearn.report.figures import compute_figures

        strategy = snake_case(self.record["strategy"]["class"])
        invalid = find_invalid_attacks(strategy, self.record["config"]["attacks"])
        figures = compute_figures(_evaluation_table(self.record["readings"]), strategy, invalid)
        return {name: figure(figures, name) for name in figures.metrics}

    @cached_property
    def _readings_by_key(self) -> dict[str, list[dict[str, Any]]]:
        """The readings by the key of their measurement's artifact."""
        by_key = defaultdict(list)
        for reading in self.record["readings"]:
            by_key[reading["key"]].append(reading)
        return dict(by_key)

    def _verify_stored_readings(self) -> Iterator[Finding]:
        """Compare the readings with the measurements in the store."""
        agreeing, unchecked = 0, Counter[str]()
        for key, readings in self._readings_by_key.items():
            item = self.store.find(key)
            if item is None:
                unchecked[self._absence] += len(readings)
                continue
            for reading in readings:
                difference = self._compare_with_store(item, reading)
                agreeing += not difference
                if difference:
                    yield Finding(State.DIFFERS, _reading_name(reading), difference)
        yield from _summarise("readings", agreeing, "are the store's measurements of these models", unchecked)

    @property
    def _absence(self) -> str:
        return self.store.error or f"not in {self.store.root}"

    def _compare_with_store(self, item: Item, reading: dict[str, Any]) -> str:
        """Describe how a reading differs from the stored measurement; empty if it does not."""
        if item.kind != "evaluate":
            return f"{item.key[:BEGINNING]} is a {item.kind}, not a measurement"
        if problems := self.store.find_problems(item):
            return problems[0]
        model = item.spec["model"]["stage"]
        if model not in self._model_keys(reading):
            return f"measured on {model[:BEGINNING]}, another model"
        stored = item.entry.json("measurements.json").get(reading["metric"])
        fields = [field for field in MEASURED if stored is not None and stored[field] != reading[field]]
        return _describe_difference(reading, stored, fields, "in the store") if fields or stored is None else ""

    def _model_keys(self, reading: dict[str, Any]) -> list[str]:
        """The keys of the models that a reading may be of; with a blend, the role `unlearned` is the blended model."""
        models = dict(self.record["models"])
        if "blended" in models:
            models.pop("unlearned", None)
        role_and_seed = (reading["role"], reading["seed"])
        return [model["key"] for model in models.values() if (model["role"], model["seed"]) == role_and_seed]

    def _verify_repeated_readings(self) -> Iterator[Finding]:
        """Measure the readings again from the predictions in the store."""
        agreeing, unchecked = 0, Counter[str]()
        for key, readings in self._readings_by_key.items():
            measured = self._measure_again(key)
            if isinstance(measured, str):
                unchecked[measured] += len(readings)
                continue
            for reading in readings:
                again = measured.get(reading["metric"])
                fields = [name for name in MEASURED if again is not None and not _is_close(reading[name], again[name])]
                if fields or again is None:
                    difference = _describe_difference(reading, again, fields, "measured again")
                    yield Finding(State.DIFFERS, _reading_name(reading), difference)
                else:
                    agreeing += 1
        yield from _summarise("readings", agreeing, "follow again from the stored predictions", unchecked)

    def _measure_again(self, key: str) -> dict[str, dict[str, Any]] | str:
        """Return the measurements by name, or the reason why they cannot be repeated."""
        from unlearn.audit.remeasure import NotRepeatableError, remeasure

        item = self.store.find(key)
        if item is None:
            return self._absence
        if item.kind != "evaluate" or self.store.find_problems(item):
            return "the artifact of the measurement is damaged"
        try:
            measurements = remeasure(item.spec, self._open_artifact)
        except NotRepeatableError as error:
            return str(error)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            return f"the artifact of the measurement is not understood ({format_error(error)})"
        return {name: asdict(measurement) for name, measurement in measurements.items()}

    def _open_artifact(self, key: str) -> Entry:
        from unlearn.audit.remeasure import NotRepeatableError

        item = self.store.find(key)
        if item is None:
            raise NotRepeatableError("the store lacks their predictions")
        if self.store.find_problems(item):
            raise NotRepeatableError("their predictions are damaged")
        return item.entry


def _summarise(field: str, agreeing: int, claim: str, unchecked: Counter[str]) -> Iterator[Finding]:
    if agreeing:
        yield Finding(State.AGREES, field, f"{agreeing} {claim}")
    for reason, count in unchecked.items():
        yield Finding(State.UNCHECKED, field, f"cannot check whether {count} {claim}: {reason}")


def _evaluation_table(readings: list[dict[str, Any]]) -> Any:
    """Convert the readings of a record to the table that `compute_figures` takes."""
    from unlearn.core.types import Measurement, Role

    table: Any = defaultdict(dict)
    for reading in readings:
        measurement = Measurement(**{field: reading[field] for field in MEASURED})
        seeds = (reading["seed"], reading["reference_seed"])
        table[Role(reading["role"]), reading["metric"]][seeds] = (measurement, reading["key"])
    return table


def _reading_name(reading: dict[str, Any]) -> str:
    reference = "" if reading["reference_seed"] is None else f" against retrained {reading['reference_seed']}"
    return f"readings.{reading['role']}/{reading['metric']} (seed {reading['seed']}{reference})"


def _differing_fields(recorded: dict[str, Any], computed: dict[str, Any]) -> list[str]:
    """The fields of a figure that contradict the readings; where these give no interval, the record may have one."""
    fields = ["value"] if computed["interval"] is None else ["value", "interval"]
    return [field for field in fields if recorded[field] != computed[field]]


def _describe_difference(recorded: dict[str, Any], other: dict[str, Any] | None, fields: list[str], where: str) -> str:
    if other is None:
        return f"no such measurement {where}"
    return "; ".join(f"{field} {recorded[field]} in the record, {other[field]} {where}" for field in fields)


def _is_close(a: Any, b: Any) -> bool:
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_is_close, a, b))
    if isinstance(a, float | int) and isinstance(b, float | int):
        return math.isclose(a, b, **TOLERANCE)
    return bool(a == b)
