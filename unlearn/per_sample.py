"""The gradients of every single sample, from one backward pass over many of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Batches = Iterable[tuple[Tensor, Tensor]]  # images [b, c, h, w] and labels int64 [b]
Function = Callable[[Tensor, Tensor], Tensor]  # of logits [b, C] and labels: a sum of one number per sample
Power = Callable[..., Tensor]  # torch.abs or torch.square
Named = dict[str, Tensor]  # by parameter name, in its shape; what no output depends on is left out

NORM = nn.modules.batchnorm._BatchNorm
KINDS = (nn.Linear, nn.Conv2d, NORM)
PAIRS = 4  # positions up to which a square is cheaper by the products of its terms
CACHED = 1 << 17  # numbers that are written and read again at once
FEWEST = 1 << 20  # numbers that are held at once beside the net, or as many as it has itself


def gradients(model: nn.Module, batches: Batches, function: Function) -> tuple[Named, int]:
    """The sum over samples of dF/dw, and how many they are."""
    total: Named = {}
    n = 0
    for images, labels in batches:
        n += len(labels)
        _add(total, _gradients(model, images, labels, function))
    return total, n


def sums(model: nn.Module, batches: Batches, function: Function, power: Power) -> tuple[Named, int]:
    """The sum over samples of power(dF/dw), and how many they are; how batches are cut does not matter.

    Many samples at once where that is known to be right for the net (`_trusted`), else one by one.
    """
    total: Named = {}
    n, way, size = 0, _one_by_one, 0
    for images, labels in batches:
        if n == 0:
            way, size = (_at_once, _fitting(model, images)) if _trusted(model, images, labels) else (way, len(images))
        n += len(labels)
        for part in zip(torch.split(images, size), torch.split(labels, size), strict=True):
            _add(total, way(model, *part, function, power))
    return total, n


def _add(total: Named, more: Named) -> None:
    for name, each in more.items():
        total[name] = total[name] + each if name in total else each


def _gradients(model: nn.Module, images: Tensor, labels: Tensor, function: Function) -> Named:
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(function(model(images), labels), list(parameters.values()), allow_unused=True)
    return {name: each for name, each in zip(parameters, found, strict=True) if each is not None}


def _one_by_one(model: nn.Module, images: Tensor, labels: Tensor, function: Function, power: Power) -> Named:
    """For every net, by a backward pass per sample."""
    total: Named = {}
    for one in zip(torch.split(images, 1), torch.split(labels, 1), strict=True):
        for name, each in _gradients(model, *one, function).items():
            _add(total, {name: power(each)})  # of one parameter at a time, for the sake of memory
    return total


class UnsupportedError(Exception):
    """A net whose samples' gradients are not found at once."""


def _at_once(model: nn.Module, images: Tensor, labels: Tensor, function: Function, power: Power) -> Named:
    """For nets of linear layers, convolutions, and batch normalisation in eval mode, by one backward pass.

    The trick: from the gradient at a layer's output, and its input, every sample's own gradient is an outer product,
    whose power is summed on the spot; the weights' ordinary gradients are never made.

    Raises:
        UnsupportedError: a layer ran twice, or is of a variant that is not known here.
    """
    found = _Sums(power, _room(model))
    pixels = images.detach().requires_grad_()
    with _watching(model, found.note):
        torch.autograd.grad(function(model(pixels), labels), pixels)
    return found.total


def _trusted(model: nn.Module, images: Tensor, labels: Tensor) -> bool:
    """Whether two samples at once give what they give one by one: what a net computes between its layers, and what
    parameters it has elsewhere, cannot be seen from the layers.

    In float64: in float32 rounding switches a ReLU here and there, half a per cent of a gradient on photographs.
    """
    few = copy.deepcopy(model).double(), images[:2].double(), labels[:2], _loss, torch.square
    try:
        slow, fast = _one_by_one(*few), _at_once(*few)  # in this order, for the sake of memory
    except (UnsupportedError, RuntimeError):  # the latter: a net that is tied to float32
        return False
    return fast.keys() == slow.keys() and all(_alike(fast[name], slow[name]) for name in slow)


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, reduction="sum")


def _alike(fast: Tensor, slow: Tensor) -> bool:
    """Up to rounding: to half of the digits."""
    return bool((fast - slow).norm() <= torch.finfo(slow.dtype).eps ** 0.5 * slow.norm())


def _room(model: nn.Module) -> int:
    return max(FEWEST, sum(p.numel() for p in model.parameters()))


