"""A CUDA device that is simulated on a CPU: what would go wrong on a GPU goes wrong here, without one.

Tensors on it hold real numbers, computed by the CPU's kernels, and report `cuda:0`. As on CUDA, these raise: operations
on tensors of two devices, a CPU generator for a CUDA tensor, `.numpy()`, and operations without a deterministic kernel
where determinism is asked for. Copies that wait and synchronisations are counted by the line of `unlearn` that caused
them. It shows nothing of speed, memory, or the rounding of CUDA's kernels.

It stands on private parts of torch, so it is pinned to one version of it.

Example:
    >>> with simulated_cuda() as device:  # doctest: +SKIP
    ...     torch.ones(2).to("cuda").sum().item()
    >>> device.synchronisations  # doctest: +SKIP
    Counter({'outside: aten::_local_scalar_dense': 1})
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map

import unlearn

TORCH = "2.15.0"  # what it was written for, and what requirements.lock has
CUDA = torch.device("cuda:0")
PACKAGE = str(Path(unlearn.__file__).parent)
aten: Any = torch.ops.aten

TRANSFERS = {aten.copy_.default, aten._to_copy.default, aten.copy.default}
INDEXING = {
    *(aten.index.Tensor, aten._unsafe_index.Tensor, aten.index_put.default),
    *(aten.index_put_.default, aten._index_put_impl_.default),
}
WAITING = {  # the CPU must know what they found: a number, or how many
    *("aten::_local_scalar_dense", "aten::is_nonzero", "aten::equal", "aten::nonzero", "aten::masked_select"),
    *("aten::_unique2", "aten::unique_dim", "aten::unique_consecutive", "aten::bincount", "aten::repeat_interleave"),
}
NOT_DETERMINISTIC = (  # parts of the names of what raises on CUDA: see torch.use_deterministic_algorithms
    *("adaptive_avg_pool2d_backward", "adaptive_max_pool2d_backward", "avg_pool3d_backward", "max_unpool"),
    *("adaptive_avg_pool3d_backward", "max_pool3d_with_indices_backward", "fractional_max_pool2d_backward"),
    *("upsample_linear1d_backward", "upsample_bilinear2d_backward", "upsample_bicubic2d_backward"),
    *("upsample_trilinear3d_backward", "reflection_pad1d_backward", "reflection_pad2d_backward"),
    *("replication_pad2d_backward", "nll_loss2d", "histc", "grid_sampler_2d_backward", "_ctc_loss_backward"),
)


class Device:
    """The simulated device, and what the CPU did with it: counts by place and operation."""

    def __init__(self) -> None:
        self.copies: Counter[str] = Counter()  # between CPU and device, that the CPU waits for
        self.synchronisations: Counter[str] = Counter()  # the CPU waits until the device has a result
        self.operations: Counter[str] = Counter()

    def run(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Run one operation: refuse it, or count it, or both, and compute it on the CPU."""
        flat = list(tree_iter((args, kwargs)))
        name, wanted = func._schema.name, kwargs.get("device")
        on_device = [each for each in flat if isinstance(each, OnDevice)]
        if is_meta(wanted) and (on_device or _means_device(func, args)):
            wanted = CUDA  # torch reads it off a wrapper, which lies on the meta device underneath
            kwargs = {**kwargs, "device": CUDA}
        if on_device or is_cuda(wanted):
            refuse_cpu_generators(name, flat)
        if on_device:
            refuse_mixed_devices(func, args, flat)
            refuse_what_does_not_repeat(name)
            self.operations[name] += 1
            self._count_waiting(func, args)
        if func in TRANSFERS:
            self._count_copies(func, args, kwargs, wanted)
        computed = func(*tree_map(plain, args), **{key: plain_option(key, kwargs[key]) for key in kwargs})
        if func is aten._to_copy.default and any(computed is plain(each) for each in args):
            computed = computed.clone()
        stays = isinstance(args[0], OnDevice) if func in TRANSFERS else bool(on_device)
        known = {id(each.numbers): each for each in on_device}  # in-place operations give back what they got
        to_device = is_cuda(wanted) if wanted is not None else stays
        return tree_map(lambda each: wrapped(each, known, to_device), computed)

    def _count_waiting(self, func: Any, args: tuple[Any, ...]) -> None:
        name = func._schema.name
        if name in WAITING:
            self.synchronisations[f"{place()}: {name}"] += 1
        for index in args[1] if func in INDEXING else ():
            if isinstance(index, Tensor) and not isinstance(index, OnDevice):
                self.copies[f"{place()}: index from the CPU"] += 1
            elif isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8):
                self.synchronisations[f"{place()}: index by a mask"] += 1

    def _count_copies(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], wanted: Any) -> None:
        target, source = (args[0], args[1]) if func is not aten._to_copy.default else (None, args[0])
        from_device = isinstance(source, OnDevice)
        to_device = isinstance(target, OnDevice) if target is not None else is_cuda(wanted or CUDA) and from_device
        to_device = to_device or is_cuda(wanted)
        if from_device and not to_device:
            self.synchronisations[f"{place()}: copy to the CPU"] += 1
        asynchronous = kwargs.get("non_blocking") or (func is aten.copy_.default and len(args) > 2 and args[2])
        if to_device and not from_device and not (asynchronous and getattr(source, "pinned", False)):
            self.copies[f"{place()}: copy to the device"] += 1


