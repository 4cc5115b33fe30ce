"""The logit margin of a prediction."""

from __future__ import annotations

import torch
from torch import Tensor

from unlearn.core.types import Predictions


def logit_margin(predictions: Predictions) -> Tensor:
    """The log odds of the true class y, log(p_y / (1 - p_y)), which do not saturate as p_y does (Carlini et al. 2022).

    They are computed from logits: phi = z_y - logsumexp over j != y of z_j.

    Returns:
        Float64 [n].
    """
    logits, labels = predictions.logits.double(), predictions.labels[:, None]
    others = logits.scatter(1, labels, -torch.inf).logsumexp(1)
    return logits.gather(1, labels)[:, 0] - others
