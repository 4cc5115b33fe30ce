"""The training recipe: optimizer, schedule and length, for training, retraining and fine-tuning."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from unlearn.core.errors import Problem
from unlearn.core.validation import at_least, fraction, one_of, positive

NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)  # _NormBase: batch and instance


@dataclass(frozen=True)
class Recipe:
    """Optimizer, schedule and length of a training.

    The learning rate changes at every step. `linear` and `cosine` fall from `lr` to 0; `one_cycle` rises linearly from
    `start` * lr to lr over the fraction `rise` of all steps and falls linearly to `end` * lr, as in the CIFAR-10 speed
    runs (arXiv 2404.00498); `multistep` multiplies it by `gamma` at each milestone.
    """

    epochs: int = at_least(0, 20)  # passes over the data
    batch_size: int = at_least(1, 64)  # images of a step
    optimizer: str = one_of("sgd", "adam", "adamw", "muon")  # muon: matrices by Muon, all other weights by sgd
    lr: float = positive(0.05)  # peak learning rate
    momentum: float = fraction(0.9)  # sgd and muon; the first beta of adam and adamw
    nesterov: bool = False  # sgd: look ahead along the momentum
    weight_decay: float = at_least(0, 5e-4)  # L2 penalty of the optimizer
    decay_norms: bool = True  # false: biases and the weights of normalisation layers do not decay
    norm_bias_lr: float = positive(1.0)  # times lr: the rate of the biases of normalisation layers
    schedule: str = one_of("constant", "linear", "cosine", "one_cycle", "multistep")  # how lr changes from step to step
    milestones: list[int] = field(default_factory=list)  # epochs at which multistep multiplies lr by gamma
    gamma: float = positive(0.1)  # multistep: the factor of lr at each milestone
    rise: float = fraction(0.23)  # one_cycle: the fraction of all steps over which lr rises
    start: float = fraction(0.2, one=True)  # one_cycle: the factor of lr at the first step
    end: float = fraction(0.07, one=True)  # one_cycle: the factor of lr after the last step
    warmup: float = at_least(0, 0.0)  # epochs over which lr rises linearly to its value; 0.5 is half an epoch
    clip: float | None = positive(None)  # largest gradient norm; null: no clipping
    label_smoothing: float = fraction(0.0)  # part of the target that is spread evenly over all classes
    patience: int | None = at_least(1, None)  # epochs without a lower validation loss; null: never stop early

    def problems(self, key: str) -> Iterator[Problem]:
        """Report fields that contradict each other."""
        if self.schedule == "multistep" and not self.milestones:
            yield Problem(f"{key}.milestones", "epochs for schedule=multistep", self.milestones)
        if self.nesterov and self.optimizer not in ("sgd", "muon"):
            yield Problem(f"{key}.nesterov", f"false with optimizer={self.optimizer}", True)
        if self.nesterov and self.momentum == 0:
            yield Problem(f"{key}.momentum", "a number above 0 with nesterov", self.momentum)

    def make_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Create the optimizer of the trainable parameters of a model."""
        trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
        return self.optimizer_over(trainable, norm_parameters(model))

    def optimizer_over(self, parameters: Mapping[str, Tensor], norms: Collection[str]) -> torch.optim.Optimizer:
        """Create the optimizer of some parameters.

        Args:
            parameters: the parameters by name.
            norms: names of those that belong to normalisation layers.
        """
        groups = list(self._groups(parameters, norms))
        if self.optimizer == "muon":
            from unlearn.core.muon import MuonWithSgd

            return MuonWithSgd(groups, self.momentum, self.nesterov)
        if self.optimizer == "sgd":
            return torch.optim.SGD(groups, self.lr, momentum=self.momentum, nesterov=self.nesterov)
        kind = torch.optim.AdamW if self.optimizer == "adamw" else torch.optim.Adam
        return kind(groups, self.lr, betas=(self.momentum, 0.999))

    def _groups(self, parameters: Mapping[str, Tensor], norms: Collection[str]) -> Iterator[dict[str, Any]]:
        """Parameter groups with one learning rate and weight decay each, in the order of their first parameters."""
        groups: dict[tuple[float, float, bool], list[Tensor]] = {}
        for name, p in parameters.items():
            is_bias = name.rpartition(".")[2] == "bias"
            lr = self.lr * (self.norm_bias_lr if name in norms and is_bias else 1.0)
            decay = self.weight_decay if self.decay_norms or not (name in norms or is_bias) else 0.0
            groups.setdefault((lr, decay, self.optimizer == "muon" and p.dim() > 1), []).append(p)
        for (lr, decay, by_muon), members in groups.items():
            muon = {"muon": by_muon} if self.optimizer == "muon" else {}
            yield {"params": members, "lr": lr, "initial_lr": lr, "weight_decay": decay} | muon

    def set_lr(self, optimizer: torch.optim.Optimizer, epoch: float) -> None:
        """Set the learning rate of the next step, after `epoch` epochs; 1.5 is the middle of the second epoch."""
        factor = self.lr_factor(epoch)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor

    def lr_factor(self, epoch: float) -> float:
        """The factor of the learning rate at the next step, after `epoch` epochs."""
        done = min(1.0, epoch / max(1, self.epochs))
        return self._decay(done, epoch) * (min(1.0, epoch / self.warmup) if self.warmup else 1.0)

    def _decay(self, done: float, epoch: float) -> float:
        """The factor of the schedule after the fraction `done` of all steps."""
        match self.schedule:
            case "linear":
                return 1 - done
            case "cosine":
                return 0.5 * (1 + math.cos(math.pi * done))
            case "one_cycle" if done < self.rise:
                return self.start + (1 - self.start) * done / self.rise
            case "one_cycle":
                return 1 - (1 - self.end) * (done - self.rise) / (1 - self.rise)
            case "multistep":
                return float(self.gamma) ** sum(epoch >= milestone for milestone in self.milestones)
            case _:
                return 1.0


def norm_parameters(model: nn.Module) -> set[str]:
    """Find the names of the weights and biases of normalisation layers."""
    return {
        f"{layer}.{name}".removeprefix(".")
        for layer, module in model.named_modules()
        if isinstance(module, NORMS)
        for name, _ in module.named_parameters(recurse=False)
    }
