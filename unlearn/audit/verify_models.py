"""Verify the parts of an audit record without measurements: seal, report, forget set, models and strategy."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearn.audit.record import SEAL, Record, keyed_indices, seal
from unlearn.audit.store import AuditStore, Finding, State, make_finding
from unlearn.core.artifact_store import Entry
from unlearn.core.report_schema import DamagedReportError, load_report
from unlearn.core.types import Role
from unlearn.inventory.catalogue import BEGINNING, Item
from unlearn.inventory.specs import changes
from unlearn.report.copies import describe_copies

NO_KEY = "no --key given, and no audit.key next to the record"
SEAL_CHANGED = "the record was changed after it was sealed"
CLAIMS = "time, command, config, choices, versions, hardware"


@dataclass(frozen=True)
class ModelVerifier:
    """Compares a record with its seal, its report, the request and the models in a store.

    Args:
        record: the audit record.
        store: the store of the run.
        key: the HMAC key; None if unknown.
        indices: indices of the records that are said to be forgotten; None if not given.
        folder: folder of the record.
    """

    record: Record
    store: AuditStore
    key: bytes | None
    indices: list[int] | None
    folder: Path

    def verify(self) -> Iterator[Finding]:
        """Yield all findings, the seal first."""
        yield from self._verify_seal()
        yield Finding(State.UNCHECKED, CLAIMS, "cannot be recomputed: only the seal protects them")
        report = self._verify_report()
        yield report
        if report.state is State.AGREES:
            yield from self._verify_copies()
        yield from self._verify_forget_set()
        yield from self._verify_models()
        yield from self._verify_strategy()

    def _verify_seal(self) -> Iterator[Finding]:
        computed, recorded = seal(self.record, self.key), self.record[SEAL]
        same_hash = _is_same_hash(computed["sha256"], recorded["sha256"])
        yield make_finding(same_hash, f"{SEAL}.sha256", "the record matches its seal", SEAL_CHANGED)
        if self.key is None:
            yield Finding(State.UNCHECKED, f"{SEAL}.hmac_sha256", NO_KEY)
            return
        same_hmac = _is_same_hash(computed["hmac_sha256"], recorded["hmac_sha256"])
        bad = f"sealed with another key, or {SEAL_CHANGED}"
        yield make_finding(same_hmac, f"{SEAL}.hmac_sha256", "sealed with this key", bad)

    def _verify_report(self) -> Finding:
        path = self.folder / "report.json"
        try:
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            return Finding(State.UNCHECKED, "report_sha256", f"{path}: {error.strerror}")
        same = sha256 == self.record["report_sha256"]
        return make_finding(same, "report_sha256", str(path), f"{path} is another report")

    def _verify_copies(self) -> Iterator[Finding]:
        """Repeat what the report says about copies of forgotten images; the report is that of the record."""
        try:
            copies = load_report(self.folder / "report.json").get("copies")
        except DamagedReportError as error:
            yield Finding(State.UNCHECKED, "copies", f"report.json: {error}")
            return
        if copies is None or copies["compared"] is None:
            yield Finding(State.UNCHECKED, "copies", "the run did not look for copies of forgotten images")
            return
        none = f"no other image has the same {copies['compared']} as a forgotten one"
        yield Finding(State.AGREES, "copies", f"{describe_copies(copies) or none}, according to report.json")

    # The forget set

    def _verify_forget_set(self) -> Iterator[Finding]:
        key = self.record["forgotten"]["split"]
        split = self.store.find(key)
        indices_by_source = {} if self.indices is None else {"--indices": sorted(set(self.indices))}
        if split is None:
            yield Finding(State.UNCHECKED, "forgotten.split", self.store.explain_absence(key))
        elif problems := [*_kind_problems("split", split), *self.store.find_problems(split)]:
            yield Finding(State.DIFFERS, "forgotten.split", "; ".join(problems))
        else:
            yield from self._verify_split(split)
            indices_by_source |= {"the store's split": _read_forget_indices(split.entry)}
        for source, indices in indices_by_source.items():
            yield from self._verify_indices(source, indices)
        if not indices_by_source:
            reason = "the forgotten records are unknown: give --indices, or the store with the split"
            yield from (Finding(State.UNCHECKED, f"forgotten.{name}", reason) for name in ("count", "hmac_sha256"))

    def _verify_split(self, split: Item) -> Iterator[Finding]:
        dataset = split.spec["forget"]["population"]["dataset"]
        same = dataset == self.record["forgotten"]["dataset"]
        bad = f"the store's split is of another data set: {dataset}"
        yield make_finding(same, "forgotten.dataset", "same data set as the store's split", bad)
        unlearned = self._find_model("unlearned", "unlearn")
        if unlearned is not None:
            same = _request(split.spec["forget"]) == _request(unlearned.spec["forget"])
            bad = "the unlearned model forgot other records"
            yield make_finding(same, "forgotten.split", "the unlearned model forgot this split", bad)

    def _verify_indices(self, source: str, indices: list[int]) -> Iterator[Finding]:
        forgotten = self.record["forgotten"]
        same_count = forgotten["count"] == len(indices)
        bad = f"{forgotten['count']} in the record, {len(indices)} by {source}"
        yield make_finding(same_count, "forgotten.count", f"{len(indices)}, by {source}", bad)
        if self.key is None:
            yield Finding(State.UNCHECKED, "forgotten.hmac_sha256", NO_KEY)
            return
        hmac_sha256 = keyed_indices(self.key, forgotten["dataset"], indices)
        same = _is_same_hash(hmac_sha256, forgotten["hmac_sha256"])
        bad = f"not the records of {source}, or another data set or key"
        yield make_finding(same, "forgotten.hmac_sha256", f"the records of {source}", bad)

    # Models

    def _find_model(self, name: str, kind: str) -> Item | None:
        """Return the artifact of a model if it is in the store and undamaged."""
        model = self.record["models"].get(name)
        item = self.store.find(model["key"]) if model else None
        return item if item and item.kind == kind and not self.store.find_problems(item) else None

    def _verify_models(self) -> Iterator[Finding]:
        for name, model in self.record["models"].items():
            item = self.store.find(model["key"])
            if item is None:
                yield Finding(State.UNCHECKED, f"models.{name}", self.store.explain_absence(model["key"]))
            else:
                problems = [*self.store.find_problems(item), *_model_problems(model, item)]
                good = f"{model['key'][:BEGINNING]}, the hashes of {len(model['files'])} files match"
                yield make_finding(not problems, f"models.{name}", good, "; ".join(problems))

    def _verify_strategy(self) -> Iterator[Finding]:
        """Check which strategy and which models the unlearned model was made from; keys are hashes of these specs."""
        unlearned, blended = self._find_model("unlearned", "unlearn"), self._find_model("blended", "blended")
        if unlearned is None:
            reason = "the artifact of the unlearned model is missing or damaged"
            yield Finding(State.UNCHECKED, "strategy", reason)
        else:
            recorded, used = self.record["strategy"], unlearned.spec["strategy"]
            bad = "another strategy made the unlearned model: " + "; ".join(map(str, changes(recorded, used)))
            good = "this strategy, with these settings and this code, made the unlearned model"
            yield make_finding(recorded == used, "strategy", good, bad)
            yield self._verify_input("unlearned", unlearned, "original")
        if blended is not None:
            yield from (self._verify_input("blended", blended, model) for model in ("original", "unlearned"))

    def _verify_input(self, name: str, item: Item, model: str) -> Finding:
        """Check that `item` was made from the model that the record lists."""
        key = item.spec[model]["stage"]
        same = self.record["models"].get(model, {}).get("key") == key
        bad = f"made from {key[:BEGINNING]}, not from the record's {model} model"
        return make_finding(same, f"models.{name}", f"made from the {model} model", bad)


def _is_same_hash(computed: str, recorded: str) -> bool:
    return hmac.compare_digest(computed.encode(), recorded.encode())


def _read_forget_indices(entry: Entry) -> list[int]:
    from unlearn.stages.files import read_tensors

    return [int(index) for index in read_tensors(entry, "split.safetensors")["forget"].tolist()]


def _request(samples: dict[str, Any]) -> list[Any]:
    """Return the parts of a spec that determine the forget set, whether or not SPD-GAN changes its images."""
    return [samples[part] for part in ("population", "forget", "ranking")]


def _kind_problems(expected: str, item: Item) -> Iterator[str]:
    if item.kind != expected:
        yield f"{item.key[:BEGINNING]} is a {item.kind}, not a {expected}"


def _model_problems(model: dict[str, Any], item: Item) -> Iterator[str]:
    """Yield the differences between a model in the record and its artifact in the store."""
    yield from _kind_problems(model["kind"], item)
    role = item.spec.get("role", Role.UNLEARNED)  # only unlearning and blending have no role in their spec
    if role != model["role"]:
        yield f"{model['role']} in the record, {role} in the store"
    hashes = {name: file["sha256"] for name, file in item.meta.get("files", {}).items()}
    for name in sorted(model["files"].keys() | hashes.keys()):
        if model["files"].get(name) != hashes.get(name):
            yield f"{name}: another SHA-256 in the record than in the store"
