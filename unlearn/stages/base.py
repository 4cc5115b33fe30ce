"""A stage: a frozen dataclass whose fields are all that determines its result."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from unlearn.core.artifact_store import ArtifactStore, Entry
from unlearn.core.memory import release
from unlearn.core.progress import Console, Tick
from unlearn.core.types import Curve
from unlearn.stages.explain import explained
from unlearn.stages.keys import canonical_fields
from unlearn.stages.machine import machine, versions
from unlearn.stages.resident import ResidentModels
from unlearn.training.trainer import TrainerSettings


@dataclass(frozen=True)
class Stage(ABC):
    """One step of a run. Stages among its fields, at any depth, are its inputs; the key is a hash over all fields.

    `version` is raised when the meaning of a stage's result changes.
    """

    version: ClassVar[int] = 1
    announced: ClassVar[bool] = True  # gets a line of its own on the console

    @property
    def kind(self) -> str:
        """The folder of the store it lives in."""
        return type(self).__name__.lower()

    @property
    def label(self) -> str:
        """What progress and the report call it."""
        return self.kind

    @property
    def devices(self) -> int:
        """How many it is built on."""
        return 1

    @property
    def memory_remedy(self) -> str:
        """What makes it need less memory, as an instruction."""
        return "use a device with more free memory, a smaller model, or trainer=cpu"

    @cached_property
    def spec(self) -> dict[str, Any]:
        """Everything that determines the result, as plain JSON."""
        return {"kind": self.kind, "version": self.version} | canonical_fields(self)

    @cached_property
    def key(self) -> str:
        """SHA-256 of the spec, in hexadecimal."""
        return hashlib.sha256(json.dumps(self.spec, sort_keys=True).encode()).hexdigest()

    def prepare(self, context: BuildContext) -> None:
        """Imports and reading of data, which `seconds` must not depend on."""

    @abstractmethod
    def build(self, folder: Path, context: BuildContext, tick: Tick) -> None:
        """Write the artefact's files into `folder`; `context.get` gives the inputs, `tick` tells progress."""

    def curve(self, context: BuildContext) -> Curve:
        """What its training went through; empty for a stage that trains nothing."""
        entry = context.peek(self)
        return entry.json("curve.json") if entry and "curve.json" in entry.meta["files"] else []


def inputs(value: Any) -> Iterator[Stage]:
    """The stages directly under a stage, in the order of its fields."""
    if is_dataclass(value) and not isinstance(value, type):
        for spec in fields(value):
            item = getattr(value, spec.name)
            yield from (item,) if isinstance(item, Stage) else inputs(item)
    elif isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, tuple):
        for item in value:
            yield from (item,) if isinstance(item, Stage) else inputs(item)


@dataclass
class BuildContext:
    """Where stages are built: the store, the machine, what the user sees, and all that was needed so far."""

    store: ArtifactStore
    hardware: TrainerSettings
    console: Console
    entries: dict[str, Entry] = field(default_factory=dict)  # by key
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)  # by key: what a stage adds to its `meta.json`
    models: ResidentModels = field(default_factory=ResidentModels)

    def get(self, stage: Stage) -> Entry:
        """The stage's artefact, from the store or built now; inputs are built first, so that `seconds` are its own."""
        if stage.key in self.entries:
            return self.entries[stage.key]
        entry = self.store.lookup(stage.kind, stage.key) or self._build(stage)
        if stage.announced:
            self.console.done(stage.label, entry.reused, entry.seconds)
        self.entries[stage.key] = entry
        return entry

    def peek(self, stage: Stage) -> Entry | None:
        """The stage's artefact if it is there; nothing is built."""
        return self.entries.get(stage.key) or self.store.lookup(stage.kind, stage.key)

    def _build(self, stage: Stage) -> Entry:
        for needed in inputs(stage):
            self.get(needed)
        stage.prepare(self)
        with self.console.working(stage.label if stage.announced else None) as tick:
            return self.store.get(
                stage.kind,
                stage.key,
                lambda folder: self._make(stage, folder, tick),
                lambda: self.describe(stage),
                lambda: self.tell(stage, "waiting for another process that builds it"),
            )

    def _make(self, stage: Stage, folder: Path, tick: Tick) -> None:
        with explained(stage.label, stage.memory_remedy, self.hardware.device):
            stage.build(folder, self, tick)
        if stage.announced:
            release()  # what it leaves behind must not take the next one's memory

    def tell(self, stage: Stage, text: str) -> None:
        """A line about a stage that is being built."""
        self.console.say(f"  {stage.label:<28} {text}")

    def describe(self, stage: Stage) -> dict[str, Any]:
        """What its `meta.json` says besides what the store knows."""
        hardware = machine(replace(self.hardware, devices=stage.devices))
        told = {"label": stage.label, "spec": stage.spec, "versions": versions(), "hardware": hardware}
        return told | self.notes.get(stage.key, {})
