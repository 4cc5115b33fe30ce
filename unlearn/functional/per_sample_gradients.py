"""The gradients of every single sample, from one backward pass over many of them."""

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

from unlearn.core.memory import Pieces, free_numbers, is_out_of_memory

Batches = Iterable[tuple[Tensor, Tensor]]  # images [b, c, h, w] and labels int64 [b]
Function = Callable[[Tensor, Tensor], Tensor]  # of logits [b, C] and labels: a sum of one number per sample
Power = Callable[..., Tensor]  # torch.abs or torch.square
Named = dict[str, Tensor]  # by parameter name, in its shape; what no output depends on is left out

NORM = nn.modules.batchnorm._BatchNorm
PAIRS = 4  # positions up to which a square is cheaper by the products of its terms
CACHED = 1 << 17  # numbers that are written and read again at once
FEW = 24  # samples: of fewer, to ask whether it is right for the net costs what it gains (scripts/bench/importance.py)
FEWEST = 1 << 20  # numbers that a small net may hold at once beside itself
MOST = 1 << 30  # numbers at once on a GPU: some kernels count in 32 bits
ROOM = 8  # a GPU's free memory over what is held at once: autograd, and what is made of it, take several times as much


def gradients(
    model: nn.Module, batches: Batches, function: Function, draws: torch.Generator | None = None
) -> tuple[Named, int]:
    """The sum over samples of dF/dw, and how many they are; `function` may draw from `draws`."""
    total: Named = {}
    n, pieces = 0, Pieces()
    with _hearing(model, lambda name, gradient: _sum(total, name, gradient).add_(gradient)):
        for batch in batches:
            n += len(batch[1])
            _add_up(
                lambda images, labels: _backward(model, function(model(images), labels)), batch, pieces, total, draws
            )
    return total, n


def sums(
    model: nn.Module, batches: Batches, function: Function, power: Power, draws: torch.Generator | None = None
) -> tuple[Named, int]:
    """The sum over samples of power(dF/dw), and how many they are; how batches are cut changes rounding alone.

    Many samples at once where there are some and that is known to be right for the net (`_trusted`), else one by one.
    On a GPU as many as its free memory has room for. `function` may draw from `draws`.
    """
    total: Named = {}
    n, way, pieces = 0, _one_by_one, Pieces()
    for images, labels in batches:
        if n == 0 and len(images) >= FEW and _trusted(model, images):
            room = _room(model)
            way, pieces = partial(_at_once, room=room), Pieces(_fitting(model, images, room))
        n += len(labels)
        work = partial(way, model, function=function, power=power, total=total)
        _add_up(work, (images, labels), pieces, total, draws)
    return total, n


def _add_up(
    work: Callable[[Tensor, Tensor], None],
    batch: tuple[Tensor, Tensor],
    pieces: Pieces,
    total: Named,
    draws: torch.Generator | None,
) -> None:
    """Let `work` add each piece of a batch to `total`, in smaller pieces once memory has run out."""
    before = _Before.now(total, draws)

    def undo() -> bool:
        return before.put_back(total, draws)

    for _ in pieces.results(work, *batch, undo=undo):
        before = _Before.now(total, draws)


class _Before(NamedTuple):
    """Where the sums stood before a piece; on a GPU, where memory runs out in the middle of one, a copy of them."""

    changes: dict[str, int]  # how often each sum has changed
    sums: Named | None
    state: Tensor | None  # of the generator

    @classmethod
    def now(cls, total: Named, draws: torch.Generator | None) -> _Before:
        """Before the next piece."""
        on_gpu = any(_on_gpu(each) for each in total.values())
        kept = {name: each.clone() for name, each in total.items()} if on_gpu else None
        return cls(_changes(total), kept, None if draws is None else draws.get_state())

    def put_back(self, total: Named, draws: torch.Generator | None) -> bool:
        """Make a piece undone; False where it has changed sums that were not kept."""
        if draws is not None and self.state is not None:
            draws.set_state(self.state)
        if not self.changes:  # it was the first
            total.clear()
        elif self.sums is None:
            return _changes(total) == self.changes
        else:
            total.clear()
            total.update({name: each.clone() for name, each in self.sums.items()})
        return True


def _changes(total: Named) -> dict[str, int]:
    return {name: each._version for name, each in total.items()}


def _sum(total: Named, name: str, like: Tensor) -> Tensor:
    """The running sum of that name, which begins with zeros."""
    if name not in total:
        total[name] = torch.zeros(like.shape, dtype=like.dtype, device=like.device)
    return total[name]


def _hearing(model: nn.Module, hear: Callable[[str, Tensor], object]) -> ExitStack:
    """Calls `hear` with the gradient of each parameter as soon as it is made.

    What autograd keeps of it is one zero, expanded: never are all gradients there at once.
    """

    def heard(name: str, gradient: Tensor | None) -> Tensor | None:
        if gradient is None:  # a function of the net's own need not have one
            return None
        hear(name, gradient)
        return gradient.new_zeros(()).expand_as(gradient)

    hooks = ExitStack()
    for name, p in model.named_parameters():
        if p.requires_grad:
            hooks.enter_context(p.register_hook(partial(heard, name)))  # type: ignore[no-untyped-call]
    return hooks


