"""An original that was trained elsewhere."""

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
from unlearn.stages.model import ModelStage


@dataclass(frozen=True, kw_only=True)
class Checkpoint(ModelStage):
    """The weights of a checkpoint, behind the data set's normalisation.

    Its files: `model.safetensors`, and `notes.json`, what is to be said of the reading.
    """

    file: str = runtime("")
    entry: str | None = runtime(None)  # which of its state dicts
    threads: int = field(default=1, metadata=ADDED)  # that compute what is predicted and scored with it
    device: str = field(default="cpu", metadata=ADDED)  # on which the model is used: keys of what is made of it differ

    @property
    def label(self) -> str:
        return f"checkpoint {Path(self.file).name}"

    def identity(self) -> dict[str, Any]:
        """What the key holds: the file's content, and what it is read as; neither seeds nor data."""
        dataset = self.samples.population.dataset
        read_as = (dataset.shape, dataset.classes, *dataset.normalisation)
        chosen = {} if self.entry is None else {"entry": self.entry}
        return {"sha256": file_sha256(Path(self.file)), "samples": read_as, "seed": None} | chosen

    def build(self, folder: Path, context: BuildContext, tick: Tick) -> None:
        classifier = self.fresh("init/overwritten", 0)
        path, dataset = Path(self.file), self.samples.population.dataset
        weights = read_weights(path, classifier.net, dataset.normalisation, self.entry, dataset.class_names)
        classifier.net.load_state_dict(weights.state)
        write_tensors(folder / "model.safetensors", classifier.state_dict())
        notes = list(weights.notes(path.name))
        for note in notes:
            context.console.say(f"  {note}")
        write_json(folder / "notes.json", notes)

    def notes(self, context: BuildContext) -> list[str]:
        """What was read, where the file leaves a choice, and what was left out; one sentence each."""
        entry = context.get(self)
        found: list[str] = entry.json("notes.json") if "notes.json" in entry.meta["files"] else []
        return found
