"""Export the weights of a model from the store, for use without this project."""

from __future__ import annotations

import json
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from unlearn.core.artifact_store import Entry
from unlearn.core.errors import ConfigError, DataError, Problem
from unlearn.core.types import Role
from unlearn.models.checkpoints.exported import ENTRY
from unlearn.stages.files import read_tensors, write_tensors
from unlearn.stages.lineage import incoming_names, lineage_of

NET = "net."  # before the names of the net in our files; the rest are the buffers `mean` and `std`
FORMATS = (".safetensors", ".pt")  # by the suffix of the file


def export_weights(entry: Entry, path: Path, role: Role, original: Entry | None = None) -> Path:
    """Write the weights of a model under the names and dtypes of the imported checkpoint, or else of the net.

    `net.load_state_dict(...)` reads the file with `strict=True`. The net does not normalise: give it
    `(images - mean) / std`, with the `mean` and `std` of each channel in the file's metadata. The metadata also holds
    the role and key of the model and, if it has forgotten records, how many, in how many requests and seconds, so that
    `checkpoint=FILE` can go on from there. No record is named.

    Args:
        entry: the artifact of the model.
        path: the file, `.safetensors` or `.pt` (a state dict of `torch.save`); it is replaced in one step.
        role: the role of the model.
        original: the artifact of the run's original, whose names a retrained model takes; None: the model's own.

    Returns:
        The path.

    Raises:
        ConfigError: the path has another suffix.
        DataError: the incoming dtype cannot hold a weight.
        StoreError: the artifact is damaged.
        OSError: the file cannot be written.
    """
    if path.suffix not in FORMATS:
        raise ConfigError([Problem("export", f"a file that ends with {' or '.join(FORMATS)}", str(path))])
    tensors = read_tensors(entry, "model.safetensors")
    weights = _rename(tensors, incoming_names(original or entry))
    metadata = {name: json.dumps(tensors[name].flatten().tolist()) for name in ("mean", "std")}
    lineage = lineage_of(entry)
    stated = {} if lineage is None else {name: "" if v is None else str(v) for name, v in lineage.plain.items()}
    metadata |= {"role": str(role), "key": entry.key} | stated
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex}{path.suffix}")
    try:
        _write(temporary, weights, metadata)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _rename(tensors: Mapping[str, Tensor], names: Mapping[str, tuple[str, str]]) -> dict[str, Tensor]:
    """Return the tensors of the net as the incoming checkpoint had them; what it lacked (old counters) is left out."""
    net = {name.removeprefix(NET): tensor for name, tensor in tensors.items() if name.startswith(NET)}
    if not names:
        return net
    return {there: _cast(there, net[name], dtype) for name, (there, dtype) in names.items()}


def _cast(name: str, tensor: Tensor, dtype: str) -> Tensor:
    cast = tensor.to(getattr(torch, dtype))
    if not cast.isfinite().all():
        raise DataError(
            f"export: expected {name} in the range of {dtype}, its type in the checkpoint, got a larger one"
        )
    return cast


def _write(path: Path, weights: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    if path.suffix == ".pt":
        state = OrderedDict(weights)
        state._metadata = OrderedDict({ENTRY: metadata})  # type: ignore[attr-defined]  # as `state_dict()` has it
        torch.save(state, path)
        return
    write_tensors(path, weights, {"format": "pt"} | metadata)
