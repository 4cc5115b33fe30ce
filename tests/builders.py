"""What many test files build: random images, small nets, the phase of a strategy, the plan of a job."""

from __future__ import annotations

from itertools import pairwise
from typing import TypeVar

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from unlearn import config
from unlearn.core.batch import Batch
from unlearn.core.types import Images, Subset
from unlearn.pipeline.plan import Plan, make_plan
from unlearn.strategies.base import Context, Edit, Phase, Strategy

Net = TypeVar("Net", bound=nn.Module)


def uniform(*shape: int, seed: int = 0) -> Tensor:
    """Draw float32 values of this shape from [0, 1), without the global generator."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def random_images(n: int, seed: int, classes: int = 4, shape: tuple[int, int, int] = (1, 4, 4)) -> Images:
    """Draw `n` images of random pixels with random labels, without the global generator.

    Args:
        n: the number of images; their indices are 0 to n - 1.
        seed: decides the pixels and then the labels.
        classes: the labels are 0 to `classes` - 1.
        shape: channels, height and width of an image.
    """
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=generator)
    return Images(pixels, torch.randint(0, classes, (n,), generator=generator), torch.arange(n))


def random_subsets(classes: int = 4, shape: tuple[int, int, int] = (1, 4, 4), **sizes: int) -> dict[Subset, Images]:
    """Draw random images for each named subset, as in `random_subsets(forget=5, retain=40)`.

    Args:
        classes: the labels are 0 to `classes` - 1.
        shape: channels, height and width of an image.
        sizes: the number of images of each subset; the first subset has seed 1, the second seed 2, and so on.
    """
    return {Subset(name): random_images(n, seed, classes, shape) for seed, (name, n) in enumerate(sizes.items(), 1)}


def batch_of(data: Images) -> Batch:
    """Return all images as one batch, with pixels in [0, 1]."""
    return Batch(data.images.float() / 255, data.labels)


def mlp(*widths: int, seed: int = 0, norm: bool = False, activation: type[nn.Module] | None = nn.ReLU) -> nn.Sequential:
    """Build linear layers behind `nn.Flatten`: `mlp(16, 8, 4)` takes images of 16 pixels and returns 4 logits.

    Args:
        widths: the number of pixels, of units in each hidden layer, and of classes.
        seed: seeds the global generator, which then draws the weights.
        norm: whether a `BatchNorm1d` follows each hidden layer.
        activation: follows each hidden layer and its norm; None: the net is linear.
    """
    torch.manual_seed(seed)
    layers: list[nn.Module] = [nn.Flatten(), nn.Linear(widths[0], widths[1])]
    for inputs, outputs in pairwise(widths[1:]):
        layers += [nn.BatchNorm1d(inputs)] if norm else []
        layers += [activation()] if activation else []
        layers += [nn.Linear(inputs, outputs)]
    return nn.Sequential(*layers)


def fit_batches(model: Net, *batches: Batch, steps: int) -> Net:
    """Train a model in place, with steps of Adam on the sum of the cross-entropies of all batches.

    Returns:
        The model in eval mode, without gradients.
    """
    optimizer = torch.optim.Adam(model.train().parameters(), 0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.stack([batch.cross_entropy(model(batch.images)) for batch in batches]).sum().backward()
        optimizer.step()
    optimizer.zero_grad()
    return model.eval()


def only_phase(strategy: Strategy, context: Context, edit: Edit | None = None) -> Phase:
    """Return the phase of a strategy that has exactly one; `edit` is what its edit returned, None: it edits nothing."""
    (phase,) = strategy.phases(context, edit or Edit({}))
    return phase


def plan_of(composed: DictConfig) -> Plan:
    """Plan the job of a config that Hydra composed."""
    return make_plan(config.instantiate(composed))
