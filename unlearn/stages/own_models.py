"""`checkpoint=` names a file, the key of a model in the store, or the report of a run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearn.core.artifact_store import ArtifactStore
from unlearn.core.errors import DataError, nearest
from unlearn.models.checkpoints.content import expected, refuse_missing

MODEL = "model.safetensors"
KEY = re.compile(r"[0-9a-f]{8,64}")  # of a model in the store, or how it begins
LARGEST = 256 * 2**20  # bytes of a report


@dataclass(frozen=True)
class Source:
    """A file of weights, and which state dict to read from it; None: the one that fits."""

    path: Path
    entry: str | None


def find_source(file: str, entry: str | None, store: str) -> Source:
    """Where the weights that `checkpoint.file` names lie.

    Args:
        file: a file of weights, the folder or the report of a run, a key of the store or how it begins.
        entry: of a report: the model to read, by its name among the report's artefacts (unless given, the unlearned
            one). Of a file of weights: returned.
        store: the folder of the store.

    Raises:
        DataError: there is no such file, key or model.
        StoreError: the model in the store is damaged.
    """
    try:
        return _source(Path(file), file, entry, store)
    except OSError as error:  # a name too long, a folder or file that may not be read
        raise expected("a readable file", Path(file), error.strerror or str(error)) from error


def _source(path: Path, file: str, entry: str | None, store: str) -> Source:
    if not path.exists() and KEY.fullmatch(file):
        return Source(_model_of(file, [store]), entry)
    path = next((path / name for name in ("report.json", MODEL) if path.is_dir() and (path / name).is_file()), path)
    refuse_missing(path)
    if not _is_json(path):
        return Source(path, entry)
    report = _report(path)
    names = [name for name in report["artifacts"] if any(_folders(_key(report, name), _stores(report, store)))]
    name = entry or ("blended" if "blended" in names else "unlearned")
    if name not in names:
        shown = ", ".join(names) or "a model: the store has none of the report's"
        raise DataError(f"checkpoint.entry: expected one of {shown}{nearest(name, names)}, got {name!r} in {path}")
    return Source(_model_of(_key(report, name), _stores(report, store)), None)


def _is_json(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(64).lstrip()[:1] == b"{"


def _report(path: Path) -> dict[str, Any]:
    try:
        report = json.loads(path.read_bytes()) if path.stat().st_size <= LARGEST else None
    except (ValueError, RecursionError):
        report = None
    if not isinstance(report, dict) or not isinstance(report.get("artifacts"), dict):
        raise DataError(f"checkpoint: expected weights, or a report of unlearn, in {path}, got JSON without artifacts")
    return report


def _key(report: dict[str, Any], name: str) -> str:
    entry = report["artifacts"][name]
    key = entry.get("key") if isinstance(entry, dict) else None
    return key if isinstance(key, str) and KEY.fullmatch(key) else "none"


def _stores(report: dict[str, Any], store: str) -> list[str]:
    """This run's, then that of the report's run."""
    config = report.get("config")
    paths = config.get("paths") if isinstance(config, dict) else None
    other = paths.get("store") if isinstance(paths, dict) else None
    return [store, *([other] if isinstance(other, str) else [])]


def _folders(key: str, stores: list[str]) -> Iterator[Path]:
    """Of models with a key that begins so."""
    for store in stores:
        yield from (path.parent for path in sorted(Path(store).glob(f"*/{key}*/{MODEL}")))


def _model_of(key: str, stores: list[str]) -> Path:
    folders = list(_folders(key, stores))
    keys = sorted({folder.name for folder in folders})
    if len(keys) != 1:
        got = f"{len(keys)} ({', '.join(name[:16] for name in keys[:5])})" if keys else "none"
        raise DataError(f"checkpoint: expected a file, or the key of one model in {stores[0]}, got {got} of {key!r}")
    folder = folders[0]
    entry = ArtifactStore(folder.parent.parent).lookup(folder.parent.name, folder.name)
    assert entry is not None
    return entry.file(MODEL)
