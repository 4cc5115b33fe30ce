"""Read and write tensors and JSON in an artifact's folder, without pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from unlearn.core.artifact_store import Entry
from unlearn.core.errors import StoreError
from unlearn.core.types import Predictions


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file, with metadata if there is some; tensors are copied to the CPU.

    Raises:
        OSError: the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        # Clone each: the format refuses tensors that share memory, as those of a user-supplied net may.
        clones = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        save_file(clones, path, metadata)
    except SafetensorError as error:
        raise OSError(str(error)) from error


def read_tensors(entry: Entry, name: str) -> dict[str, Tensor]:
    """Read a safetensors file of an artifact, onto the CPU.

    Raises:
        StoreError: the file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = entry.file(name)
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise StoreError(f"paths.store: expected tensors in {path}, got other content: {error}") from error
    return tensors


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON; NaN raises ValueError."""
    path.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write logits, labels and data set index to one file."""
    write_tensors(path, vars(predictions))


def read_predictions(entry: Entry) -> Predictions:
    """Read what `write_predictions` wrote."""
    return Predictions(**read_tensors(entry, "predictions.safetensors"))
