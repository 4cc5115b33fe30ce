"""Distances between predicted distributions, from logits."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def js_mixture(logits_p: Tensor, logits_q: Tensor) -> Tensor:
    """Jensen-Shannon divergence of each row [n], in nats: 0 to ln 2.

    JS(p, q) = KL(p || m) / 2 + KL(q || m) / 2 with m = (p + q) / 2. Computed in float64 from log-probabilities, so
    that one-hot rows give ln 2 and not NaN.
    """
    p, q = (F.log_softmax(logits.double(), dim=-1) for logits in (logits_p, logits_q))
    m = torch.logaddexp(p, q) - math.log(2)
    js = 0.5 * (p.exp() * (p - m)).sum(-1) + 0.5 * (q.exp() * (q - m)).sum(-1)
    return js.clamp(min=0)  # rounding alone could make it negative


def js_to_labels(logits: Tensor, labels: Tensor) -> Tensor:
    """Jensen-Shannon divergence of each row [n] from certainty in its label int64 [n], in nats: 0 to ln 2.

    With p the probability of the label, m = (1 + p) / 2 at the label and half of softmax elsewhere, so
    JS = (p ln(2p / (1 + p)) + (1 - p) ln 2 - ln((1 + p) / 2)) / 2. Float64.
    """
    log_p = F.log_softmax(logits.double(), dim=-1).gather(-1, labels[:, None])[:, 0]
    p, log_half_sum = log_p.exp(), torch.log1p(log_p.exp()) - math.log(2)
    js = 0.5 * (p * (log_p - log_half_sum) + (1 - p) * math.log(2) - log_half_sum)
    return js.clamp(min=0)  # rounding alone could make it negative


def mean_kl(logits_p: Tensor, logits_q: Tensor) -> Tensor:
    """Mean of both Kullback-Leibler divergences of each row [n], in nats: 0 to infinity (Jeffreys / 2)."""
    p, q = (F.log_softmax(logits.double(), dim=-1) for logits in (logits_p, logits_q))
    return 0.5 * ((p.exp() - q.exp()) * (p - q)).sum(-1)


def kl(logits_p: Tensor, logits_q: Tensor, temperature: float = 1.0) -> Tensor:
    """Kullback-Leibler divergence KL(p || q) of each row [n], in nats: 0 to infinity.

    p and q are softmax(logits / temperature); a high temperature weighs improbable classes as well (Hinton et al.
    2015). Float64, as above.
    """
    p, q = (F.log_softmax(logits.double() / temperature, dim=-1) for logits in (logits_p, logits_q))
    return (p.exp() * (p - q)).sum(-1)
