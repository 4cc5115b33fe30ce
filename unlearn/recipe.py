"""How weights are fitted: one recipe for training, retraining and a strategy's fine-tuning."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from unlearn.checks import at_least, one_of, positive, share
from unlearn.errors import Problem


@dataclass(frozen=True)
class Recipe:
    """Optimizer, schedule and length of one fit."""

    epochs: int = at_least(0, 20)
    batch_size: int = at_least(1, 64)
    optimizer: str = one_of("sgd", "adam", "adamw")
    lr: float = positive(0.05)
    momentum: float = share(0.9)  # sgd; the first beta of adam and adamw
    weight_decay: float = at_least(0, 5e-4)
    schedule: str = one_of("constant", "cosine", "multistep")
    milestones: list[int] = field(default_factory=list)  # epochs at which multistep multiplies lr by gamma
    gamma: float = positive(0.1)
    warmup: int = at_least(0, 0)  # epochs over which lr rises linearly to its value
    clip: float | None = positive(None)  # largest gradient norm; null: no clipping
    label_smoothing: float = share(0.0)
    patience: int | None = at_least(1, None)  # epochs without a lower validation loss; null: never stop early

    def problems(self, key: str) -> Iterator[Problem]:
        """A multistep schedule needs its steps."""
        if self.schedule == "multistep" and not self.milestones:
            yield Problem(f"{key}.milestones", "epochs for schedule=multistep", self.milestones)

    def make_optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """A fresh optimizer over `parameters`."""
        if self.optimizer == "sgd":
            return torch.optim.SGD(parameters, self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
        kind = torch.optim.AdamW if self.optimizer == "adamw" else torch.optim.Adam
        return kind(parameters, self.lr, betas=(self.momentum, 0.999), weight_decay=self.weight_decay)

    def make_scheduler(self, optimizer: torch.optim.Optimizer) -> LRScheduler:
        """A schedule that steps once an epoch: warm-up times cosine (to zero) or multistep decay."""
        return torch.optim.lr_scheduler.LambdaLR(optimizer, self.lr_factor)

    def lr_factor(self, epoch: int) -> float:
        """What the learning rate is multiplied by in `epoch`, counted from 0."""
        warm = min(1.0, (epoch + 1) / (self.warmup + 1))
        if self.schedule == "cosine":
            done = min(1.0, epoch / max(1, self.epochs))
            return warm * 0.5 * (1 + math.cos(math.pi * done))
        if self.schedule == "multistep":
            return warm * float(self.gamma) ** sum(epoch >= step for step in self.milestones)
        return warm
