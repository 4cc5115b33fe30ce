"""An original that was trained elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unlearn.checkpoint import file_sha256, fit, read_state
from unlearn.checks import ADDED, runtime
from unlearn.console import Tick
from unlearn.stages.base import Workshop
from unlearn.stages.files import write_tensors
from unlearn.stages.model import ModelStage


@dataclass(frozen=True, kw_only=True)
class Checkpoint(ModelStage):
    """The weights of a checkpoint, behind the data set's normalisation. Its file: `model.safetensors`."""

    file: str = runtime("")
    device: str = field(default="cpu", metadata=ADDED)  # on which the model is used: keys of what is made of it differ

    @property
    def label(self) -> str:
        return f"checkpoint {Path(self.file).name}"

    def identity(self) -> dict[str, Any]:
        """What the key holds: the file's content, and what it is read as; neither seeds nor data."""
        dataset = self.samples.population.dataset
        read_as = (dataset.shape, dataset.classes, *dataset.normalisation)
        return {"sha256": file_sha256(Path(self.file)), "samples": read_as, "seed": None}

    def build(self, folder: Path, workshop: Workshop, tick: Tick) -> None:
        classifier = self.fresh("init/overwritten", 0)
        classifier.net.load_state_dict(fit(read_state(Path(self.file)), classifier.net))
        write_tensors(folder / "model.safetensors", classifier.state_dict())
