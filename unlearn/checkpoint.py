"""A checkpoint that somebody else wrote: read without running what it may hold, and fitted to a net."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from unlearn.errors import DataError, first_line

PICKLED = (".pt", ".pth", ".ckpt", ".bin")
NESTED = ("state_dict", "model_state_dict", "model")  # Lightning's and two common names of what holds the weights
PREFIXES = ("module.", "model.", "net.", "_orig_mod.")  # of what was wrapped around a net: data parallel, Lightning, …
COUNTER = "num_batches_tracked"  # of batch normalisation; files from before torch 0.4.1 lack it
SHOWN = 3  # differences named in an error


def read_state(path: Path) -> dict[str, Tensor]:
    """All tensors of a state dict by name, on the CPU: from safetensors, or from torch's files without their code.

    The state dict may be the file's whole content, or lie in it under one of `NESTED`.

    Raises:
        DataError: the file is missing, of another kind or damaged, or holds code, no tensors, or weights not finite.
    """
    payload = _read(path)
    inner = next((payload[name] for name in NESTED if isinstance(payload.get(name), Mapping)), payload)
    state = {str(name): item.detach() for name, item in inner.items() if isinstance(item, Tensor)}
    if not state:
        raise _error(
            "a state dict", path, f"one that holds no tensors, only {', '.join(map(str, [*inner][:8])) or 'nothing'}"
        )
    for name, tensor in state.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            raise _error("dense tensors", path, f"another kind in {name}")
        if not tensor.isfinite().all():
            raise _error("finite weights", path, f"others in {name}")
    return state


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal; read once per process while size and time of change stay.

    Raises:
        DataError: there is no such file.
    """
    _refuse_missing(path)
    stat = path.stat()
    return _sha256(path.resolve(), stat.st_size, stat.st_mtime_ns)


def fit(state: Mapping[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """The same weights as `net.load_state_dict` takes them: named and typed as the net's.

    Prefixes that all names share are dropped where that helps; missing counters of batch normalisation are taken
    from the net.

    Raises:
        DataError: names or shapes differ; the message gives the first of them.
    """
    wanted = net.state_dict()
    found = min(_unwrapped(state), key=lambda names: len(names.keys() ^ wanted.keys()))
    found = {name: wanted[name] for name in wanted if name.rpartition(".")[2] == COUNTER} | found
    differences = list(_differences(found, wanted))
    if differences:
        more = f" and {len(differences) - SHOWN} others" if len(differences) > SHOWN else ""
        shown = ", ".join(differences[:SHOWN]) + more
        raise DataError(f"checkpoint: expected the tensors of this net, came {shown}{_hint(found, wanted)}")
    for name, tensor in found.items():  # in place: the net's dict also carries the versions that some nets ask for
        if tensor is not wanted[name]:
            wanted[name] = _cast(name, tensor, wanted[name])
    return wanted


def _cast(name: str, tensor: Tensor, like: Tensor) -> Tensor:
    same_kind = tensor.is_floating_point() == like.is_floating_point() and not tensor.is_complex()
    cast = tensor.to(like.dtype) if same_kind else tensor
    if not same_kind or not cast.isfinite().all():
        raise DataError(f"checkpoint: expected {name} as finite {like.dtype}, came {tensor.dtype} that is not")
    return cast.to(like.device)


def _read(path: Path) -> Mapping[Any, Any]:
    _refuse_missing(path)
    suffix = path.suffix.lower()
    if suffix not in (".safetensors", *PICKLED):
        raise _error(f"a file that ends in .safetensors, {', '.join(PICKLED)}", path, f"one that ends in {suffix!r}")
    try:
        payload = _from_safetensors(path) if suffix == ".safetensors" else load_weights_only(path)
    except PermissionError as error:
        raise _error("a readable file", path, str(error)) from error
    except Exception as error:  # the readers raise whatever a damaged file leads them to
        if _holds_objects(error):
            raise _objects(path, error) from error
        raise _error("a whole file", path, f"a damaged one ({type(error).__name__}: {first_line(error)})") from error
    if not isinstance(payload, Mapping):
        raise _error("a state dict", path, f"a {type(payload).__name__}")
    return payload


def _from_safetensors(path: Path) -> Any:
    from safetensors.torch import load_file

    return load_file(path)


def load_weights_only(file: Path | BinaryIO) -> Any:
    """What `torch.save` wrote, on the CPU, without running code that the file may hold.

    Raises:
        Exception: whatever torch raises for a file that is damaged or holds objects.
    """
    # The one place that opens a user's file with it: weights_only builds tensors and plain containers, nothing else.
    return torch.load(file, weights_only=True, map_location="cpu")  # noqa: TID251


def _holds_objects(error: Exception) -> bool:
    """Whether `weights_only` refused what the file holds, rather than stumbled over its bytes."""
    text = str(error)
    return "TorchScript" in text or ("Weights only load failed" in text and "Unsupported operand" not in text)


def _objects(path: Path, error: Exception) -> DataError:
    named = re.search(r"GLOBAL (\w+(?:\.\w+)*)", str(error))
    what = named[1] if named else "a TorchScript program" if "TorchScript" in str(error) else "of another kind"
    return _error(
        "tensors alone",
        path,
        f"objects or code ({what}), which is not run; save torch.save(net.state_dict(), file) where it was made",
    )


def _refuse_missing(path: Path) -> None:
    if not path.is_file():
        raise _error("a file", path, "a folder" if path.is_dir() else "none there")


def _error(expected: str, path: Path, came: str) -> DataError:
    return DataError(f"checkpoint: expected {expected} in {path}, came {came}")


@lru_cache(maxsize=16)
def _sha256(path: Path, size: int, changed: int) -> str:
    del size, changed  # they tell one content of the file from the next
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unwrapped(state: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The state dict, then the same without the prefixes that all names share, one after the other."""
    found: dict[str, Tensor] | None = dict(state)
    while found:
        yield found
        shared = [prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in found)]
        found = {name.removeprefix(shared[0]): tensor for name, tensor in found.items()} if shared else None


def _differences(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Iterator[str]:
    for name, tensor in wanted.items():
        if name not in found:
            yield f"no {name}"
        elif found[name].shape != tensor.shape:
            yield f"{name} {list(found[name].shape)} instead of {list(tensor.shape)}"
    for name in found:
        if name not in wanted:
            yield f"the unexpected {name}"


def _hint(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """A word on a head for other classes: one layer, which differs in its number of outputs and in nothing else."""
    shapes = {name: (found[name].shape, tensor.shape) for name, tensor in wanted.items() if name in found}
    unequal = {name: (came, own) for name, (came, own) in shapes.items() if came != own}
    layers = {name.rpartition(".")[0] for name in unequal}
    outputs_alone = all(len(came) == len(own) and came[1:] == own[1:] for came, own in unequal.values())
    if len(layers) != 1 or found.keys() != wanted.keys() or not outputs_alone:
        return ""
    came, own = next(iter(unequal.values()))
    return f"; the checkpoint has {came[0]} classes, the data set {own[0]}"
