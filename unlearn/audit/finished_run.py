"""Read what a ledger records of a finished run: the request, the models and the verdict."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearn.audit.record import RECORD, read
from unlearn.core.artifact_meta import SHA256, file_sha256
from unlearn.core.artifact_store import ArtifactStore, Entry
from unlearn.core.errors import DataError, StoreError

REPORT, SPLIT, WEIGHTS = "report.json", "split.safetensors", "model.safetensors"
EXPORTED = ("unlearned.safetensors", "unlearned.pt")  # what a run leaves next to its report
LARGEST_REPORT = 256 * 2**20  # bytes
ORIGINALS, FINAL_MODELS = ("checkpoint", "train"), ("blended", "unlearn")  # kinds of artifacts


@dataclass(frozen=True)
class FinishedRun:
    """What a ledger records of a run.

    Attributes:
        fields: fields of the entry: options, models, verdict, seconds, and hashes of the report and the audit record.
        split: key of the artifact with the indices of the forget set.
        dataset: the data set, as keys hold it.
        indices: of the forget set, in the training part.
    """

    fields: dict[str, Any]
    split: str
    dataset: Any
    indices: list[int]


def read_run(run: Path, store: Path | None) -> FinishedRun:
    """Read a run from its report, its audit record if there is one, and its models.

    Args:
        run: folder of the run, or a file in it: its report or its audit record.
        store: folder of the store; None: `paths.store` of the run.

    Raises:
        DataError: the report or the audit record is missing, damaged, or of another run.
        StoreError: a model or the split is not in the store, or is damaged.
    """
    folder = run if os.path.isdir(run) else run.parent  # noqa: PTH112  # Path raises for closed folders
    file = folder / REPORT if run == folder or run.name == RECORD else run
    content = _read_bytes(file)
    report_sha256 = hashlib.sha256(content).hexdigest()
    try:
        report = json.loads(content)
        artifacts = ArtifactStore(store or report["config"]["paths"]["store"])
        fields = _report_fields(report) | {
            "report_sha256": report_sha256,
            "audit_sha256": _hash_audit_record(folder / RECORD, report_sha256),
            "model_in": _model_in(_find(artifacts, report, "original", ORIGINALS)),
            "model_out": _model_out(_find_final_model(artifacts, report), folder),
        }
        split = _find(artifacts, report, "split", ("split",))
        dataset = split.meta["spec"]["forget"]["population"]["dataset"]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"RUN: expected the report of a finished run, got other content in {file}") from error
    return FinishedRun(fields, split.key, dataset, _read_indices(split))


def _read_bytes(file: Path) -> bytes:
    try:
        if file.exists() and not file.is_file():
            raise DataError(f"RUN: expected a report, got {file}: not a regular file")
        if file.stat().st_size > LARGEST_REPORT:
            raise DataError(f"RUN: expected a report of at most {LARGEST_REPORT:,} bytes, got a larger {file}")
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"RUN: expected the report of a finished run, got {file}: {error.strerror}") from error


def _report_fields(report: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that the report states; of options only the names, since settings may name people."""
    seconds = report["metrics"].get("unlearned/seconds")
    return {
        **{group: str(report["choices"][group]) for group in ("dataset", "forget", "strategy")},
        "verdict": {name: str(report["verdict"][name]["finding"]) for name in ("forgotten", "utility")},
        "retrained": len(report["seeds"]["baseline"]),
        "seconds": None if seconds is None else float(seconds),
    }


def _hash_audit_record(file: Path, report_sha256: str) -> str | None:
    """Return the SHA-256 of the audit record next to the report; None without one."""
    if not file.exists():
        return None
    if read(file)["report_sha256"] != report_sha256:
        raise DataError(f"RUN: expected the audit record of the same run, got {file}, which is of another report")
    return file_sha256(file)


def _find_final_model(artifacts: ArtifactStore, report: dict[str, Any]) -> Entry:
    name = "blended" if "blended" in report["artifacts"] else "unlearned"
    return _find(artifacts, report, name, FINAL_MODELS)


def _find(artifacts: ArtifactStore, report: dict[str, Any], name: str, kinds: tuple[str, ...]) -> Entry:
    """Return the artifact that a report names.

    Raises:
        StoreError: the store lacks it, or it is damaged.
        ValueError: the report has no key in that place.
    """
    key = report["artifacts"][name]["key"]
    if not SHA256.fullmatch(key):
        raise ValueError("not a key")
    entry = next((entry for kind in kinds if (entry := artifacts.lookup(kind, key))), None)
    if entry is None:
        raise StoreError(f"--store: expected the run's {name} ({key[:12]}) in {artifacts.root}, got none")
    return entry


def _model_fields(entry: Entry) -> dict[str, Any]:
    return {"key": entry.key, "sha256": file_sha256(entry.file(WEIGHTS))}


def _model_in(entry: Entry) -> dict[str, Any]:
    """Return the fields of the model that a run started from, with the model of ours that it continues."""
    from unlearn.stages.lineage import lineage_of

    lineage = lineage_of(entry)
    checkpoint_sha256 = entry.meta["spec"]["sha256"] if entry.folder.parent.name == "checkpoint" else None
    key = None if lineage is None else lineage.key
    return _model_fields(entry) | {"file_sha256": checkpoint_sha256, "lineage": key}


def _model_out(entry: Entry, folder: Path) -> dict[str, Any]:
    exported = next((folder / name for name in EXPORTED if (folder / name).is_file()), None)
    return _model_fields(entry) | {"file_sha256": None if exported is None else file_sha256(exported)}


def _read_indices(split: Entry) -> list[int]:
    from unlearn.stages.files import read_tensors

    tensors = read_tensors(split, SPLIT)
    if "forget" not in tensors:
        raise StoreError(f"--store: expected the split of a run, got other tensors in {split.folder}")
    return [int(index) for index in tensors["forget"].tolist()]
