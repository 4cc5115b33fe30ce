"""One metric or attack on one model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from unlearn.console import Tick
from unlearn.stages.base import Stage, Workshop
from unlearn.stages.files import read_predictions, write_json
from unlearn.stages.predict import Predict
from unlearn.types import Evidence, Measurement, Metric, Predictions, Subset

Views = Mapping[Subset, Predict]


@dataclass(frozen=True)
class Evaluate(Stage):
    """Its file: `measurements.json`, by name. References that the metric does not ask for are empty."""

    metric: Metric
    subject: Views
    original: Views
    retrained: Views
    seed: int

    announced = False

    @property
    def label(self) -> str:
        role = next(iter(self.subject.values())).model.role
        return f"{type(self.metric).__name__} of {role}"

    def build(self, folder: Path, workshop: Workshop, tick: Tick) -> None:
        subject, original, retrained = (_read(v, workshop) for v in (self.subject, self.original, self.retrained))
        measured = self.metric.measure(Evidence(subject, original, retrained, self.seed))
        write_json(folder / "measurements.json", {name: asdict(value) for name, value in measured.items()})

    def load(self, workshop: Workshop) -> dict[str, Measurement]:
        """The measurements by name, without the role."""
        found = workshop.need(self).json("measurements.json")
        return {name: Measurement(**fields) for name, fields in found.items()}


def _read(views: Views, workshop: Workshop) -> dict[Subset, Predictions]:
    return {subset: read_predictions(workshop.need(stage)) for subset, stage in views.items()}
