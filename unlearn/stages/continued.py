"""The stage from which a later request of a stream starts: the model that answered the request before."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unlearn.core.progress import Tick
from unlearn.models.base import Classifier
from unlearn.stages.base import BuildContext
from unlearn.stages.blend import FinalModel
from unlearn.stages.files import write_json
from unlearn.stages.model import ModelStage
from unlearn.stages.shards import TrainShards
from unlearn.stages.unlearn import Unlearn


@dataclass(frozen=True, kw_only=True)
class Continued(ModelStage):
    """An original that is the result of the request before; `samples` are the records of D that are left.

    File: `previous.json` with the `key` of that model. The weights are not copied.
    """

    previous: FinalModel

    is_announced = False

    @property
    def label(self) -> str:
        return f"continue {self.previous.label}"

    @property
    def first(self) -> ModelStage:
        """The original before the first request."""
        original = self.previous.original
        return original.first if isinstance(original, Continued) else original

    @property
    def ensemble(self) -> TrainShards | None:
        return self.previous.rebuilt if isinstance(self.previous, Unlearn) else None

    def fresh(self, purpose: str, seed: int) -> Classifier:
        """Return a newly initialised model of the first original's architecture."""
        return self.first.fresh(purpose, seed)

    def build(self, folder: Path, context: BuildContext, tick: Tick) -> None:
        write_json(folder / "previous.json", {"key": self.previous.key})

    def load(self, context: BuildContext) -> Classifier:
        """Return the model of the request before, frozen, in eval mode, on the training device."""
        return self.previous.load(context)
