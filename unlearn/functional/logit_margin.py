"""How sure a model is of a label, from logits."""

from __future__ import annotations

import torch
from torch import Tensor

from unlearn.core.types import Predictions


def margin(predictions: Predictions) -> Tensor:
    """phi = z_y - logsumexp over j != y of z_j, float64 [n]: log p / (1 - p) of the true class, which never saturates
    as p does (Carlini et al. 2022)."""
    logits, own = predictions.logits.double(), predictions.labels[:, None]
    others = logits.scatter(1, own, -torch.inf).logsumexp(1)
    return logits.gather(1, own)[:, 0] - others
