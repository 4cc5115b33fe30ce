"""Unlearning inversion: optimise images from an original model and the model unlearned from it.

[P] Hu et al. 2024, S&P, "Learn What You Want to Unlearn".
"""

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

MAX_GRADIENT_ENTRIES = 2**24  # gradient entries held at a time, so that a large net does not fill the memory
MIN_SQUARED_NORM = 1e-30  # added to a gradient's squared norm: a zero gradient has no direction

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Probing:
    """Settings for probe images: `per_class` images of each class that the original model classifies with confidence.

    Each image starts as uniform noise in [0, 1] and descends its cross-entropy at its class until the probability of
    the class is `sure`, whatever the other images do. It stops there because a saturated probability could not show a
    later fall. [ours: noise, optimizer and stopping point]
    """

    per_class: int
    steps: int
    lr: float
    sure: float

    def generate(self, model: nn.Module, shape: Shape, classes: int, seed: int) -> tuple[Tensor, Tensor]:
        """Generate the probe images.

        Args:
            model: the original model, in eval mode.
            shape: channels, height and width of an image.
            classes: the number of classes.
            seed: of the noise that the images start from.

        Returns:
            Images uint8 [classes * per_class, c, h, w], sorted by class, and their classes int64.
        """
        device, labels = next(model.parameters()).device, torch.arange(classes).repeat_interleave(self.per_class)
        noise = torch.rand(len(labels), *shape, generator=stream(seed, "probes")).to(device)
        targets, stop_loss = labels.to(device), -math.log(self.sure)

        def cost(x: Tensor) -> Tensor:
            return F.cross_entropy(model(x), targets, reduction="none").clamp(min=stop_loss)

        images = descend(noise, cost, self.steps, self.lr)
        return (255 * images).round().to(torch.uint8), labels


@dataclass(frozen=True)
class Reconstructions:
    """The best image of each class; all tensors are empty where no weight changed.

    Attributes:
        images: float32 [C, c, h, w] in [0, 1].
        cosine: the cosine between the gradient of each image and the change of the weights, float32 [C].
        cost: the minimised cost of each image, float32 [C].
    """

    images: Tensor
    cosine: Tensor
    cost: Tensor

    @property
    def best(self) -> int:
        """The class with the lowest cost."""
        return int(self.cost.argmin())


@dataclass(frozen=True)
class ForgottenImage:
    """The image that was forgotten, and statistics of other images of its class.

    Attributes:
        image: float32 [c, h, w] in [0, 1].
        label: its class.
        peers: the number of other images of its class.
        mean: the mean of these images, float32 [c, h, w]; None if there are none.
        nearest: the one with the lowest squared error to the forgotten image; None if there are none.
    """

    image: Tensor
    label: int
    peers: int
    mean: Tensor | None
    nearest: Tensor | None


