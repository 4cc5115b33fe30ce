"""Exactly unlearning the last k layers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from unlearn.strategies.base import Context, Edit, Masks
from unlearn.strategies.last_layers import LastLayers, last_modules


@dataclass(frozen=True)
class ExactK(LastLayers):
    """EU-k (Goel et al. 2022): reinitialise the last `k` layers and train them on the retain set.

    Running statistics of batch normalisation in these layers are reset too. Trap: their input still comes from layers
    that were trained on D_f.
    """

    @torch.no_grad()
    def edit(self, model: nn.Module, context: Context) -> Edit:
        fresh = context.fresh_model()
        reset = set[int]()
        for name, module in last_modules(model, self.k).items():
            new = fresh.get_submodule(name)
            pairs = [*zip(module.parameters(recurse=False), new.parameters(recurse=False), strict=True)]
            for old, value in [*pairs, *zip(module.buffers(recurse=False), new.buffers(recurse=False), strict=True)]:
                old.copy_(value)
            reset |= {id(old) for old, _ in pairs}
        masks: Masks = {
            name: torch.ones_like(p, dtype=torch.bool) for name, p in model.named_parameters() if id(p) in reset
        }
        return Edit(masks)
