"""Whether the gradients on forget and retain samples point in the same direction."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.core.types import Measurement, Subset
from unlearn.functional.parameter_scores import GradientStatistic, Need
from unlearn.metrics.evidence import Evidence, Metric
from unlearn.metrics.layers import by_layer

FORGET, RETAIN = (Need(GradientStatistic("mean_gradient"), subset) for subset in (Subset.FORGET, Subset.RETAIN))


@dataclass(frozen=True)
class GradientMatch(Metric):
    """1 - cosine of the mean loss gradients on D_f and D_r, the mean over layers.

    Numbers: `gradient_match`.
    Range: 0 to 2; 1 for orthogonal gradients. Null if the gradient of a layer is 0.
    Direction: none; the target is the retrained model's value.
    Reference: the retrained model.
    Trap: at the end of training both gradients are small and mostly noise.
    Source: the distance that data set condensation minimises, as a metric after "Dataset condensation driven machine
        unlearning" (2024); the mean over modules that own parameters is ours.
    """

    subsets = (Subset.FORGET, Subset.RETAIN)  # to count samples

    def needs(self) -> tuple[Need, ...]:
        return (FORGET, RETAIN)

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        n = sum(len(predictions.labels) for predictions in evidence.subject.values())
        forget, retain = (by_layer(evidence.subject.scores[need]) for need in self.needs())
        norms = {layer: forget[layer].norm() * retain[layer].norm() for layer in forget}
        zero = [layer for layer, norm in norms.items() if norm == 0]
        if zero:
            return {"gradient_match": Measurement(None, n, reason=f"the gradient of {zero[0] or 'the model'} is 0")}
        cosines = [(forget[layer] @ retain[layer] / norm).clamp(-1, 1).item() for layer, norm in norms.items()]
        return {"gradient_match": Measurement(1 - sum(cosines) / len(cosines), n)}
