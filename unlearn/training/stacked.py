"""Training of several small models at once.

A step of a small net spends more time in dispatch than in arithmetic. The weights and buffers of M nets are stacked to
[M, ...] and run under vmap as one net, so that they share the dispatch. Each net learns, to rounding, what it would
learn alone.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from statistics import fmean
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from unlearn.core.batch import iter_batches
from unlearn.core.errors import DivergenceError
from unlearn.core.progress import DetailedTick
from unlearn.core.random_streams import stream_seed
from unlearn.core.recipe import Recipe, norm_parameters
from unlearn.core.types import Curve, ImageSource
from unlearn.data.loaders import Loader
from unlearn.training.finite import all_finite

DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
VALIDATION_IMAGES = 512  # per forward pass, of all models together
Draw = Callable[[Tensor], Tensor]


class Stack:
    """M models of one architecture, on one device, as one net.

    Args:
        models: the models; `copy_to_models` updates them.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        self.models = models
        self.parameters, self.buffers = stack_module_state(list(models))  # by name, [M, ...]
        self.skeleton = copy.deepcopy(models[0])
        self._device = next(models[0].parameters()).device
        self._states: list[Tensor] = []
        dropouts = [layer for layer in self.skeleton.modules() if type(layer) in DROPOUT]
        self._drops = any(layer.p != 0 for layer in dropouts)
        for layer in dropouts:
            layer.forward = partial(self._drop, layer)

    def __call__(self, images: Tensor, shared: bool = False) -> Tensor:
        """Compute logits [M, b, C].

        Args:
            images: float32 [M, b, c, h, w]; with `shared`, [b, c, h, w] for all models.
            shared: whether all models get the same images.

        Raises:
            RuntimeError: vmap does not support the net.
        """
        logits: Tensor = vmap(self._one, (0, 0, None if shared else 0))(self.parameters, self.buffers, images)
        return logits

    def train(self, mode: bool = True) -> None:
        """Set train mode, or eval mode if `mode` is false."""
        self.skeleton.train(mode)

    def seed(self, seeds: Sequence[int]) -> None:
        """Seed the dropout of each model, as `torch.manual_seed` does for a model alone."""
        if self._drops:
            self._states = [torch.Generator(self._device).manual_seed(seed).get_state() for seed in seeds]

    @torch.no_grad()
    def copy_to_models(self) -> None:
        """Copy the stacked weights and buffers to the models."""
        stacked = self.parameters | self.buffers
        for number, model in enumerate(self.models):
            for name, tensor in chain(model.named_parameters(), model.named_buffers()):
                tensor.copy_(stacked[name][number])

    def _one(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor) -> Any:
        return functional_call(self.skeleton, (parameters, buffers), (images,))

    def _drop(self, layer: nn.Module, x: Tensor) -> Tensor:
        if not layer.training or layer.p == 0:
            return x
        mask: Tensor = _Mask.apply(x, partial(self._masks, layer))
        return x * mask

    def _masks(self, layer: nn.Module, x: Tensor) -> Tensor:
        """Dropout masks [M, ...]: `layer` applied to ones, with each model's own state of torch's global generator."""
        generator = torch.default_generator
        if self._device.type == "cuda":
            generator = torch.cuda.default_generators[self._device.index or 0]
        masks = torch.ones(x.shape, dtype=x.dtype, device=x.device)
        for number, ones in enumerate(masks):
            generator.set_state(self._states[number])
            masks[number] = type(layer).forward(layer, ones)
            self._states[number] = generator.get_state()
        return masks


class _Mask(torch.autograd.Function):
    """Draws a mask for the whole stack: only a custom function can access all models under vmap."""

    @staticmethod
    def forward(x: Tensor, draw: Draw) -> Tensor:
        return draw(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> tuple[None, None]:
        return None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None], x: Tensor, draw: Draw) -> tuple[Tensor, int]:
        return draw(x.detach().movedim(in_dims[0], 0)), 0


