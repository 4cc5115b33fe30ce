"""Find the weights that `checkpoint.file` names: a file, a key in the store, or the report of a run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unlearn.core.artifact_store import ArtifactStore
from unlearn.core.errors import DataError, nearest
from unlearn.core.report_schema import DamagedReportError, Report, load_report
from unlearn.models.checkpoints.content import require_file, unexpected

MODEL = "model.safetensors"
KEY = re.compile(r"[0-9a-f]{8,64}")  # of a model in the store, or a prefix of it


@dataclass(frozen=True)
class WeightsSource:
    """A file of weights, and the state dict to read from it (None: the one that fits)."""

    path: Path
    entry: str | None


def find_source(file: str, entry: str | None, store: str) -> WeightsSource:
    """Find the weights that `checkpoint.file` names.

    Args:
        file: a file of weights, the folder or the report of a run, or a key of the store or a prefix of it.
        entry: for a report, the model to read, by its name among the report's artifacts (by default the unlearned
            model). For a file of weights, the state dict, which is returned unchanged.
        store: folder of the store.

    Raises:
        DataError: the file, key or model does not exist.
        StoreError: the model in the store is damaged.
    """
    try:
        return _find(Path(file), file, entry, store)
    except OSError as error:  # a name that is too long, a folder or file without read permission
        raise unexpected("a readable file", Path(file), error.strerror or str(error)) from error


def _find(path: Path, file: str, entry: str | None, store: str) -> WeightsSource:
    if not path.exists() and KEY.fullmatch(file):
        return WeightsSource(_find_model(file, [store]), entry)
    path = next((path / name for name in ("report.json", MODEL) if path.is_dir() and (path / name).is_file()), path)
    require_file(path)
    if not _is_json(path):
        return WeightsSource(path, entry)
    return _find_in_report(path, entry, store)


def _find_in_report(path: Path, entry: str | None, store: str) -> WeightsSource:
    """Find a model among the artifacts of a report: the named one, or what the run measured as `unlearned`."""
    report = _read_report(path)
    stores = _store_folders(report, store)
    names = [name for name in report["artifacts"] if any(_model_folders(_artifact_key(report, name), stores))]
    name = entry or ("blended" if "blended" in names else "unlearned")
    if name not in names:
        shown = ", ".join(names) or "a model: the store has none of the report's"
        raise DataError(f"checkpoint.entry: expected one of {shown}{nearest(name, names)}, got {name!r} in {path}")
    return WeightsSource(_find_model(_artifact_key(report, name), stores), None)


def name_retrained(file: str, seed: int) -> str:
    """Return the name of a retrained model among the artifacts of a report.

    Args:
        file: the folder or the report of a run.
        seed: its training seed.

    Raises:
        DataError: the report cannot be read, or has no such model.
    """
    path = Path(file) / "report.json" if Path(file).is_dir() else Path(file)
    require_file(path)
    seeds = _read_report(path)["seeds"].get("baseline", [])
    if seed not in seeds:
        shown = ", ".join(map(str, seeds)) or "none"
        raise DataError(f"--seed: expected the seed of a retrained model ({shown}), got {seed}")
    return "retrained" if seed == seeds[0] else f"retrained_{seed}"


def _is_json(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(64).lstrip()[:1] == b"{"


def _read_report(path: Path) -> Report:
    try:
        return load_report(path)
    except DamagedReportError as error:
        raise DataError(f"checkpoint: expected weights, or a report of unlearn, got {path}: {error}") from error


def _artifact_key(report: Report, name: str) -> str:
    key: str = report["artifacts"][name]["key"]
    return key if KEY.fullmatch(key) else "none"


def _store_folders(report: Report, store: str) -> list[str]:
    """Return the store of this run, then that of the report's run."""
    paths = report["config"].get("paths")
    report_store = paths.get("store") if isinstance(paths, dict) else None
    return [store, *([report_store] if isinstance(report_store, str) else [])]


def _model_folders(key: str, stores: list[str]) -> Iterator[Path]:
    """Yield the folders of models whose key starts with `key`."""
    for store in stores:
        yield from (path.parent for path in sorted(Path(store).glob(f"*/{key}*/{MODEL}")))


def _find_model(key: str, stores: list[str]) -> Path:
    folders = list(_model_folders(key, stores))
    keys = sorted({folder.name for folder in folders})
    if len(keys) != 1:
        got = f"{len(keys)} ({', '.join(name[:16] for name in keys[:5])})" if keys else "none"
        raise DataError(f"checkpoint: expected a file, or the key of one model in {stores[0]}, got {got} of {key!r}")
    folder = folders[0]
    entry = ArtifactStore(folder.parent.parent).lookup(folder.parent.name, folder.name)
    assert entry is not None
    return entry.file(MODEL)
