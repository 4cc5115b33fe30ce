"""The metadata of weights that this project exports."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from unlearn.core.errors import DataError
from unlearn.models.checkpoints.containers import read_content
from unlearn.models.checkpoints.content import Kind, detect_kind
from unlearn.models.checkpoints.unpickle import Instance

ENTRY = "unlearn"  # of the `_metadata` of a state dict, where torch keeps the versions of modules


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of exported weights: of safetensors, or of a state dict of torch.

    Returns:
        Texts by name; empty for a file without metadata, or of another kind.
    """
    try:
        kind = detect_kind(path)
        metadata = _of_safetensors(path) if kind is Kind.SAFETENSORS else _of_state_dict(path)
    except (DataError, OSError):
        return {}
    return {str(name): value for name, value in metadata.items() if isinstance(value, str)}


def _of_safetensors(path: Path) -> Mapping[str, object]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except SafetensorError:
        return {}


def _of_state_dict(path: Path) -> Mapping[str, object]:
    payload = read_content(path).payload
    state = payload.state if isinstance(payload, Instance) else None
    modules = state.get("_metadata") if isinstance(state, dict) else None
    items = modules.items if isinstance(modules, Instance) else modules
    metadata = items.get(ENTRY) if isinstance(items, dict) else None
    return metadata if isinstance(metadata, dict) else {}
