"""Sums over the gradients of single samples, computed from one backward pass over many samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unlearn.core.memory import MicroBatches, free_float32_count, is_out_of_memory
from unlearn.functional.power_sums import (
    NamedTensors,
    Power,
    PowerSums,
    get_sum,
    on_forward,
    round_down_to_power_of_two,
)

Batches = Iterable[tuple[Tensor, Tensor]]  # images [b, c, h, w] and labels int64 [b]
Function = Callable[[Tensor, Tensor], Tensor]  # maps logits [b, C] and labels to a sum of one number per sample

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

    def work(images: Tensor, labels: Tensor) -> None:
        _backward(model, function(model(images), labels))

    with _on_gradients(model, lambda name, gradient: get_sum(total, name, gradient).add_(gradient)):
        for batch in batches:
            n += len(batch[1])
            _accumulate(work, batch, micro_batches, total, draws)
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
    with _on_gradients(model, lambda name, gradient: get_sum(total, name, gradient).add_(power(gradient))):
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
    with on_forward(model, PowerSums(power, room or _room(model), total).hook):
        torch.autograd.grad(function(model(pixels), labels), pixels)


def _is_batchable(model: nn.Module, images: Tensor) -> bool:
    """Whether one pass over two samples gives the same gradients as one pass per sample.

    The layers alone do not show this: a net may compute something between its layers, or have parameters elsewhere.

    The two gradients of the last sample's logits are compared within one pass: from pass to pass rounding switches a
    few ReLUs, which changes a gradient on photographs by half a per cent. The logits are compared with those of each
    sample alone.
    """
    pixels = images[:2].detach().requires_grad_()
    batched = PowerSums(torch.square, _room(model))
    is_equal: list[bool] = []

    def compare(name: str, gradient: Tensor) -> None:
        is_equal.append(name in batched.total and _is_close(batched.total.pop(name), gradient.square()))

    try:
        with on_forward(model, batched.hook):
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
    with on_forward(model, lambda _name, _layer, inputs, _output: sizes.append(inputs[0].numel())):
        model(images[:1])
    count = max(1, room // max(1, sum(sizes)))
    return round_down_to_power_of_two(count) if _on_gpu(images) else count
