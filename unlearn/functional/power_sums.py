"""Sums of powers of per-sample gradients, layer by layer, while one backward pass over many samples runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

Power = Callable[..., Tensor]  # torch.abs or torch.square
NamedTensors = dict[str, Tensor]  # by parameter name, in its shape, without parameters that no output depends on
ForwardHook = Callable[[str, nn.Module, tuple[Tensor, ...], Tensor], None]  # layer's name, layer, inputs, output

NORM = nn.modules.batchnorm._BatchNorm
MAX_PAIRED_POSITIONS = 4  # with more positions, the products of all pairs cost more than the gradients themselves
CACHE_ENTRIES = 1 << 17  # numbers that stay in a CPU's cache between a write and the next read


@dataclass
class PowerSums:
    """Sums powers of per-sample gradients while the backward pass runs."""

    power: Power
    room: int
    total: NamedTensors = field(default_factory=dict)
    layers_run: set[str] = field(default_factory=set)

    def hook(self, name: str, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Forward hook that waits for the gradient at the output of a layer.

        Raises:
            RuntimeError: the layer ran before.
        """
        if name in self.layers_run:
            raise RuntimeError(f"{name} ran twice")
        self.layers_run.add(name)
        layer_input = inputs[0].detach()

        @torch.no_grad()
        def backward(gradient: Tensor) -> None:
            for kind, parameter in layer.named_parameters(recurse=False):
                if parameter.requires_grad:
                    add = self._add_weight if kind == "weight" else self._add_bias
                    total = get_sum(self.total, f"{name}.{kind}".removeprefix("."), parameter)
                    add(layer, layer_input, gradient, total)

        output.register_hook(backward)  # type: ignore[no-untyped-call]

    def _add_bias(self, layer: nn.Module, _input: Tensor, gradient: Tensor, total: Tensor) -> None:
        self._add(_flatten_positions(layer, gradient).sum(2), total)

    def _add_weight(self, layer: nn.Module, layer_input: Tensor, gradient: Tensor, total: Tensor) -> None:
        if isinstance(layer, NORM):
            normalised = F.batch_norm(layer_input, layer.running_mean, layer.running_var, eps=layer.eps)
            self._add(_flatten_positions(layer, gradient * normalised).sum(2), total)
        elif isinstance(layer, nn.Conv2d) and _prefers_grouped_convolution(layer, gradient):
            size = self._chunk_size(total.numel(), layer_input)
            for x, g in zip(torch.split(layer_input, size), torch.split(gradient, size), strict=True):
                self._add(_per_sample_kernel_gradients(layer, x, g), total)
        else:
            size = self._chunk_size(total[0].numel() * math.prod(gradient.shape[2:]), layer_input)
            gradients = torch.split(_flatten_positions(layer, gradient), size)
            for x, g in zip(torch.split(layer_input, size), gradients, strict=True):
                self._add_products(_unfold(layer, x), g, total.flatten(1))

    def _add_products(self, a: Tensor, g: Tensor, total: Tensor) -> None:
        """Add the powers of per-sample gradients to `total` [o, i].

        A sample's gradient is the sum over positions of the outer products of `g` [n, o, positions], the gradient at
        the output, and `a` [n, i, positions], the input.
        """
        positions = a.shape[2]
        if positions == 1:
            total.addmm_(self.power(g[:, :, 0]).t(), self.power(a[:, :, 0]))
        elif self.power is torch.square and positions <= MAX_PAIRED_POSITIONS:
            for p in range(positions):
                for q in range(p + 1):
                    pair = (g[:, :, p] * g[:, :, q]).t(), a[:, :, p] * a[:, :, q]
                    total.addmm_(*pair, alpha=1 if p == q else 2)
        else:
            rows = self._chunk_size(len(a) * a.shape[1], a)
            for total_rows, g_rows in zip(torch.split(total, rows), torch.split(g, rows, dim=1), strict=True):
                self._add(torch.bmm(g_rows, a.transpose(1, 2)), total_rows)

    def _add(self, gradients: Tensor, total: Tensor) -> None:
        """Add the powers of per-sample gradients [n, ...], which are overwritten, to `total`."""
        powers = self.power(gradients, out=gradients)
        total += powers.sum(0) if len(powers) > 1 else powers[0]

    def _chunk_size(self, entries: int, like: Tensor) -> int:
        """How many chunks of that many numbers fit in the CPU's cache or, on a GPU, in the room; at least 1."""
        if like.is_cuda:
            return round_down_to_power_of_two(max(1, self.room // entries))
        return max(1, CACHE_ENTRIES // entries)


def on_forward(model: nn.Module, hook: ForwardHook) -> ExitStack:
    """Call `hook` whenever a supported layer has run."""
    hooks = ExitStack()
    for name, layer in model.named_modules():
        if _is_supported(layer):
            hooks.enter_context(layer.register_forward_hook(partial(hook, name)))
    return hooks


def _is_supported(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        return layer.groups == 1 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return isinstance(layer, nn.Linear) or (isinstance(layer, NORM) and layer.running_mean is not None)


def get_sum(total: NamedTensors, name: str, like: Tensor) -> Tensor:
    """The running sum of a parameter; starts with zeros in the shape of `like`."""
    if name not in total:
        total[name] = torch.zeros(like.shape, dtype=like.dtype, device=like.device)
    return total[name]


def round_down_to_power_of_two(number: int) -> int:
    """Return the largest power of two that is at most `number`."""
    return 1 << (number.bit_length() - 1)


def _flatten_positions(layer: nn.Module, tensor: Tensor) -> Tensor:
    """A tensor in the shape of a layer's output, as [n, channels, positions]."""
    if isinstance(layer, nn.Linear):
        return tensor.reshape(len(tensor), -1, tensor.shape[-1]).transpose(1, 2)
    return tensor.flatten(2) if tensor.ndim > 2 else tensor[:, :, None]


def _unfold(layer: nn.Module, layer_input: Tensor) -> Tensor:
    """The part of a layer's input that each position of its output depends on: [n, inputs, positions]."""
    if isinstance(layer, nn.Conv2d):
        return F.unfold(layer_input, layer.kernel_size, layer.dilation, layer.padding, layer.stride)  # type: ignore[arg-type]
    return _flatten_positions(layer, layer_input)


def _prefers_grouped_convolution(layer: nn.Conv2d, gradient: Tensor) -> bool:
    """Whether per-sample gradients are faster by a grouped convolution than by matrix products (measured on CPUs)."""
    return not gradient.is_cuda and gradient[0, 0].numel() >= layer.in_channels


def _per_sample_kernel_gradients(layer: nn.Conv2d, layer_input: Tensor, gradient: Tensor) -> Tensor:
    """Gradient of the weight for each sample [n, o, i, h, w], by one convolution with a group per sample."""
    n, (o, *kernel) = len(layer_input), layer.weight.shape
    layer_input, gradient = (tensor.reshape(1, -1, *tensor.shape[2:]) for tensor in (layer_input, gradient))
    arguments = (n * o, *kernel), gradient, layer.stride, layer.padding, layer.dilation, n
    gradients: Tensor = conv2d_weight(layer_input, *arguments)  # type: ignore[no-untyped-call]
    return gradients.view(n, o, *kernel)