def _means_device(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether the meta device stands for ours, where no tensor tells: as the target of a copy from the CPU, in a
    backward pass, or for a number that goes with a tensor. Nets whose shapes alone are wanted are built under
    `torch.device("meta")`, which shows."""
    if torch._C._current_autograd_node() is not None or func is aten.scalar_tensor.default:
        return torch.get_default_device().type != "meta"
    return func is aten._to_copy.default and bool(args[0].is_cpu)


class OnDevice(Tensor):
    """A tensor on the simulated device: a wrapper around one on the CPU, `numbers`."""

    numbers: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, numbers: Tensor) -> OnDevice:
        wrapper: OnDevice = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            numbers.size(),
            strides=numbers.stride(),
            storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype,
            layout=numbers.layout,
            device="meta",
        )
        wrapper.numbers = numbers
        return wrapper

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return current().run(func, args, kwargs or {})

    device = property(lambda self: CUDA)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_cpu = property(lambda self: False)  # type: ignore[assignment]
    is_meta = property(lambda self: False)  # type: ignore[assignment]

    @property
    def data(self) -> Any:  # type: ignore[override]
        """Its numbers without a gradient; setting them copies."""
        return self.detach()

    @data.setter
    def data(self, value: Tensor) -> None:
        with torch.no_grad():
            self.copy_(value)

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """As `Tensor.to`: itself where nothing changes."""
        like = args[0] if args and isinstance(args[0], Tensor) else None
        wanted = kwargs.get("device", args[0] if args and isinstance(args[0], str | torch.device) else None)
        wanted = wanted if like is None else like.device
        dtype = kwargs.get("dtype", next((each for each in args if isinstance(each, torch.dtype)), None))
        dtype = dtype if like is None else like.dtype
        if wanted is not None and not is_cuda(wanted):
            return super().to(*args, **kwargs)
        layout = kwargs.get("memory_format")
        same_layout = layout in (None, torch.preserve_format) or self.is_contiguous(memory_format=layout)
        if dtype in (None, self.dtype) and not kwargs.get("copy") and same_layout:
            return self
        return super().to(dtype or self.dtype, copy=True, memory_format=layout or torch.preserve_format)

    def cuda(self, *_: Any, **__: Any) -> OnDevice:
        """It is there."""
        return self

    def get_device(self) -> int:
        """The only one."""
        return 0

    def pin_memory(self, *_: Any) -> Any:
        """Raises, as torch does."""
        raise RuntimeError(f"cannot pin '{self.type()}': only dense CPU tensors can be pinned")

    def tolist(self) -> Any:
        """Through the CPU."""
        return self.cpu().tolist()

    def numpy(self, *_: Any, **__: Any) -> Any:
        """Raises, as torch does."""
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")

    __array__ = numpy

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.numbers.detach().__reduce_ex__(protocol)

    def __repr__(self, **_: Any) -> str:
        return f"OnDevice({self.numbers})"


class _Mode(TorchDispatchMode):
    """Sees what is made on the device without any tensor of it: `torch.zeros(2, device="cuda")`."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return current().run(func, args, kwargs or {})


_current: list[Device] = []


def current() -> Device:
    """The device that is simulated now."""
    return _current[-1]


@contextmanager
def simulated_cuda() -> Iterator[Device]:
    """One CUDA device as long as this lasts; skips the test under another torch than it was written for.

    It shows in this thread alone.
    """
    if torch.__version__.partition("+")[0] != TORCH:
        pytest.skip(f"the simulated CUDA device was written for torch {TORCH}, here is {torch.__version__}")
    device = Device()
    torch._C._ensureCUDADeviceGuardSet()
    _current.append(device)
    with pytest.MonkeyPatch.context() as patched, torch.autograd.set_multithreading_enabled(False), _Mode():
        _pretend(patched)
        lifted, cudnn = torch._C._only_lift_cpu_tensors(), torch._C._get_cudnn_enabled()
        overwritten = torch.__future__.get_overwrite_module_params_on_conversion()
        torch._C._set_only_lift_cpu_tensors(True)
        torch._C._set_cudnn_enabled(False)
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        try:
            yield device
        finally:
            torch._C._set_only_lift_cpu_tensors(lifted)
            torch._C._set_cudnn_enabled(cudnn)
            torch.__future__.set_overwrite_module_params_on_conversion(overwritten)
            _current.pop()


def _pretend(patched: pytest.MonkeyPatch) -> None:
    """Let torch.cuda answer as with one device."""
    answers: dict[str, Callable[..., Any]] = {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_name": lambda *_: "simulated",
        "get_device_capability": lambda *_: (9, 0),
        "set_device": lambda *_: None,
        "synchronize": lambda *_: None,
        "empty_cache": lambda: None,
        "mem_get_info": lambda *_: (2**30, 2**31),
        "get_rng_state": lambda *_: torch.get_rng_state(),  # draws on the device are the CPU's
        "set_rng_state": lambda *_: None,
        "manual_seed": lambda _: None,
        "manual_seed_all": lambda _: None,
    }
    for name, answer in answers.items():
        patched.setattr(torch.cuda, name, answer)
    patched.setattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: None, raising=False)
    patched.setattr(Tensor, "pin_memory", _pinned)


