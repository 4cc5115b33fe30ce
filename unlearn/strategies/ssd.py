"""Selective synaptic dampening."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from unlearn.core.validation import at_least, positive
from unlearn.functional.parameter_scores import Need
from unlearn.strategies.base import Context, Edit, Masks, Strategy
from unlearn.strategies.dampening import NEEDS, compute_importances, dampening_factor


@dataclass(frozen=True)
class Ssd(Strategy):
    """Selective synaptic dampening (Foster et al. 2024): shrink the weights that matter mostly to D_f.

    Where I_f > alpha I, theta <- min(lambda I / I_f, 1) theta. I and I_f are the mean per-sample squared gradients of
    the cross-entropy on D and D_f, artifacts of the original that all values of alpha share. Nothing is fine-tuned.

    Trap: a published alpha does not carry over. The authors' code squares batch-mean gradients, so its importances and
    the ratio I_f / I depend on the batch size; ours do not [C].

    D holds D_f, so I_f / I is at most n / n_f: a larger alpha selects nothing. The paper's 10 is for one class of 20 or
    more; the default is for a tenth of D [ours].
    """

    alpha: float = positive(4.0)  # select entries with I_f > alpha I
    dampening: float = at_least(0, 1.0)  # lambda
    refresh_bn: bool = False  # estimate batch normalisation's running statistics again, on the retain set [ours]

    @property
    def reads_retain(self) -> bool:
        return self.refresh_bn

    def needs(self) -> tuple[Need, ...]:
        return NEEDS

    @torch.no_grad()
    def edit(self, model: nn.Module, context: Context) -> Edit:
        masks: Masks = {}
        importances = compute_importances(model, context.scores)
        for name, p in model.named_parameters():
            everyone, forget = importances[name]
            masks[name] = forget > self.alpha * everyone
            dampened = p * dampening_factor(everyone, forget, self.dampening)
            p[masks[name]] = dampened[masks[name]].to(p.dtype)  # indexing leaves all other bits alone
        return Edit(masks, self.refresh_bn)
