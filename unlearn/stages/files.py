"""Tensors and JSON in an artefact's folder: no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from unlearn.core.artifact_store import Entry
from unlearn.core.errors import StoreError
from unlearn.core.types import Predictions


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """A safetensors file; tensors are copied to the CPU.

    Raises:
        OSError: it could not be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        # A copy each: the file format refuses weights that share memory, as a net of one's own may have them.
        save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, path)
    except SafetensorError as error:
        raise OSError(str(error)) from error


def read_tensors(entry: Entry, name: str) -> dict[str, Tensor]:
    """A safetensors file of an artefact, on the CPU.

    Raises:
        StoreError: the file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = entry.file(name)
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise StoreError(f"paths.store: expected tensors in {path}, got another content: {error}") from error
    return tensors


def write_json(path: Path, value: Any) -> None:
    """Readable JSON; NaN is refused."""
    path.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_predictions(path: Path, predictions: Predictions) -> None:
    """One file: logits, labels, index."""
    write_tensors(path, vars(predictions))


def read_predictions(entry: Entry) -> Predictions:
    """The inverse of `write_predictions`."""
    return Predictions(**read_tensors(entry, "predictions.safetensors"))