@dataclass(frozen=True)
class Recovery:
    """Settings for recovering the single image x that best explains a change of weights d = theta_u - theta_0.

    For every class y and from `restarts` images of noise in [0, 1] it minimises
    1 - cos(grad_theta CE(f(x; theta_0), y), d) + `tv` * TV(x), where TV is the mean absolute difference of vertical
    and horizontal neighbours. The sign is that of unlearning, which ascends the forgotten sample's loss. Buffers and
    the length of d have no influence. [P] cosine and prior: Hu et al. 2024; [ours] optimizer, restarts and trying all
    classes.
    """

    restarts: int
    steps: int
    lr: float
    tv: float

    def reconstruct(
        self, model: nn.Module, change: Mapping[str, Tensor], shape: Shape, classes: int, seed: int, tick: Tick
    ) -> Reconstructions:
        """Reconstruct the best image of each class; the number of images optimised at a time does not matter.

        Args:
            model: the model with the weights theta_0, in eval mode.
            change: d by parameter name.
            shape: channels, height and width of an image.
            classes: the number of classes.
            seed: of the noise that the images start from.
            tick: called with the optimisation steps done and in total.
        """
        if not any(bool(tensor.any()) for tensor in change.values()):
            return Reconstructions(torch.empty(0, *shape), torch.empty(0), torch.empty(0))
        labels = torch.arange(classes).repeat_interleave(self.restarts)
        noise = torch.rand(len(labels), *shape, generator=stream(seed, "recovery"))
        size = max(1, MAX_GRADIENT_ENTRIES // sum(tensor.numel() for tensor in change.values()))
        chunks = list(zip(torch.split(noise, size), torch.split(labels, size), strict=True))
        results = []
        for number, (x, y) in enumerate(chunks):
            on_step = partial(_tick_step, tick, number * self.steps, len(chunks) * self.steps)
            results.append(self._optimise(model, change, x, y, on_step))
        images, cosine = (torch.cat(parts) for parts in zip(*results, strict=True))
        cost = 1 - cosine + self.tv * total_variation(images)
        best = torch.arange(classes) * self.restarts + cost.view(classes, self.restarts).argmin(1)
        return Reconstructions(images[best], cosine[best], cost[best])

    def _optimise(
        self, model: nn.Module, change: Mapping[str, Tensor], x: Tensor, y: Tensor, on_step: Callable[[int], None]
    ) -> tuple[Tensor, Tensor]:
        """Optimised images and their cosines, on the CPU, from initial images x and classes y."""
        device = next(iter(change.values())).device
        cosine = gradient_cosine(model, change, y.to(device))

        def cost(x: Tensor) -> Tensor:
            return 1 - cosine(x) + self.tv * total_variation(x)

        images = descend(x.to(device), cost, self.steps, self.lr, on_step)
        with torch.no_grad():
            return images.cpu(), cosine(images).cpu()


def _tick_step(tick: Tick, steps_before: int, total: int, step: int) -> None:
    tick(steps_before + step, total)


def gradient_cosine(model: nn.Module, change: Mapping[str, Tensor], labels: Tensor) -> Callable[[Tensor], Tensor]:
    """Make the function that maps images [n, c, h, w] to cos(grad_theta CE(f(x), label), change) [n].

    Args:
        model: f, in eval mode.
        change: a direction, by parameter name.
        labels: int64 [n].

    Returns:
        A function that is differentiable in the images.
    """
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def loss(parameters: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        logits = functional_call(model, {**parameters, **buffers}, (image[None],))
        return F.cross_entropy(logits, label[None])

    per_sample_gradients = vmap(grad(loss), in_dims=(None, 0, 0))
    norm = torch.stack([tensor.square().sum() for tensor in change.values()]).sum().sqrt()
    directions = {name: (tensor / norm).flatten() for name, tensor in change.items()}

    def cosine(images: Tensor) -> Tensor:
        gradients = {name: g.flatten(1) for name, g in per_sample_gradients(parameters, images, labels).items()}
        squared_norm = torch.stack([g.square().sum(1) for g in gradients.values()]).sum(0)
        product = torch.stack([gradients[name] @ direction for name, direction in directions.items()]).sum(0)
        return product * (squared_norm + MIN_SQUARED_NORM).rsqrt()

    return cosine


def descend(
    x: Tensor, cost: Callable[[Tensor], Tensor], steps: int, lr: float, on_step: Callable[[int], None] | None = None
) -> Tensor:
    """Minimise the cost of each image by Adam on the sign of its gradient (Geiping et al. 2020).

    The learning rate falls to 0 along half a cosine. After each step, pixels are clamped to [0, 1].

    Args:
        x: initial images, float [n, c, h, w].
        cost: maps images to one cost each, [n].
        steps: the number of steps.
        lr: the initial learning rate, in pixels of 0-1.
        on_step: called with the number of each step before it is taken.

    Returns:
        The images after the last step.
    """
    x = x.detach().clone().requires_grad_(True)
    optimizer = torch.optim.Adam([x], lr)
    for step in range(steps):
        if on_step:
            on_step(step)
        optimizer.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * step / steps)) / 2
        x.grad = torch.autograd.grad(cost(x).sum(), x)[0].sign()
        optimizer.step()
        with torch.no_grad():
            x.clamp_(0, 1)
    return x.detach()


def total_variation(images: Tensor) -> Tensor:
    """Mean absolute difference of vertical neighbours plus that of horizontal ones, of images [n, c, h, w]: [n]."""
    vertical, horizontal = (images.diff(dim=dim).abs().flatten(1).mean(1) for dim in (-2, -1))
    return vertical + horizontal


def describe_forgotten(image: Tensor, label: int, peers: Iterator[Tensor]) -> ForgottenImage:
    """Compute the statistics of a forgotten image's class, in one pass.

    Args:
        image: the forgotten image, [c, h, w] in [0, 1].
        label: its class.
        peers: batches [b, c, h, w] of other images of its class.
    """
    total, count, nearest, min_error = torch.zeros_like(image, dtype=torch.float64), 0, None, math.inf
    for batch in peers:
        total, count = total + batch.double().sum(0), count + len(batch)
        errors = (batch - image).square().flatten(1).mean(1)
        if len(batch) and errors.min().item() < min_error:
            min_error, nearest = errors.min().item(), batch[errors.argmin()]
    return ForgottenImage(image, label, count, (total / count).float() if count else None, nearest)
