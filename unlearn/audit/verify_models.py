"""Who was forgotten, by what, and what came of it: the parts of an audit record that no number is in."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearn.audit.record import SEAL, Record, keyed_indices, seal
from unlearn.audit.store import Finding, Shelf, State, judged
from unlearn.core.artifact_store import Entry
from unlearn.core.types import Role
from unlearn.inventory.catalogue import BEGINNING, Item
from unlearn.inventory.specs import changes
from unlearn.report.table import remaining


@dataclass(frozen=True)
class Confirmation:
    """A record, and what there is to hold it against."""

    record: Record
    shelf: Shelf
    key: bytes | None
    indices: list[int] | None  # of those said to be forgotten
    folder: Path  # of the record

    def findings(self) -> Iterator[Finding]:
        """All there is to say, the seal first."""
        yield from self._seal()
        claims = "time, command, config, choices, versions, hardware"
        yield Finding(State.UNCHECKED, claims, "nothing to recompute them from: the seal alone speaks for them")
        report = self._report()
        yield report
        if report.state is State.AGREES:
            yield from self._copies()
        yield from self._forgotten()
        yield from self._models()

    def _seal(self) -> Iterator[Finding]:
        made, noted = seal(self.record, self.key), self.record[SEAL]
        good, bad = "the record is as it was sealed", "the record was changed after it was sealed"
        yield judged(_same(made["sha256"], noted["sha256"]), f"{SEAL}.sha256", good, bad)
        if self.key is None:
            yield Finding(State.UNCHECKED, f"{SEAL}.hmac_sha256", "no --key, and no audit.key beside the record")
        else:
            good, bad = "sealed with this key", "sealed with another key, or changed after it was sealed"
            yield judged(_same(made["hmac_sha256"], noted["hmac_sha256"]), f"{SEAL}.hmac_sha256", good, bad)

    def _report(self) -> Finding:
        path = self.folder / "report.json"
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            return Finding(State.UNCHECKED, "report_sha256", f"{path}: {error.strerror}")
        return judged(found == self.record["report_sha256"], "report_sha256", str(path), f"{path} is another report")

    def _copies(self) -> Iterator[Finding]:
        """What the report, which is the record's, tells of copies of forgotten images."""
        copies = json.loads((self.folder / "report.json").read_bytes()).get("copies")
        if copies is None or copies["compared"] is None:
            yield Finding(State.UNCHECKED, "copies", "images were not compared with those that remain")
        else:
            found = next(remaining(copies), f"no forgotten image remains as a copy of the same {copies['compared']}")
            yield Finding(State.AGREES, "copies", f"{found}, by report.json")

    # Who was forgotten

    def _forgotten(self) -> Iterator[Finding]:
        told, split = self.record["forgotten"], self.shelf.find(self.record["forgotten"]["split"])
        sources = {} if self.indices is None else {"--indices": sorted(set(self.indices))}
        if split is None:
            yield Finding(State.UNCHECKED, "forgotten.split", self.shelf.absence(told["split"]))
        elif wrong := [*_other_kind("split", split), *self.shelf.wrong(split)]:
            yield Finding(State.DIFFERS, "forgotten.split", "; ".join(wrong))
        else:
            yield from self._split(split)
            sources |= {"the store's split": _forget_set(split.entry)}
        for source, indices in sources.items():
            yield from self._who(source, indices)
        if not sources:
            why = "neither --indices nor the store's split tells who"
            yield from (Finding(State.UNCHECKED, f"forgotten.{part}", why) for part in ("count", "hmac_sha256"))

    def _split(self, split: Item) -> Iterator[Finding]:
        dataset = split.spec["forget"]["population"]["dataset"]
        same = dataset == self.record["forgotten"]["dataset"]
        yield judged(same, "forgotten.dataset", "that of the store's split", f"the store's split is of {dataset}")
        unlearned = self._model("unlearned", "unlearn")
        if unlearned is not None:
            mine, theirs = (_request(item.spec["forget"]) for item in (split, unlearned))
            bad = "the unlearned model was made to forget others"
            yield judged(mine == theirs, "forgotten.split", "whom the unlearned model was made to forget", bad)

    def _who(self, source: str, indices: list[int]) -> Iterator[Finding]:
        told = self.record["forgotten"]
        bad = f"{told['count']} in the record, {len(indices)} by {source}"
        yield judged(told["count"] == len(indices), "forgotten.count", f"{len(indices)}, by {source}", bad)
        if self.key is None:
            yield Finding(State.UNCHECKED, "forgotten.hmac_sha256", "no --key, and no audit.key beside the record")
            return
        same = _same(keyed_indices(self.key, told["dataset"], indices), told["hmac_sha256"])
        bad = f"others are meant than those of {source}, or another data set or key"
        yield judged(same, "forgotten.hmac_sha256", f"those of {source} are meant", bad)

    # Models

    def _model(self, name: str, kind: str) -> Item | None:
        """Its artefact, if it is there and its spec can be trusted."""
        told = self.record["models"].get(name)
        item = self.shelf.find(told["key"]) if told else None
        return item if item and item.kind == kind and not self.shelf.wrong(item) else None

    def _models(self) -> Iterator[Finding]:
        for name, told in self.record["models"].items():
            item = self.shelf.find(told["key"])
            if item is None:
                yield Finding(State.UNCHECKED, f"models.{name}", self.shelf.absence(told["key"]))
            else:
                wrong = [*self.shelf.wrong(item), *_other_model(told, item)]
                good = f"{told['key'][:BEGINNING]}, {len(told['files'])} files with these hashes"
                yield judged(not wrong, f"models.{name}", good, "; ".join(wrong))
        yield from self._descent()

    def _descent(self) -> Iterator[Finding]:
        """How the unlearned model came from the original, by the specs that keys are hashes of."""
        unlearned, blended = self._model("unlearned", "unlearn"), self._model("blended", "blended")
        if unlearned is None:
            yield Finding(State.UNCHECKED, "strategy", "the unlearned model's artefact is not there, or damaged")
        else:
            told, used = self.record["strategy"], unlearned.spec["strategy"]
            bad = "the unlearned model was made by another: " + "; ".join(map(str, changes(told, used)))
            yield judged(told == used, "strategy", "made the unlearned model, with these settings and this code", bad)
            yield self._came("unlearned", unlearned, "original")
        if blended is not None:
            yield from (self._came("blended", blended, part) for part in ("original", "unlearned"))

    def _came(self, name: str, item: Item, of: str) -> Finding:
        key = item.spec[of]["stage"]
        same = self.record["models"].get(of, {}).get("key") == key
        return judged(same, f"models.{name}", f"made from the {of} one", f"made from {key[:BEGINNING]}, another {of}")


