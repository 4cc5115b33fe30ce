"""Sums over the gradients of single samples, computed from one backward pass over many samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

from unlearn.core.memory import MicroBatches, free_float32_count, is_out_of_memory

Batches = Iterable[tuple[Tensor, Tensor]]  # images [b, c, h, w] and labels int64 [b]
Function = Callable[[Tensor, Tensor], Tensor]  # maps logits [b, C] and labels to a sum of one number per sample
Power = Callable[..., Tensor]  # torch.abs or torch.square
NamedTensors = dict[str, Tensor]  # by parameter name, in its shape, without parameters that no output depends on

NORM = nn.modules.batchnorm._BatchNorm
MAX_PAIRED_POSITIONS = 4  # with more positions, the products of all pairs cost more than the gradients themselves
CACHE_ENTRIES = 1 << 17  # numbers that stay in a CPU's cache between a write and the next read
MIN_BATCHED = 24  # with fewer samples the check of the net costs what batching gains (scripts/bench/importance.py)
MIN_ROOM = 1 << 20  # numbers that even a small net may hold in addition to itself
MAX_ROOM = 1 << 30  # numbers held at a time on a GPU: some kernels count in 32 bits
FREE_PER_ROOM = 8  # a GPU's free memory over what is held at a time: autograd and results take several times as much


def sum_gradients(
    model: nn.Module, batches: Batches, function: Function, draws: torch.Generator | None = None
) -> tuple[NamedTensors, int]:
    """Sum dF/dw over samples.

    Args:
        model: in eval mode.
        batches: images [b, c, h, w] and labels int64 [b].
        function: F, summed over a batch.
        draws: the generator that `function` draws from, if any.

    Returns:
        The sums by parameter name, and the number of samples.
    """
    total: NamedTensors = {}
    n, micro_batches = 0, MicroBatches()
    with _on_gradients(model, lambda name, gradient: _get_sum(total, name, gradient).add_(gradient)):
        for batch in batches:
            n += len(batch[1])
            _accumulate(
                lambda images, labels: _backward(model, function(model(images), labels)),
                batch,
                micro_batches,
                total,
                draws,
            )
    return total, n


def sum_powers(
    model: nn.Module, batches: Batches, function: Function, power: Power, draws: torch.Generator | None = None
) -> tuple[NamedTensors, int]:
    """Sum power(dF/dw) over samples; the size of the batches affects only rounding.

    Many samples are processed in one pass where `_is_batchable` finds that this is correct for the net, otherwise one
    by one. On a GPU a pass takes as many samples as the free memory allows.

    Args:
        model: in eval mode.
        batches: images [b, c, h, w] and labels int64 [b].
        function: F, summed over a batch.
        power: torch.abs or torch.square, applied to each sample's gradient.
        draws: the generator that `function` draws from, if any.

    Returns:
        The sums by parameter name, and the number of samples.
    """
    total: NamedTensors = {}
    n, add_powers, micro_batches = 0, _add_powers_one_by_one, MicroBatches()
    for images, labels in batches:
        if n == 0 and len(images) >= MIN_BATCHED and _is_batchable(model, images):
            room = _room(model)
            add_powers = partial(_add_powers_batched, room=room)
            micro_batches = MicroBatches(_samples_that_fit(model, images, room))
        n += len(labels)
        work = partial(add_powers, model, function=function, power=power, total=total)
        _accumulate(work, (images, labels), micro_batches, total, draws)
    return total, n


def _accumulate(
    work: Callable[[Tensor, Tensor], None],
    batch: tuple[Tensor, Tensor],
    micro_batches: MicroBatches,
    total: NamedTensors,
    draws: torch.Generator | None,
) -> None:
    """Let `work` add a batch to `total`, in micro-batches once memory has run out."""
    snapshot = _Snapshot.take(total, draws)

    def undo() -> bool:
        return snapshot.restore(total, draws)

    for _ in micro_batches.map(work, *batch, undo=undo):
        snapshot = _Snapshot.take(total, draws)


class _Snapshot(NamedTuple):
    """The state of the sums before a micro-batch; with copies on a GPU, where memory can run out half way."""

    versions: dict[str, int]  # how often each sum has changed
    sums: NamedTensors | None
    generator_state: Tensor | None

    @classmethod
    def take(cls, total: NamedTensors, draws: torch.Generator | None) -> _Snapshot:
        """Record the current state."""
        on_gpu = any(_on_gpu(tensor) for tensor in total.values())
        copies = {name: tensor.clone() for name, tensor in total.items()} if on_gpu else None
        return cls(_versions(total), copies, None if draws is None else draws.get_state())

    def restore(self, total: NamedTensors, draws: torch.Generator | None) -> bool:
        """Restore the recorded state; returns False if sums have changed of which there is no copy."""
        if draws is not None and self.generator_state is not None:
            draws.set_state(self.generator_state)
        if not self.versions:  # it was the first micro-batch
            total.clear()
        elif self.sums is None:
            return _versions(total) == self.versions
        else:
            total.clear()
            total.update({name: tensor.clone() for name, tensor in self.sums.items()})
        return True


def _versions(total: NamedTensors) -> dict[str, int]:
    return {name: tensor._version for name, tensor in total.items()}


def _get_sum(total: NamedTensors, name: str, like: Tensor) -> Tensor:
    """The running sum of a parameter; starts with zeros in the shape of `like`."""
    if name not in total:
        total[name] = torch.zeros(like.shape, dtype=like.dtype, device=like.device)
    return total[name]


def _on_gradients(model: nn.Module, callback: Callable[[str, Tensor], object]) -> ExitStack:
    """Call `callback` with the name and gradient of each parameter as soon as the gradient is computed.

    Autograd then keeps one expanded zero in place of the gradient, so that never all gradients are held together.
    """

    def hook(name: str, gradient: Tensor | None) -> Tensor | None:
        if gradient is None:  # a custom autograd function need not return a gradient
            return None
        callback(name, gradient)
        return gradient.new_zeros(()).expand_as(gradient)

    hooks = ExitStack()
    for name, p in model.named_parameters():
        if p.requires_grad:
            hooks.enter_context(p.register_hook(partial(hook, name)))  # type: ignore[no-untyped-call]
    return hooks


def _backward(model: nn.Module, value: Tensor) -> None:
    parameters = [p for p in model.parameters() if p.requires_grad]
    torch.autograd.grad(value, parameters, allow_unused=True)


def _add_powers_one_by_one(
    model: nn.Module, images: Tensor, labels: Tensor, function: Function, power: Power, total: NamedTensors
) -> None:
    """Add to `total` by one backward pass per sample; correct for every net."""
    with _on_gradients(model, lambda name, gradient: _get_sum(total, name, gradient).add_(power(gradient))):
        for image, label in zip(torch.split(images, 1), torch.split(labels, 1), strict=True):
            _backward(model, function(model(image), label))


def _add_powers_batched(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    function: Function,
    power: Power,
    total: NamedTensors,
    room: int | None = None,
) -> None:
    """Add to `total` by one backward pass over all samples.

    Correct for nets of linear layers, convolutions, and batch normalisation in eval mode. Method: each sample's own
    gradient is an outer product of a layer's input and the gradient at its output. Its power is summed at once; the
    ordinary gradients of the weights are never computed.
    """
    pixels = images.detach().requires_grad_()
    with _on_forward(model, _PowerSums(power, room or _room(model), total).hook):
        torch.autograd.grad(function(model(pixels), labels), pixels)


def _is_batchable(model: nn.Module, images: Tensor) -> bool:
    """Whether one pass over two samples gives the same gradients as one pass per sample.

    The layers alone do not show this: a net may compute something between its layers, or have parameters elsewhere.

    The two gradients of the last sample's logits are compared within one pass: from pass to pass rounding switches a
    few ReLUs, which changes a gradient on photographs by half a per cent. The logits are compared with those of each
    sample alone.
    """
    pixels = images[:2].detach().requires_grad_()
    batched = _PowerSums(torch.square, _room(model))
    is_equal: list[bool] = []

    def compare(name: str, gradient: Tensor) -> None:
        is_equal.append(name in batched.total and _is_close(batched.total.pop(name), gradient.square()))

    try:
        with _on_forward(model, batched.hook):
            logits = model(pixels)
        with _on_gradients(model, compare):
            _backward(model, (1 + logits[-1]).square().sum())  # a loss's gradient may be too small to be squared
        with torch.no_grad():
            single_logits = torch.cat([model(image) for image in torch.split(pixels, 1)])
    except (RuntimeError, IndexError) as error:
        if is_out_of_memory(error):  # which is no property of the net
            raise
        return False  # a layer ran twice, or got its input by name; or the net changes its images in place
    return all(is_equal) and not batched.total and _is_close(single_logits, logits)


def _is_close(tensor: Tensor, expected: Tensor) -> bool:
    """Equal to half of the digits; on a GPU to one per cent, as TF32 has three digits."""
    tolerance = 1e-2 if expected.is_cuda else torch.finfo(expected.dtype).eps ** 0.5
    return bool(torch.dist(tensor, expected) <= tolerance * expected.norm())


def _room(model: nn.Module) -> int:
    """How many numbers may be held at a time in addition to the net.

    On a GPU a fraction of the free memory. On a CPU half as many as the net has, since autograd keeps as many again;
    more would leave the caches.
    """
    parameters = list(model.parameters())
    if not _on_gpu(parameters[0]):
        return max(MIN_ROOM, sum(p.numel() for p in parameters)) // 2
    return min(MAX_ROOM, max(MIN_ROOM, free_float32_count(parameters[0].device) // FREE_PER_ROOM))


def _on_gpu(tensor: Tensor) -> bool:
    """Whether memory is limited and its free amount can be queried."""
    return tensor.is_cuda


@torch.no_grad()
def _samples_that_fit(model: nn.Module, images: Tensor, room: int) -> int:
    """How many samples fit in `room` with the inputs of all layers, which are kept for the backward pass.

    On a GPU a power of two: the memory that other work leaves free then hardly changes how sums are rounded.
    """
    sizes: list[int] = []
    with _on_forward(model, lambda _name, _layer, inputs, _output: sizes.append(inputs[0].numel())):
        model(images[:1])
    count = max(1, room // max(1, sum(sizes)))
    return _round_down_to_power_of_two(count) if _on_gpu(images) else count


def _round_down_to_power_of_two(number: int) -> int:
    return 1 << (number.bit_length() - 1)


ForwardHook = Callable[[str, nn.Module, tuple[Tensor, ...], Tensor], None]  # layer's name, layer, inputs, output


def _on_forward(model: nn.Module, hook: ForwardHook) -> ExitStack:
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


@dataclass
class _PowerSums:
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
                    total = _get_sum(self.total, f"{name}.{kind}".removeprefix("."), parameter)
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
            return _round_down_to_power_of_two(max(1, self.room // entries))
        return max(1, CACHE_ENTRIES // entries)


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
