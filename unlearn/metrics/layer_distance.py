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
    Range: 0 to infinity; 0 for identical weights.
    Direction: none.
    Reference: retrained models among each other, the noise floor.
    Trap: two retrained models of other seeds are about as far from each other as from anything else.
    Source: the layer-wise distance of the survey of Nguyen et al. 2022; dividing by the reference's norm, and leaving
        out buffers, are ours.
    """

    weights = True
    references = (Role.ORIGINAL, Role.RETRAINED)

    per_layer: bool = False  # one more number a layer and reference

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        mine = by_layer(evidence.subject.weights)
        references = {"original": evidence.original, "retrained": evidence.retrained}
        return {
            f"layer_distance_to_{role}{layer}": distance
            for role, seen in references.items()
            for layer, distance in self._distances(mine, by_layer(seen.weights))
        }

    def _distances(self, mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> Iterator[tuple[str, Measurement]]:
        yield "", _relative(torch.cat([mine[layer] for layer in theirs]), torch.cat(list(theirs.values())))
        for layer in theirs if self.per_layer else ():
            yield f"_{layer}", _relative(mine[layer], theirs[layer])


def _relative(mine: Tensor, theirs: Tensor) -> Measurement:
    norm = theirs.norm().item()
    if norm == 0:
        return Measurement(None, len(theirs), reason="all of the reference's weights are 0")
    return Measurement((mine - theirs).norm().item() / norm, len(theirs))
