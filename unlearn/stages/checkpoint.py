"""The stage that reads an original from a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unlearn.core.progress import Tick
from unlearn.core.validation import ADDED, runtime
from unlearn.models.checkpoints.content import file_sha256
from unlearn.models.checkpoints.weights import read_weights
from unlearn.stages.base import BuildContext
from unlearn.stages.files import write_json, write_tensors
from unlearn.stages.lineage import ORIGIN, find_lineage, incoming_names, stored_entry
from unlearn.stages.model import ModelStage


@dataclass(frozen=True, kw_only=True)
class Checkpoint(ModelStage):
    """An original that was trained elsewhere: a checkpoint's weights behind the data set's normalisation.

    Files: `model.safetensors`; `notes.json` with notes for the report on how the file was read; and `origin.json` with
    the names and dtypes of the tensors in the file, and what the model has forgotten if it is ours.
    """

    file: str = runtime("")
    entry: str | None = runtime(None)  # which of its state dicts; None: the one that fits
    threads: int = field(default=1, metadata=ADDED)  # CPU threads that predict and score with the model
    device: str = field(default="cpu", metadata=ADDED)  # it puts the device into the keys of all results of the model

    @property
    def label(self) -> str:
        return f"checkpoint {Path(self.file).name}"

    def identity(self) -> dict[str, Any]:
        """Return the content hash, and the shapes and normalisation it is read with; seeds and data do not matter."""
        dataset = self.samples.population.dataset
        read_as = (dataset.shape, dataset.classes, *dataset.normalisation)
        entry = {} if self.entry is None else {"entry": self.entry}
        return {"sha256": file_sha256(Path(self.file)), "samples": read_as, "seed": None} | entry

    def build(self, folder: Path, context: BuildContext, tick: Tick) -> None:
        classifier = self.fresh("init/overwritten", 0)
        path, dataset = Path(self.file), self.samples.population.dataset
        weights = read_weights(path, classifier.net, dataset.normalisation, self.entry, dataset.class_names)
        classifier.net.load_state_dict(weights.state)
        write_tensors(folder / "model.safetensors", classifier.state_dict())
        stored, lineage = stored_entry(path), find_lineage(path, context.store.root)
        notes = [] if stored is not None else list(weights.notes(path.name))  # ours has buffers besides the net
        for note in notes:
            context.console.say(f"  {note}")
        write_json(folder / "notes.json", notes)
        names = weights.names if stored is None else incoming_names(stored)
        write_json(folder / ORIGIN, {"names": names, "lineage": None if lineage is None else lineage.plain})

    def notes(self, context: BuildContext) -> list[str]:
        """Return one sentence on each choice made while reading the file, and on each part left out."""
        entry = context.get(self)
        notes: list[str] = entry.json("notes.json") if "notes.json" in entry.meta["files"] else []
        return notes