def _same(made: str, noted: str) -> bool:
    return hmac.compare_digest(made.encode(), noted.encode())


def _forget_set(entry: Entry) -> list[int]:
    from unlearn.stages.files import read_tensors

    return [int(index) for index in read_tensors(entry, "split.safetensors")["forget"].tolist()]


def _request(samples: dict[str, Any]) -> list[Any]:
    """What decides who is forgotten, be the images moved or not."""
    return [samples[part] for part in ("population", "forget", "ranking")]


def _other_kind(expected: str, item: Item) -> Iterator[str]:
    if item.kind != expected:
        yield f"{item.key[:BEGINNING]} is a {item.kind}, not a {expected}"


def _other_model(told: dict[str, Any], item: Item) -> Iterator[str]:
    """Where the artefact is not the model that the record tells of."""
    yield from _other_kind(told["kind"], item)
    role = item.spec.get("role", Role.UNLEARNED)  # which the specs of all others name
    if role != told["role"]:
        yield f"{told['role']} in the record, {role} in the store"
    noted = {name: file["sha256"] for name, file in item.meta.get("files", {}).items()}
    for name in sorted(told["files"].keys() | noted.keys()):
        if told["files"].get(name) != noted.get(name):
            yield f"{name}: another SHA-256 in the record than in the store"
