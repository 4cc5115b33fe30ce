"""The command `unlearn-store export`: write a model of the store for use without this project."""

from __future__ import annotations

import re
from argparse import ArgumentParser, Namespace
from pathlib import Path

from unlearn.core.artifact_store import ArtifactStore, Entry
from unlearn.core.errors import ConfigError, Problem, StoreError
from unlearn.core.types import Role

ROLES = (Role.UNLEARNED, Role.RETRAINED, Role.ORIGINAL)
Model = tuple[Entry, Entry | None, Role]  # the model, the original that it was made from, and its role


def add_options(export: ArgumentParser) -> None:
    """Add the options of the command to its parser."""
    source = "the folder or the report of a run, or the key of a model (or its beginning)"
    role = "which model of the run (default: unlearned; for a key: the model itself)"
    export.add_argument("source", metavar="RUN|REPORT|KEY", help=source)
    export.add_argument("--role", choices=[str(role) for role in ROLES], help=role)
    export.add_argument("--seed", type=int, help="which of several retrained models, by its seed (default: the first)")
    export.add_argument("--to", required=True, type=Path, metavar="FILE", help="the file: .safetensors or .pt")


def export(store: Path, arguments: Namespace) -> int:
    """Write a model; returns the exit status.

    Args:
        store: the folder of the store.
        arguments: the options of `add_options`.

    Raises:
        ConfigError: the options do not fit together, or the file cannot be written.
        DataError: the run or the report cannot be read, or has no such model.
        StoreError: the store lacks the model, or it is damaged.
    """
    from unlearn.stages.export import export_weights

    is_key = not Path(arguments.source).exists() and re.fullmatch(r"[0-9a-f]{8,64}", arguments.source)
    find = _find_by_key if is_key else _find_in_run
    entry, original, role = find(store, arguments.source, arguments.role and Role(arguments.role), arguments.seed)
    try:
        path = export_weights(entry, arguments.to, role, original)
    except OSError as error:
        raise ConfigError([Problem("--to", "a writable file", f"{arguments.to}: {error}")]) from error
    print(path)
    return 0


def _find_in_run(store: Path, source: str, role: Role | None, seed: int | None) -> Model:
    from unlearn.stages.lineage import stored_entry
    from unlearn.stages.own_models import find_source, name_retrained

    if seed is not None and role is not Role.RETRAINED:
        raise ConfigError([Problem("--seed", "none, except with --role retrained", seed)])
    role = role or Role.UNLEARNED
    name: str | None = None if role is Role.UNLEARNED else str(role)
    if seed is not None:
        name = name_retrained(source, seed)
    model, original = (stored_entry(find_source(source, name, str(store)).path) for name in (name, "original"))
    if model is None:
        raise StoreError(f"export: expected a run, a report or a key, got {source}, which is no model of a store")
    return model, original, role


def _find_by_key(store: Path, key: str, role: Role | None, seed: int | None) -> Model:
    from unlearn.stages.lineage import stored_entry
    from unlearn.stages.own_models import find_source

    if role is Role.RETRAINED or seed is not None:
        raise ConfigError(["--role retrained: expected a run or a report, which list the retrained models, got a key"])
    entry = stored_entry(find_source(key, None, str(store)).path)
    assert entry is not None, "find_source found it in the store"
    made_by = entry.meta["spec"].get("original")
    if made_by is None:  # it was trained, or read from a checkpoint
        stated = Role(entry.meta["spec"].get("role", Role.ORIGINAL))
        if role not in (None, stated):
            raise ConfigError([Problem("--role", f"{stated}, the role of that model", str(role))])
        return entry, None, stated
    if role is not Role.ORIGINAL:
        return entry, None, Role.UNLEARNED
    artifacts = ArtifactStore(entry.folder.parent.parent)
    originals = [artifacts.lookup(kind, made_by["stage"]) for kind in ("train", "checkpoint")]
    original = next((item for item in originals if item is not None), None)
    if original is None:
        raise StoreError(f"export: expected the original of {key} in {store}, got none")
    return original, None, Role.ORIGINAL
