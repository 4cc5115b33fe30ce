"""What metrics have in common that are means over samples."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar

from torch import Tensor

from unlearn.core.types import Measurement
from unlearn.functional.estimates import mean
from unlearn.metrics.evidence import Evidence, Metric


class SampleMean(Metric):
    """A metric whose every value is a mean over samples: two models can be held against each other sample by sample."""

    widest: ClassVar[float] = math.inf  # the largest difference that two models can have on a sample

    @abstractmethod
    def samples(self, evidence: Evidence) -> dict[str, Tensor]:
        """What each sample adds, float64 [n] by name, in the order of the predictions."""

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        """Their means."""
        return {name: mean(values) for name, values in self.samples(evidence).items()}