def _pinned(tensor: Tensor, *_: Any) -> Tensor:
    copy = tensor.clone()
    copy.pinned = True  # type: ignore[attr-defined]
    return copy


def is_cuda(device: Any) -> bool:
    """Of anything that names a device, or None."""
    return device is not None and torch.device(device).type == "cuda"


def is_meta(device: Any) -> bool:
    """As `is_cuda`."""
    return device is not None and torch.device(device).type == "meta"


def plain(value: Any) -> Any:
    """The numbers of a tensor on the device; all else as it is."""
    return value.numbers if isinstance(value, OnDevice) else value


def plain_option(key: str, value: Any) -> Any:
    """A keyword of an operation, as the CPU takes it."""
    if key == "device" and is_cuda(value):
        return torch.device("cpu")
    return None if key == "pin_memory" else tree_map(plain, value)


def wrapped(value: Any, known: Mapping[int, OnDevice], to_device: bool) -> Any:
    """A result as a tensor of the device, if it is one."""
    if not isinstance(value, Tensor):
        return value
    if id(value) in known:
        return known[id(value)]
    return OnDevice(value) if to_device and not isinstance(value, OnDevice) else value


def refuse_cpu_generators(name: str, flat: Sequence[Any]) -> None:
    """Raises RuntimeError."""
    if any(isinstance(each, torch.Generator) and each.device.type == "cpu" for each in flat):
        raise RuntimeError(f"{name}: Expected a 'cuda' device type for generator but found 'cpu', at {place()}")


def refuse_mixed_devices(func: Any, args: tuple[Any, ...], flat: Sequence[Any]) -> None:
    """Raises RuntimeError; numbers without a dimension may come from the CPU, and so may indices."""
    if func in TRANSFERS:
        return
    if func in INDEXING:
        flat = [args[0], *args[2:]]
    tensors = [each for each in flat if isinstance(each, Tensor)]
    if func in INDEXING and not isinstance(args[0], OnDevice):
        raise RuntimeError(f"{func}: indices should be on the CPU as the indexed tensor is, at {place()}")
    if any(not isinstance(each, OnDevice) and each.dim() for each in tensors):
        raise RuntimeError(f"{func}: expected all tensors on the same device, got cuda:0 and cpu, at {place()}")


def refuse_what_does_not_repeat(name: str) -> None:
    """Raises RuntimeError in deterministic mode."""
    if torch.are_deterministic_algorithms_enabled() and any(part in name for part in NOT_DETERMINISTIC):
        raise RuntimeError(f"{name}_cuda does not have a deterministic implementation")


def place() -> str:
    """The innermost line of `unlearn` that is running, as `batch.py:40`."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.startswith(PACKAGE):
            return f"{frame.f_code.co_filename.removeprefix(PACKAGE)[1:]}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "outside"
