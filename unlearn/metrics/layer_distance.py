"""Distance of weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn.core.types import Measurement, Role
from unlearn.metrics.evidence import Evidence, Metric
from unlearn.metrics.layers import by_layer


@dataclass(frozen=True)
class LayerDistance(Metric):
    """||theta - theta'|| / ||theta'|| over all parameters, theta' the original and a retrained model.

    Numbers: `layer_distance_to_original`, `layer_distance_to_retrained`; with `per_layer` also `..._LAYER` for each
        module that owns parameters. `n` counts weights.
    Range: 0 to infinity; 0 for identical weights. Null if all weights of the reference are 0.
    Direction: none.
    Reference: the noise floor, the distance between two retrained models.
    Trap: two retrained models with different seeds are about as far from each other as from any other model.
    Source: the layer-wise distance of the survey of Nguyen et al. 2022; dividing by the reference's norm, and leaving
        out buffers, are ours.
    """

    weights = True
    references = (Role.ORIGINAL, Role.RETRAINED)

    per_layer: bool = False  # also report every layer

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        subject = by_layer(evidence.subject.weights)
        references = {"original": evidence.original, "retrained": evidence.retrained}
        return {
            f"layer_distance_to_{role}{layer}": distance
            for role, reference in references.items()
            for layer, distance in self._distances(subject, by_layer(reference.weights))
        }

    def _distances(
        self, subject: Mapping[str, Tensor], reference: Mapping[str, Tensor]
    ) -> Iterator[tuple[str, Measurement]]:
        yield "", _relative(torch.cat([subject[layer] for layer in reference]), torch.cat(list(reference.values())))
        for layer in reference if self.per_layer else ():
            yield f"_{layer}", _relative(subject[layer], reference[layer])


def _relative(subject: Tensor, reference: Tensor) -> Measurement:
    norm = reference.norm().item()
    if norm == 0:
        return Measurement(None, len(reference), reason="all of the reference's weights are 0")
    return Measurement((subject - reference).norm().item() / norm, len(reference))