def fit_stacked(
    models: Sequence[nn.Module], loaders: Sequence[Loader], recipe: Recipe, validation: ImageSource, tick: DetailedTick
) -> list[Curve]:
    """Train each model on its loader's batches, as `ClassifierModule` does; models are left in eval mode.

    Each step agrees to rounding with a step of a model alone. A long training amplifies the differences, as between
    two processors: after 20 epochs on digits, single weights differed by up to 0.02. Adam amplifies rounding where the
    true gradient is 0, as for a bias before batch normalisation.

    Args:
        models: models of one architecture, trained in place.
        loaders: one per model, with equal numbers of batches of equal sizes.
        recipe: must neither stop early nor use Muon.
        validation: the validation set, evaluated after each epoch.
        tick: called with the epochs done and in total.

    Returns:
        The curve of each model.

    Raises:
        DivergenceError: a loss or a weight of a model was not finite.
    """
    stack = Stack(models)
    trainable = {name: p for name, p in stack.parameters.items() if p.requires_grad}
    parameters = list(trainable.values())
    optimizer = recipe.optimizer_over(trainable, norm_parameters(stack.skeleton))
    curves: list[Curve] = [[] for _ in models]
    for epoch in range(recipe.epochs):
        stack.train()
        stack.seed([stream_seed(loader.seed, "dropout", loader.role, epoch) for loader in loaders])
        losses = []
        for step, (images, labels) in enumerate(_stack_batches(loaders, epoch)):
            recipe.set_lr(optimizer, epoch + step / len(loaders[0]))
            optimizer.zero_grad()
            loss = cross_entropies(stack(images), labels, recipe.label_smoothing)
            loss.sum().backward()  # type: ignore[no-untyped-call]
            if recipe.clip is not None:
                _clip(parameters, recipe.clip)
            optimizer.step()
            losses.append(loss.detach())
        common = {"epoch": epoch, "lr": recipe.lr * recipe.lr_factor(epoch)}
        validated = _validate(stack, validation)
        mean_losses = torch.stack(losses).mean(0)  # not finite where a loss is not
        _refuse_divergence(mean_losses, [row["validation_loss"] for row in validated], parameters)
        losses_by_model = mean_losses.tolist()
        for curve, loss_, row in zip(curves, losses_by_model, validated, strict=True):
            curve.append(common | {"loss": loss_} | row)
        values = {"loss": fmean(losses_by_model), "lr": common["lr"]}
        tick(epoch + 1, recipe.epochs, unit="epoch", values=values)
    stack.copy_to_models()
    for model in models:
        model.eval()
    return curves


def _stack_batches(loaders: Sequence[Loader], epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images float32 [M, b, c, h, w] and labels int64 [M, b]."""
    for batches in zip(*(loader.batches(epoch) for loader in loaders), strict=True):
        yield torch.stack([batch.images for batch in batches]), torch.stack([batch.labels for batch in batches])


def cross_entropies(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """Mean cross-entropy of each model [M], from logits [M, b, C] and labels [M, b]."""
    losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), label_smoothing=label_smoothing, reduction="none")
    return losses.view(labels.shape).mean(1)


def _clip(parameters: Sequence[Tensor], max_norm: float) -> None:
    """Clip the gradient norm of each model, as `torch.nn.utils.clip_grad_norm_` does for one."""
    grads = [p.grad.flatten(1) if p.grad.dim() > 1 else p.grad[:, None] for p in parameters if p.grad is not None]
    norms = torch.stack([grad.norm(dim=1) for grad in grads]).norm(dim=0)
    factor = (max_norm / (norms + 1e-6)).clamp(max=1.0)
    for grad in grads:
        grad.mul_(factor[:, None])


def _refuse_divergence(losses: Tensor, validation_losses: Sequence[float], parameters: Sequence[Tensor]) -> None:
    if not (all(map(math.isfinite, validation_losses)) and all_finite([losses, *parameters])):
        raise DivergenceError("one of several models diverged; trained alone, it reports the step")


@torch.no_grad()
def _validate(stack: Stack, data: ImageSource) -> list[dict[str, float]]:
    """Validate as `RecipeModule` does, in smaller batches, so that a stack takes no more memory than one model."""
    stack.train(False)
    batches = iter_batches(data, max(1, VALIDATION_IMAGES // len(stack.models)))
    logits = torch.cat([stack(batch.images, shared=True).float().cpu() for batch in batches], dim=1).double()
    labels = data.labels.cpu()
    return [
        {
            "validation_loss": F.cross_entropy(model_logits, labels).item(),
            "validation_accuracy": (model_logits.argmax(1) == labels).double().mean().item(),
        }
        for model_logits in logits
    ]
