"""One metric or attack on one model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from unlearn.console import Tick
from unlearn.stages.base import Stage, Workshop
from unlearn.stages.files import read_predictions, write_json
from unlearn.stages.predict import Predict
from unlearn.types import Measurement, Metric, Predictions, Role, Subset

Views = Mapping[Subset, Predict]


@dataclass(frozen=True)
class Evaluate(Stage):
    """Its file: `measurements.json`, by name."""

    metric: Metric
    subject: Views
    references: Mapping[Role, Views]
    seed: int

    announced = False

    @property
    def label(self) -> str:
        role = next(iter(self.subject.values())).model.role
        return f"{type(self.metric).__name__} of {role}"

    def build(self, folder: Path, workshop: Workshop, tick: Tick) -> None:
        subject = _read(self.subject, workshop)
        references = {role: _read(views, workshop) for role, views in self.references.items()}
        measured = self.metric.measure(subject, references, self.seed)
        write_json(folder / "measurements.json", {name: asdict(value) for name, value in measured.items()})

    def load(self, workshop: Workshop) -> dict[str, Measurement]:
        """The measurements by name, without the role."""
        found = workshop.need(self).json("measurements.json")
        return {name: Measurement(**fields) for name, fields in found.items()}


def _read(views: Views, workshop: Workshop) -> dict[Subset, Predictions]:
    return {subset: read_predictions(workshop.need(stage)) for subset, stage in views.items()}
