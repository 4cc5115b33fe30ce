"""Divergences between predicted distributions, computed from logits."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def js_mixture(logits_p: Tensor, logits_q: Tensor) -> Tensor:
    """Jensen-Shannon divergence between the distributions of each row.

    JS(p, q) = KL(p || m) / 2 + KL(q || m) / 2 with m = (p + q) / 2, computed in float64 from log-probabilities, so
    that one-hot rows give ln 2 and not NaN.

    Args:
        logits_p: logits of p, float [n, C].
        logits_q: logits of q, float [n, C].

    Returns:
        Float64 [n], in nats: 0 to ln 2.
    """
    p, q = (F.log_softmax(logits.double(), dim=-1) for logits in (logits_p, logits_q))
    m = torch.logaddexp(p, q) - math.log(2)
    js = 0.5 * (p.exp() * (p - m)).sum(-1) + 0.5 * (q.exp() * (q - m)).sum(-1)
    return js.clamp(min=0)  # rounding can make it negative


def js_to_labels(logits: Tensor, labels: Tensor) -> Tensor:
    """Jensen-Shannon divergence between the distribution of each row and the one-hot distribution of its label.

    With p the probability of the label, m is (1 + p) / 2 at the label and half of softmax elsewhere, so
    JS = (p ln(2p / (1 + p)) + (1 - p) ln 2 - ln((1 + p) / 2)) / 2.

    Args:
        logits: float [n, C].
        labels: int64 [n].

    Returns:
        Float64 [n], in nats: 0 to ln 2.
    """
    log_p = F.log_softmax(logits.double(), dim=-1).gather(-1, labels[:, None])[:, 0]
    p, log_half_sum = log_p.exp(), torch.log1p(log_p.exp()) - math.log(2)
    js = 0.5 * (p * (log_p - log_half_sum) + (1 - p) * math.log(2) - log_half_sum)
    return js.clamp(min=0)  # rounding can make it negative


def mean_kl(logits_p: Tensor, logits_q: Tensor) -> Tensor:
    """Mean of KL(p || q) and KL(q || p) of each row, float64 [n], in nats: 0 to infinity (Jeffreys / 2).

    Args:
        logits_p: logits of p, float [n, C].
        logits_q: logits of q, float [n, C].
    """
    p, q = (F.log_softmax(logits.double(), dim=-1) for logits in (logits_p, logits_q))
    return 0.5 * ((p.exp() - q.exp()) * (p - q)).sum(-1)


def kl(logits_p: Tensor, logits_q: Tensor, temperature: float = 1.0) -> Tensor:
    """Kullback-Leibler divergence KL(p || q) of each row.

    p and q are softmax(logits / temperature); a high temperature gives improbable classes more weight (Hinton et al.
    2015).

    Args:
        logits_p: logits of p, float [n, C].
        logits_q: logits of q, float [n, C].
        temperature: above 0.

    Returns:
        Float64 [n], in nats: 0 to infinity.
    """
    p, q = (F.log_softmax(logits.double() / temperature, dim=-1) for logits in (logits_p, logits_q))
    return (p.exp() * (p - q)).sum(-1)
