"""Base class of metrics that are means over samples."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar

from torch import Tensor

from unlearn.core.types import Measurement
from unlearn.functional.estimates import mean
from unlearn.metrics.evidence import Evidence, Metric


class SampleMean(Metric):
    """A metric whose values are means over samples, so that two models can be compared by paired samples."""

    max_difference: ClassVar[float] = math.inf  # the largest difference between two models on one sample

    @abstractmethod
    def sample_values(self, evidence: Evidence) -> dict[str, Tensor]:
        """Return the value of each sample by metric name, float64 [n], in the order of the predictions."""

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        return {name: mean(values) for name, values in self.sample_values(evidence).items()}