def _backward(model: nn.Module, value: Tensor) -> None:
    parameters = [p for p in model.parameters() if p.requires_grad]
    torch.autograd.grad(value, parameters, allow_unused=True)


def _one_by_one(
    model: nn.Module, images: Tensor, labels: Tensor, function: Function, power: Power, total: Named
) -> None:
    """For every net, by a backward pass per sample."""
    with _hearing(model, lambda name, gradient: _sum(total, name, gradient).add_(power(gradient))):
        for image, label in zip(torch.split(images, 1), torch.split(labels, 1), strict=True):
            _backward(model, function(model(image), label))


def _at_once(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    function: Function,
    power: Power,
    total: Named,
    room: int | None = None,
) -> None:
    """For nets of linear layers, convolutions, and batch normalisation in eval mode, by one backward pass.

    The trick: from the gradient at a layer's output, and its input, every sample's own gradient is an outer product,
    whose power is summed on the spot; the weights' ordinary gradients are never made.
    """
    pixels = images.detach().requires_grad_()
    with _watching(model, _Sums(power, room or _room(model), total).note):
        torch.autograd.grad(function(model(pixels), labels), pixels)


def _trusted(model: nn.Module, images: Tensor) -> bool:
    """Whether two samples at once give what they give one by one: what a net computes between its layers, and what
    parameters it has elsewhere, cannot be seen from the layers.

    Each gradient of the last sample's logits is compared in the pass that makes it: from pass to pass rounding switches
    a ReLU here and there, half a per cent of a gradient on photographs. Logits are compared with those of each alone.
    """
    pixels = images[:2].detach().requires_grad_()
    fast = _Sums(torch.square, _room(model))
    same: list[bool] = []

    def compare(name: str, gradient: Tensor) -> None:
        same.append(name in fast.total and _alike(fast.total.pop(name), gradient.square()))

    try:
        with _watching(model, fast.note):
            logits = model(pixels)
        with _hearing(model, compare):
            _backward(model, (1 + logits[-1]).square().sum())  # a loss's gradient may be too small to be squared
        with torch.no_grad():
            alone = torch.cat([model(one) for one in torch.split(pixels, 1)])
    except (RuntimeError, IndexError) as error:
        if is_out_of_memory(error):  # which says nothing of the net
            raise
        return False  # a layer ran twice, or got its input by name; or the net changes its images
    return all(same) and not fast.total and _alike(alone, logits)


def _alike(fast: Tensor, slow: Tensor) -> bool:
    """Up to rounding: to half of the digits; on a GPU to a hundredth, as TF32 has three digits."""
    within = 1e-2 if slow.is_cuda else torch.finfo(slow.dtype).eps ** 0.5
    return bool(torch.dist(fast, slow) <= within * slow.norm())