@torch.no_grad()
def _fitting(model: nn.Module, images: Tensor) -> int:
    """As many samples as have room with the inputs of all layers, which wait for the backward pass."""
    sizes: list[int] = []
    with _watching(model, lambda _name, _layer, taken, _output: sizes.append(taken.numel())):
        model(images[:1])
    return max(1, _room(model) // max(1, sum(sizes)))


Note = Callable[[str, nn.Module, Tensor, Tensor], None]  # layer's name, layer, its input, its output


@contextmanager
def _watching(model: nn.Module, note: Note) -> Iterator[None]:
    """Calls `note` whenever one of the known layers has run."""
    hooks = [
        layer.register_forward_hook(lambda layer, inputs, output, name=name: note(name, layer, inputs[0], output))
        for name, layer in model.named_modules()
        if isinstance(layer, KINDS)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@dataclass
class _Sums:
    """Sums up as the gradient passes backwards."""

    power: Power
    room: int
    total: Named = field(default_factory=dict)
    ran: set[str] = field(default_factory=set)

    def note(self, name: str, layer: nn.Module, taken: Tensor, output: Tensor) -> None:
        """Wait for the gradient at the output of a layer."""
        taken = taken.detach()

        @torch.no_grad()
        def backward(gradient: Tensor) -> None:
            if name in self.ran:
                raise UnsupportedError(name)
            self.ran.add(name)
            self._add(name, layer, taken, gradient)

        output.register_hook(backward)  # type: ignore[no-untyped-call]

    def _add(self, name: str, layer: nn.Module, taken: Tensor, gradient: Tensor) -> None:
        for own, parameter in layer.named_parameters(recurse=False):
            if parameter.requires_grad:
                made = self._weight(layer, taken, gradient) if own == "weight" else self._bias(layer, gradient)
                self.total[f"{name}.{own}".removeprefix(".")] = made.view_as(parameter)

    def _bias(self, layer: nn.Module, gradient: Tensor) -> Tensor:
        return self.power(_positions(layer, gradient).sum(2)).sum(0)

    def _weight(self, layer: nn.Module, taken: Tensor, gradient: Tensor) -> Tensor:
        if isinstance(layer, NORM):
            return self.power((_positions(layer, gradient) * _normalised(layer, taken)).sum(2)).sum(0)
        total = torch.zeros_like(layer.weight).flatten(1)  # type: ignore[arg-type]
        size = self._fit(total.shape[1] * math.prod(gradient.shape[2:]), len(taken), taken)
        for part, g in zip(torch.split(taken, size), torch.split(_positions(layer, gradient), size), strict=True):
            self._products(_columns(layer, part), g, total)
        return total

    def _products(self, a: Tensor, g: Tensor, total: Tensor) -> None:
        """Add to [o, i], from inputs [n, i, positions] and gradients [n, o, positions], of which each sample's own
        gradient is the sum of outer products over positions."""
        positions = a.shape[2]
        if positions == 1:
            total += self.power(g[:, :, 0]).t() @ self.power(a[:, :, 0])
        elif self.power is torch.square and positions <= PAIRS:
            for p in range(positions):
                for q in range(p + 1):
                    pair = (g[:, :, p] * g[:, :, q]).t(), a[:, :, p] * a[:, :, q]
                    total.addmm_(*pair, alpha=1 if p == q else 2)
        else:
            rows = self._fit(len(a) * a.shape[1], g.shape[1], a)
            for part, own in zip(torch.split(total, rows), torch.split(g, rows, dim=1), strict=True):
                made = torch.bmm(own, a.transpose(1, 2))
                part.add_(self.power(made, out=made).sum(0))

    def _fit(self, numbers: int, most: int, where: Tensor) -> int:
        """How many times so many numbers stay in the cache, or on a GPU have room; 1 at least and `most` at most."""
        return min(most, max(1, (self.room if where.is_cuda else CACHED) // numbers))


def _positions(layer: nn.Module, tensor: Tensor) -> Tensor:
    """A layer's output, or what has its shape, as [n, channels, positions]."""
    if isinstance(layer, nn.Linear):
        return tensor.reshape(len(tensor), -1, tensor.shape[-1]).transpose(1, 2)
    return tensor.flatten(2) if tensor.ndim > 2 else tensor[:, :, None]


def _columns(layer: nn.Module, taken: Tensor) -> Tensor:
    """What each position of a layer's output looks at: [n, inputs, positions]."""
    if not isinstance(layer, nn.Conv2d):
        return _positions(layer, taken)
    if layer.groups > 1 or layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise UnsupportedError("groups, or padding by another rule")
    return F.unfold(taken, layer.kernel_size, layer.dilation, layer.padding, layer.stride)


def _normalised(layer: NORM, taken: Tensor) -> Tensor:
    """What batch normalisation multiplies by its weight: [n, channels, positions]."""
    if layer.running_mean is None or layer.running_var is None:
        raise UnsupportedError("statistics of the batch")
    mean, scale = layer.running_mean[:, None], (layer.running_var + layer.eps).rsqrt()[:, None]
    return (_positions(layer, taken) - mean) * scale
