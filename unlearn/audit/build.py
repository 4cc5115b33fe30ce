"""Build the audit record of a run: forget set, strategy, models and measurements."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unlearn.audit.record import KEY, RECORD, SCHEMA_VERSION, SEAL, Record, keyed_indices, seal, write_new_key
from unlearn.core.types import Role
from unlearn.pipeline.plan import Outcome, Plan
from unlearn.report.assemble import TIMES, name_stages
from unlearn.report.figures import Figures
from unlearn.report.write import write_text
from unlearn.stages.base import BuildContext
from unlearn.stages.blend import Blended
from unlearn.stages.files import read_tensors
from unlearn.stages.keys import canonicalize
from unlearn.stages.model import ModelStage
from unlearn.stages.unlearn import Unlearn

Model = ModelStage | Unlearn | Blended
UNREPORTED = {Role.GUIDE, Role.PROXY}


def write_audit(outcome: Outcome, report: dict[str, Any], folder: Path) -> list[Path]:
    """Write `audit.json`, and the key of its HMACs to `audit.key`.

    Args:
        outcome: the finished run.
        report: its report.
        folder: folder that already contains `report.json`.

    Returns:
        The two paths.

    Raises:
        UnlearnError: the folder cannot be written.
        StoreError: a file of a model is damaged.
    """
    key = write_new_key(folder / KEY)
    record = assemble_record(outcome, report, hashlib.sha256((folder / "report.json").read_bytes()).hexdigest(), key)
    return [write_text(json.dumps(record, indent=1, allow_nan=False), folder / RECORD), folder / KEY]


def assemble_record(outcome: Outcome, report: dict[str, Any], report_sha256: str, key: bytes) -> Record:
    """Return the record as plain JSON, sealed with the key.

    It contains no index of a forgotten record. But an artifact's key is a hash of everything that determines the
    artifact, the request included: guesses at a small request can be tested against it.
    """
    figures = Figures(report["metrics"], report["statistics"])
    record = {
        "schema_version": SCHEMA_VERSION,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "forgotten": _forget_set_fields(outcome, key),
        "strategy": canonicalize(outcome.plan.unlearned.strategy),
        "models": {name: _model_fields(model, outcome.context) for name, model in _models(outcome.plan).items()},
        "figures": {key: figure(figures, key) for key in report["metrics"] if not key.endswith(TIMES)},
        "readings": list(_readings(outcome)),
        "report_sha256": report_sha256,
        **{part: report[part] for part in ("choices", "config", "versions", "hardware", "command")},
    }
    plain: Record = json.loads(json.dumps(record))  # as a reader gets it: lists for tuples, names for roles
    return plain | {SEAL: seal(plain, key)}


def _forget_set_fields(outcome: Outcome, key: bytes) -> dict[str, Any]:
    split = outcome.plan.split
    dataset = canonicalize(split.forget.population.dataset)
    indices = read_tensors(outcome.context.get(split), "split.safetensors")["forget"].tolist()
    hmac_sha256 = keyed_indices(key, dataset, indices)
    return {"dataset": dataset, "count": len(indices), "hmac_sha256": hmac_sha256, "split": split.key}


def _models(plan: Plan) -> dict[str, Model]:
    """The measured models by their name in the report, and the unlearned model that a blend contains."""
    models = {name: stage for name, stage in name_stages(plan).items() if isinstance(stage, Model)}
    return {name: model for name, model in models.items() if model.role not in UNREPORTED}


def _model_fields(model: Model, context: BuildContext) -> dict[str, Any]:
    entry = context.get(model)
    hashes = {name: file["sha256"] for name, file in sorted(entry.meta["files"].items()) if entry.file(name)}
    return {"role": model.role, "seed": model.seed, "kind": model.kind, "key": model.key, "files": hashes}


def figure(figures: Figures, key: str) -> dict[str, Any]:
    """Return a number and its interval; a number from a single reading has the interval of that reading."""
    statistics = figures.statistics[key]
    readings = statistics.get("readings", [])
    interval = statistics.get("interval") or (readings[0]["interval"] if len(readings) == 1 else None)
    return {"value": figures.metrics[key], "interval": interval and list(interval)}


def _readings(outcome: Outcome) -> Iterator[dict[str, Any]]:
    """Yield every measurement of every model, also those of retrained models against each other."""
    for evaluation, measurements in outcome.measurements:
        model = {"role": evaluation.role, "seed": evaluation.seed, "reference_seed": evaluation.reference_seed}
        for metric, measurement in measurements.items():
            yield {"metric": metric} | model | {"key": evaluation.stage.key} | asdict(measurement)