def _room(model: nn.Module) -> int:
    """How many numbers are held at once beside the net.

    On a GPU a part of what is free. On a CPU half as many as the net has, as autograd keeps others: more would leave
    its caches.
    """
    parameters = list(model.parameters())
    if not _on_gpu(parameters[0]):
        return max(FEWEST, sum(p.numel() for p in parameters)) // 2
    return min(MOST, max(FEWEST, free_numbers(parameters[0].device) // ROOM))


def _on_gpu(tensor: Tensor) -> bool:
    """Whether memory may run out, and says how much of it is free."""
    return tensor.is_cuda


@torch.no_grad()
def _fitting(model: nn.Module, images: Tensor, room: int) -> int:
    """As many samples as have room with the inputs of all layers, which wait for the backward pass.

    On a GPU a power of two: what other work leaves free then hardly changes how sums are rounded.
    """
    sizes: list[int] = []
    with _watching(model, lambda _name, _layer, inputs, _output: sizes.append(inputs[0].numel())):
        model(images[:1])
    size = max(1, room // max(1, sum(sizes)))
    return _power_of_two(size) if _on_gpu(images) else size


def _power_of_two(number: int) -> int:
    """The largest up to `number`."""
    return 1 << (number.bit_length() - 1)


Note = Callable[[str, nn.Module, tuple[Tensor, ...], Tensor], None]  # layer's name, layer, its inputs, its output


def _watching(model: nn.Module, note: Note) -> ExitStack:
    """Calls `note` whenever one of the known layers has run."""
    hooks = ExitStack()
    for name, layer in model.named_modules():
        if _known(layer):
            hooks.enter_context(layer.register_forward_hook(partial(note, name)))
    return hooks


def _known(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        return layer.groups == 1 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return isinstance(layer, nn.Linear) or (isinstance(layer, NORM) and layer.running_mean is not None)


@dataclass
class _Sums:
    """Sums up as the gradient passes backwards."""

    power: Power
    room: int
    total: Named = field(default_factory=dict)
    ran: set[str] = field(default_factory=set)

    def note(self, name: str, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Wait for the gradient at the output of a layer.

        Raises:
            RuntimeError: the layer ran before.
        """
        if name in self.ran:
            raise RuntimeError(f"{name} ran twice")
        self.ran.add(name)
        taken = inputs[0].detach()

        @torch.no_grad()
        def backward(gradient: Tensor) -> None:
            for own, parameter in layer.named_parameters(recurse=False):
                if parameter.requires_grad:
                    add = self._weight if own == "weight" else self._bias
                    add(layer, taken, gradient, _sum(self.total, f"{name}.{own}".removeprefix("."), parameter))

        output.register_hook(backward)  # type: ignore[no-untyped-call]

    def _bias(self, layer: nn.Module, _taken: Tensor, gradient: Tensor, total: Tensor) -> None:
        self._add(_positions(layer, gradient).sum(2), total)

    def _weight(self, layer: nn.Module, taken: Tensor, gradient: Tensor, total: Tensor) -> None:
        if isinstance(layer, NORM):
            normalised = F.batch_norm(taken, layer.running_mean, layer.running_var, eps=layer.eps)
            self._add(_positions(layer, gradient * normalised).sum(2), total)
        elif isinstance(layer, nn.Conv2d) and _wide(layer, gradient):
            size = self._fit(total.numel(), taken)
            for part, g in zip(torch.split(taken, size), torch.split(gradient, size), strict=True):
                self._add(_kernels(layer, part, g), total)
        else:
            size = self._fit(total[0].numel() * math.prod(gradient.shape[2:]), taken)
            for part, g in zip(torch.split(taken, size), torch.split(_positions(layer, gradient), size), strict=True):
                self._products(_columns(layer, part), g, total.flatten(1))

    def _products(self, a: Tensor, g: Tensor, total: Tensor) -> None:
        """Add to [o, i], from inputs [n, i, positions] and gradients [n, o, positions], of which each sample's own
        gradient is the sum of outer products over positions."""
        positions = a.shape[2]
        if positions == 1:
            total.addmm_(self.power(g[:, :, 0]).t(), self.power(a[:, :, 0]))
        elif self.power is torch.square and positions <= PAIRS:
            for p in range(positions):
                for q in range(p + 1):
                    pair = (g[:, :, p] * g[:, :, q]).t(), a[:, :, p] * a[:, :, q]
                    total.addmm_(*pair, alpha=1 if p == q else 2)
        else:
            rows = self._fit(len(a) * a.shape[1], a)
            for part, own in zip(torch.split(total, rows), torch.split(g, rows, dim=1), strict=True):
                self._add(torch.bmm(own, a.transpose(1, 2)), part)

    def _add(self, made: Tensor, total: Tensor) -> None:
        """To a sum, the power of each sample's gradient [n, ...], which is overwritten."""
        made = self.power(made, out=made)
        total += made.sum(0) if len(made) > 1 else made[0]

    def _fit(self, numbers: int, where: Tensor) -> int:
        """How many times so many numbers stay in the cache, or on a GPU have room; 1 at least."""
        return _power_of_two(max(1, self.room // numbers)) if where.is_cuda else max(1, CACHED // numbers)


def _positions(layer: nn.Module, tensor: Tensor) -> Tensor:
    """A layer's output, or what has its shape, as [n, channels, positions]."""
    if isinstance(layer, nn.Linear):
        return tensor.reshape(len(tensor), -1, tensor.shape[-1]).transpose(1, 2)
    return tensor.flatten(2) if tensor.ndim > 2 else tensor[:, :, None]


def _columns(layer: nn.Module, taken: Tensor) -> Tensor:
    """What each position of a layer's output looks at: [n, inputs, positions]."""
    if isinstance(layer, nn.Conv2d):
        return F.unfold(taken, layer.kernel_size, layer.dilation, layer.padding, layer.stride)  # type: ignore[arg-type]
    return _positions(layer, taken)


def _wide(layer: nn.Conv2d, gradient: Tensor) -> bool:
    """Whether a convolution is faster than matrix products at making its samples' gradients (on CPUs, measured)."""
    return not gradient.is_cuda and gradient[0, 0].numel() >= layer.in_channels


def _kernels(layer: nn.Conv2d, taken: Tensor, gradient: Tensor) -> Tensor:
    """Each sample's own gradient of the weight [n, o, i, h, w]: that of one convolution in groups, a sample each."""
    n, (o, *kernel) = len(taken), layer.weight.shape
    taken, gradient = (tensor.reshape(1, -1, *tensor.shape[2:]) for tensor in (taken, gradient))
    form = (n * o, *kernel), gradient, layer.stride, layer.padding, layer.dilation, n
    made: Tensor = conv2d_weight(taken, *form)  # type: ignore[no-untyped-call]
    return made.view(n, o, *kernel)
