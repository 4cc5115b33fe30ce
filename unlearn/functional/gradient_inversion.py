"""What somebody who has the original and the model that was made of it can optimise images for: unlearning inversion
(Hu et al. 2024, S&P, "Learn What You Want to Unlearn")."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from unlearn.core.progress import Tick
from unlearn.core.random_streams import stream

TOGETHER = 2**24  # entries of gradients held at a time, so that a large net does not fill the memory
SMALLEST = 1e-30  # squared norm of a gradient: one of exactly 0 has no direction

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Probing:
    """Images of whose class the original is sure: `per_class` of each, made of it alone.

    Each begins as uniform noise in [0, 1] and goes down its cross-entropy at its class until the probability is `sure`,
    whatever the others do (noise, optimiser and where it ends are ours: of what saturates, no fall could be seen).
    """

    per_class: int
    steps: int
    lr: float
    sure: float

    def images(self, model: nn.Module, shape: Shape, classes: int, seed: int) -> tuple[Tensor, Tensor]:
        """uint8 [classes * per_class, c, h, w], class by class, and their classes int64, for a model in eval mode."""
        device, labels = next(model.parameters()).device, torch.arange(classes).repeat_interleave(self.per_class)
        noise = torch.rand(len(labels), *shape, generator=stream(seed, "probes")).to(device)
        wanted, enough = labels.to(device), -math.log(self.sure)

        def cost(x: Tensor) -> Tensor:
            return F.cross_entropy(model(x), wanted, reduction="none").clamp(min=enough)

        found = descend(noise, cost, self.steps, self.lr)
        return (255 * found).round().to(torch.uint8), labels


@dataclass(frozen=True)
class Guesses:
    """The best image of each class, float32 [C, c, h, w] in [0, 1], the cosine of its gradient with what the weights
    changed by, and what was minimised, float32 [C] each. All empty where no weight changed."""

    images: Tensor
    cosine: Tensor
    cost: Tensor

    @property
    def best(self) -> int:
        """The class that explains the change best, where anything changed."""
        return int(self.cost.argmin())


@dataclass(frozen=True)
class Truth:
    """The image that was forgotten, its class, and, where there are any, of other images of its class (`peers` of them)
    the mean and the one nearest to it by squared error. Images float32 [c, h, w] in [0, 1]."""

    image: Tensor
    label: int
    peers: int
    mean: Tensor | None
    nearest: Tensor | None


@dataclass(frozen=True)
class Recovery:
    """The single image x whose forgetting explains a change of weights d = theta_u - theta_0.

    Minimised for every class y, from `restarts` images of noise in [0, 1]:
    1 - cos(grad_theta CE(f(x; theta_0), y), d) + `tv` * TV(x), TV the mean absolute difference of neighbours, down and
    across. The sign is that of unlearning, which goes up the forgotten sample's loss. Buffers and d's length play no
    part. (Cosine and prior as in Hu et al. 2024; optimiser, restarts and trying all classes ours.)
    """

    restarts: int
    steps: int
    lr: float
    tv: float

    def guesses(
        self, model: nn.Module, change: Mapping[str, Tensor], shape: Shape, classes: int, seed: int, tick: Tick
    ) -> Guesses:
        """For theta_0 in eval mode and d by parameter name. How many images are optimised at a time changes nothing."""
        if not any(bool(each.any()) for each in change.values()):
            return Guesses(torch.empty(0, *shape), torch.empty(0), torch.empty(0))
        labels = torch.arange(classes).repeat_interleave(self.restarts)
        noise = torch.rand(len(labels), *shape, generator=stream(seed, "recovery"))
        size = max(1, TOGETHER // sum(each.numel() for each in change.values()))
        parts = list(zip(torch.split(noise, size), torch.split(labels, size), strict=True))
        found = []
        for number, (x, y) in enumerate(parts):
            told = partial(_told, tick, number * self.steps, len(parts) * self.steps)
            found.append(self._matched(model, change, x, y, told))
        images, cosine = (torch.cat(each) for each in zip(*found, strict=True))
        cost = 1 - cosine + self.tv * total_variation(images)
        best = torch.arange(classes) * self.restarts + cost.view(classes, self.restarts).argmin(1)
        return Guesses(images[best], cosine[best], cost[best])

    def _matched(
        self, model: nn.Module, change: Mapping[str, Tensor], x: Tensor, y: Tensor, told: Callable[[int], None]
    ) -> tuple[Tensor, Tensor]:
        """Images optimised from those, and their cosines, on the CPU."""
        device = next(iter(change.values())).device
        match = matcher(model, change, y.to(device))
        found = descend(x.to(device), lambda x: 1 - match(x) + self.tv * total_variation(x), self.steps, self.lr, told)
        with torch.no_grad():
            return found.cpu(), match(found).cpu()


def _told(tick: Tick, before: int, total: int, step: int) -> None:
    tick(before + step, total)


def matcher(model: nn.Module, change: Mapping[str, Tensor], labels: Tensor) -> Callable[[Tensor], Tensor]:
    """Of images [n, c, h, w]: cos(grad_theta CE(f(x), label), change), one each, differentiable in x."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def loss(parameters: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        logits = functional_call(model, {**parameters, **buffers}, (image[None],))
        return F.cross_entropy(logits, label[None])

    gradients = vmap(grad(loss), in_dims=(None, 0, 0))
    length = torch.stack([each.square().sum() for each in change.values()]).sum().sqrt()
    directions = {name: (each / length).flatten() for name, each in change.items()}

    def match(images: Tensor) -> Tensor:
        found = {name: each.flatten(1) for name, each in gradients(parameters, images, labels).items()}
        squares = torch.stack([each.square().sum(1) for each in found.values()]).sum(0)
        along = torch.stack([found[name] @ direction for name, direction in directions.items()]).sum(0)
        return along * (squares + SMALLEST).rsqrt()

    return match


def descend(
    x: Tensor, cost: Callable[[Tensor], Tensor], steps: int, lr: float, told: Callable[[int], None] | None = None
) -> Tensor:
    """Images [n, c, h, w] after `steps` down their own costs [n], each step cut back to [0, 1].

    By Adam on the sign of the gradient (Geiping et al. 2020), at a rate that falls to 0 along half a cosine.
    """
    x = x.detach().clone().requires_grad_(True)
    optimizer = torch.optim.Adam([x], lr)
    for step in range(steps):
        if told:
            told(step)
        optimizer.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * step / steps)) / 2
        x.grad = torch.autograd.grad(cost(x).sum(), x)[0].sign()
        optimizer.step()
        with torch.no_grad():
            x.clamp_(0, 1)
    return x.detach()


def total_variation(images: Tensor) -> Tensor:
    """Mean absolute difference of neighbours, across and down together, of each of [n, c, h, w]."""
    down, across = (images.diff(dim=dim).abs().flatten(1).mean(1) for dim in (-2, -1))
    return down + across


def truth(image: Tensor, label: int, peers: Iterator[Tensor]) -> Truth:
    """From the image [c, h, w] and batches [b, c, h, w] of others of its class, one pass."""
    total, count, nearest, least = torch.zeros_like(image, dtype=torch.float64), 0, None, math.inf
    for batch in peers:
        total, count = total + batch.double().sum(0), count + len(batch)
        errors = (batch - image).square().flatten(1).mean(1)
        if len(batch) and errors.min().item() < least:
            least, nearest = errors.min().item(), batch[errors.argmin()]
    return Truth(image, label, count, (total / count).float() if count else None, nearest)
