"""The audit record of a run: who was forgotten, by what, which models came of it, and what was measured."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unlearn.audit.record import KEY, RECORD, SCHEMA_VERSION, SEAL, Record, keyed_indices, seal, write_new_key
from unlearn.core.types import Role
from unlearn.pipeline.plan import Outcome, Plan
from unlearn.report.assemble import TIMES, stages
from unlearn.report.figures import Figures
from unlearn.report.write import write_text
from unlearn.stages.base import BuildContext
from unlearn.stages.blend import Blended
from unlearn.stages.files import read_tensors
from unlearn.stages.keys import canonicalize
from unlearn.stages.model import ModelStage
from unlearn.stages.unlearn import Unlearn

Model = ModelStage | Unlearn | Blended
HIDDEN = {Role.GUIDE, Role.PROXY}  # never reported


def write_audit(outcome: Outcome, report: dict[str, Any], folder: Path) -> list[Path]:
    """`audit.json`, and the key of its HMACs in `audit.key`, beside a report that is written already.

    Raises:
        UnlearnError: the folder cannot be written.
        StoreError: a model's file is not as it was built.
    """
    key = write_new_key(folder / KEY)
    record = assemble_record(outcome, report, hashlib.sha256((folder / "report.json").read_bytes()).hexdigest(), key)
    return [write_text(json.dumps(record, indent=1, allow_nan=False), folder / RECORD), folder / KEY]


def assemble_record(outcome: Outcome, report: dict[str, Any], report_sha256: str, key: bytes) -> Record:
    """The record as plain JSON, sealed with the key. It holds no index of a record; keys, however, stand for all that
    determines an artefact, the request included."""
    figures = Figures(report["metrics"], report["statistics"])
    record = {
        "schema_version": SCHEMA_VERSION,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "forgotten": _forgotten(outcome, key),
        "strategy": canonicalize(outcome.plan.unlearned.strategy),
        "models": {name: _told(model, outcome.context) for name, model in _models(outcome.plan).items()},
        "figures": {key: figure(figures, key) for key in report["metrics"] if not key.endswith(TIMES)},
        "readings": list(_readings(outcome)),
        "report_sha256": report_sha256,
        **{part: report[part] for part in ("choices", "config", "versions", "hardware", "command")},
    }
    plain: Record = json.loads(json.dumps(record))  # as it will be read: tuples are lists, a role is its name
    return plain | {SEAL: seal(plain, key)}


def _forgotten(outcome: Outcome, key: bytes) -> dict[str, Any]:
    split = outcome.plan.split
    dataset = canonicalize(split.forget.population.dataset)
    indices = read_tensors(outcome.context.get(split), "split.safetensors")["forget"].tolist()
    hmac_sha256 = keyed_indices(key, dataset, indices)
    return {"dataset": dataset, "count": len(indices), "hmac_sha256": hmac_sha256, "split": split.key}


def _models(plan: Plan) -> dict[str, Model]:
    """All that were measured, and the unlearned one beneath a blend, by their name in the report."""
    found = {name: stage for name, stage in stages(plan).items() if isinstance(stage, Model)}
    return {name: model for name, model in found.items() if model.role not in HIDDEN}


def _told(model: Model, context: BuildContext) -> dict[str, Any]:
    entry = context.get(model)
    hashes = {name: noted["sha256"] for name, noted in sorted(entry.meta["files"].items()) if entry.file(name)}
    return {"role": model.role, "seed": model.seed, "kind": model.kind, "key": model.key, "files": hashes}


def figure(figures: Figures, key: str) -> dict[str, Any]:
    """A number with its interval, where it has one: its own, or that of the one reading it is."""
    behind = figures.statistics[key]
    evaluations = behind.get("readings", [])
    interval = behind.get("interval") or (evaluations[0]["interval"] if len(evaluations) == 1 else None)
    return {"value": figures.metrics[key], "interval": interval and list(interval)}


def _readings(outcome: Outcome) -> Any:
    """Every measurement of every model, those of retrained models against one another too."""
    for reading, measured in outcome.measurements:
        about = {"role": reading.role, "seed": reading.seed, "reference_seed": reading.reference_seed}
        for metric, found in measured.items():
            yield {"metric": metric} | about | {"key": reading.stage.key} | asdict(found)
