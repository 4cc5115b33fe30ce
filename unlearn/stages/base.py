"""The stage, one cached step of a run, and the context that builds it."""

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
from unlearn.core.memory import release_cuda_memory
from unlearn.core.progress import Console, DetailedTick
from unlearn.core.types import Curve
from unlearn.stages.explain import explain_torch_errors
from unlearn.stages.keys import canonicalize_fields
from unlearn.stages.machine import describe_machine, installed_versions
from unlearn.stages.resident import ResidentModels
from unlearn.training.trainer import TrainerSettings


@dataclass(frozen=True)
class Stage(ABC):
    """One step of a run, whose result is an artifact in the store.

    The fields hold everything that determines the result: the key is a hash over all of them. Stages among the fields,
    at any depth, are the inputs.
    """

    version: ClassVar[int] = 1  # raise it when the meaning of the result changes
    is_announced: ClassVar[bool] = True  # whether the console prints a line for it

    @property
    def kind(self) -> str:
        """Name of its folder in the store."""
        return type(self).__name__.lower()

    @property
    def label(self) -> str:
        """Name in progress lines and in the report."""
        return self.kind

    @property
    def devices(self) -> int:
        """Number of devices that it is built on."""
        return 1

    @property
    def memory_remedy(self) -> str:
        """Instruction for the user when memory runs out."""
        return "use a device with more free memory, a smaller model, or trainer=cpu"

    @cached_property
    def spec(self) -> dict[str, Any]:
        """Everything that determines the result, as plain JSON."""
        return {"kind": self.kind, "version": self.version} | canonicalize_fields(self)

    @cached_property
    def key(self) -> str:
        """SHA-256 of the spec, in hexadecimal."""
        return hashlib.sha256(json.dumps(self.spec, sort_keys=True).encode()).hexdigest()

    def prepare(self, context: BuildContext) -> None:
        """Import modules, read data, and build inputs that depend on data, so that `seconds` does not include it."""

    @abstractmethod
    def build(self, folder: Path, context: BuildContext, tick: DetailedTick) -> None:
        """Build the artifact.

        Args:
            folder: where to write its files.
            context: `context.get` returns the inputs.
            tick: reports progress, as `tick(done, total)` or with details.
        """

    def curve(self, context: BuildContext) -> Curve:
        """Return its training curve; empty for a stage that trains nothing."""
        entry = context.peek(self)
        return entry.json("curve.json") if entry and "curve.json" in entry.meta["files"] else []


def inputs(value: Any) -> Iterator[Stage]:
    """Yield the direct inputs of a stage, in the order of its fields."""
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
    """Builds stages: holds the store, the hardware, the console, and every artifact used so far."""

    store: ArtifactStore
    hardware: TrainerSettings
    console: Console
    entries: dict[str, Entry] = field(default_factory=dict)  # by key
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)  # by key: what the stage adds to its `meta.json`
    models: ResidentModels = field(default_factory=ResidentModels)

    def get(self, stage: Stage) -> Entry:
        """Return the stage's artifact, from the store or built now.

        The inputs are built first, so that `seconds` counts only the stage itself.

        Raises:
            UnlearnError: the stage or one of its inputs cannot be built.
        """
        if stage.key in self.entries:
            return self.entries[stage.key]
        entry = self.store.lookup(stage.kind, stage.key) or self._build(stage)
        if stage.is_announced:
            self.console.done(stage.label, entry.reused, entry.seconds, stage.key)
        self.entries[stage.key] = entry
        return entry

    def peek(self, stage: Stage) -> Entry | None:
        """Return the stage's artifact if the store has it, without building anything."""
        return self.entries.get(stage.key) or self.store.lookup(stage.kind, stage.key)

    def _build(self, stage: Stage) -> Entry:
        for source in inputs(stage):
            self.get(source)
        stage.prepare(self)
        with self.console.working(stage.label if stage.is_announced else None, stage.key) as tick:
            return self.store.get(
                stage.kind,
                stage.key,
                lambda folder: self._build_files(stage, folder, tick),
                lambda: self.describe(stage),
                lambda: self.log(stage, "waiting for another process that builds it"),
            )

    def _build_files(self, stage: Stage, folder: Path, tick: DetailedTick) -> None:
        with explain_torch_errors(stage.label, stage.memory_remedy, self.hardware.device):
            stage.build(folder, self, tick)
        if stage.is_announced:
            release_cuda_memory()  # so that the next stage has all the memory

    def log(self, stage: Stage, text: str) -> None:
        """Print a line about a stage that is being built."""
        self.console.say(f"  {stage.label:<28} {text}")

    def describe(self, stage: Stage) -> dict[str, Any]:
        """Return what `meta.json` records about a stage besides what the store adds."""
        hardware = describe_machine(replace(self.hardware, devices=stage.devices))
        description = {"label": stage.label, "spec": stage.spec, "versions": installed_versions(), "hardware": hardware}
        return description | self.notes.get(stage.key, {})
