"""`unlearn-audit` on the record of a small run: agreement, tampering, missing evidence, bad input."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import Finished, Run
from safetensors.torch import load_file, save_file

from unlearn.audit.build import write_audit
from unlearn.audit.record import SCHEMA, keyed, read_key, seal, write_new_key
from unlearn.cli.audit import main
from unlearn.config import to_plain_dict
from unlearn.core.artifact_meta import add_digest
from unlearn.inventory.catalogue import Catalogue, Item
from unlearn.inventory.removals import Removal, record, remove
from unlearn.report.assemble import assemble
from unlearn.report.write import write

FORGET = "unlearned/forget_accuracy"


@dataclass(frozen=True)
class Audit:
    """The files of an auditor: a folder with record, key and report, and a store."""

    folder: Path
    store: Path

    @property
    def file(self) -> Path:
        return self.folder / "audit.json"

    @property
    def record(self) -> dict[str, Any]:
        record: dict[str, Any] = json.loads(self.file.read_text())
        return record

    def forge(self, record: dict[str, Any]) -> None:
        """Write a changed record with a renewed digest, as somebody without the key can."""
        record["seal"] |= seal(record, None)
        self.file.write_text(json.dumps(record))

    def item(self, key: str) -> Item:
        return Catalogue.read(self.store).items[key]

    def model(self, name: str) -> Path:
        return self.item(self.record["models"][name]["key"]).entry.folder


@dataclass(frozen=True)
class Done:
    """The output of the command and its exit status."""

    status: int
    out: str
    err: str

    def lines(self, state: str) -> dict[str, str]:
        """The reasons by field."""
        rows = (line.split(None, 1) for line in self.out.splitlines()[:-1])
        findings = (row[1].partition(": ") for row in rows if row[0] == state)
        return {field: reason for field, _, reason in findings}


def verify(file: Path, *arguments: str | Path) -> Done:
    """Run `unlearn-audit verify` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.delenv("UNLEARN_STORE", raising=False)
        patch.setattr(sys, "argv", ["unlearn-audit", "verify", str(file), *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    return Done(int(ended.value.code or 0), out.getvalue(), err.getvalue())


def write_record(run: Finished, folder: Path) -> None:
    report = assemble(run.outcome, to_plain_dict(run.composed), {"strategy": "top_k"})
    write(report, folder)
    write_audit(run.outcome, report, folder)


@pytest.fixture(scope="module")
def recorded(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """The audit of the small run; tests must not change it."""
    root = tmp_path_factory.mktemp("audit")
    for entry in finished.context.entries.values():  # other tests may have added to that store
        shutil.copytree(entry.folder, root / "store" / entry.folder.relative_to(finished.store))
    write_record(finished, root / "out")
    return Audit(root / "out", root / "store")


@pytest.fixture
def audit(recorded: Audit, tmp_path: Path) -> Audit:
    """A copy that tests may change."""
    for folder in (recorded.folder, recorded.store):
        shutil.copytree(folder, tmp_path / folder.name)
    return Audit(tmp_path / "out", tmp_path / "store")


def forgotten(run: Finished) -> list[int]:
    split = run.context.get(run.outcome.plan.split).folder / "split.safetensors"
    return [int(index) for index in load_file(split)["forget"]]


# A fresh record


def test_all_checks_of_a_fresh_record_agree(recorded: Audit) -> None:
    done = verify(recorded.file, "--store", recorded.store)
    assert done.status == 0, done.out
    assert done.lines("differs") == {}
    unchecked = done.lines("unchecked")
    assert list(unchecked) == ["time, command, config, choices, versions, hardware", "figures"]  # paired intervals
    agreeing, record = done.lines("agrees"), recorded.record
    assert {"seal.sha256", "seal.hmac_sha256", "report_sha256", "strategy", "figures", "readings"} <= agreeing.keys()
    assert {f"forgotten.{part}" for part in ("dataset", "split", "count", "hmac_sha256")} <= agreeing.keys()
    assert {f"models.{name}" for name in ("original", "retrained", "retrained_1", "unlearned")} <= agreeing.keys()
    assert agreeing["readings"] == f"{len(record['readings'])} follow again from the stored predictions"
    followed, paired = (int(re.search(r"\d+", reason)[0]) for reason in (agreeing["figures"], unchecked["figures"]))
    assert followed + paired == len(record["figures"])
    assert 0 < paired < followed


def test_the_key_is_private_and_new_each_time(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        keys = {write_new_key(tmp_path / "audit.key") for _ in range(2)}
    finally:
        os.umask(before)
    assert len(keys) == 2
    assert (tmp_path / "audit.key").stat().st_mode & 0o777 == 0o600
    assert read_key(tmp_path / "audit.key") in keys
    assert [path.name for path in tmp_path.iterdir()] == ["audit.key"]


def test_the_hmac_is_that_of_rfc_2104(recorded: Audit, finished: Finished) -> None:
    """By hand: H(K ^ opad, H(K ^ ipad, text)), K padded to the 64 bytes of a block."""

    def hmac_sha256(key: bytes, text: bytes) -> str:
        inner, outer = (bytes(byte ^ pad for byte in key.ljust(64, b"\0")) for pad in (0x36, 0x5C))
        return hashlib.sha256(outer + hashlib.sha256(inner + text).digest()).hexdigest()

    key, forget_set = bytes.fromhex((recorded.folder / "audit.key").read_text()), recorded.record["forgotten"]
    indices = forgotten(finished)
    text = json.dumps({"dataset": forget_set["dataset"], "indices": indices}, sort_keys=True, separators=(",", ":"))
    assert forget_set["count"] == len(indices)
    assert forget_set["hmac_sha256"] == hmac_sha256(key, text.encode())
    assert keyed(b"k" * 32, {"b": [1, 2], "a": None}) == hmac_sha256(b"k" * 32, b'{"a":null,"b":[1,2]}')


def nodes(value: Any) -> Iterator[Any]:
    yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(item)


def test_a_request_can_be_confirmed_but_not_read_from_the_record(run: Run, tmp_path: Path) -> None:
    request, requested = tmp_path / "request.txt", [7, 31, 111]
    request.write_text("31\n111\n7\n")
    finished = run(tmp_path / "store", "forget=indices", f"forget.file={request}", "spd_gan=off", "train.epochs=1")
    assert set(requested) <= set(forgotten(finished))  # otherwise the test would check nothing
    write_record(finished, tmp_path / "out")
    audit = Audit(tmp_path / "out", tmp_path / "nowhere")
    lists = [node for node in nodes(audit.record) if isinstance(node, list)]
    assert not [items for items in lists if set(requested) & {item for item in items if isinstance(item, int)}]
    assert request.read_text() not in audit.file.read_text()
    done = verify(audit.file, "--store", audit.store, "--indices", request)
    assert done.status == 0
    assert done.lines("agrees")["forgotten.hmac_sha256"] == "the records of --indices"
    request.write_text("31\n112\n7\n")
    done = verify(audit.file, "--store", audit.store, "--indices", request)
    assert (done.status, list(done.lines("differs"))) == (1, ["forgotten.hmac_sha256"])


def test_with_a_blend_the_blended_model_is_the_measured_one(finished: Finished, run: Run, tmp_path: Path) -> None:
    write_record(run(finished.store, "blend=mix"), tmp_path)
    audit = Audit(tmp_path, finished.store)
    done = verify(audit.file, "--store", finished.store)
    assert done.status == 0, done.out
    assert done.lines("agrees")["models.blended"] == "made from the unlearned model"
    record = audit.record
    record["models"].pop("blended")
    audit.forge(record)
    assert f"readings.{FORGET} (seed 0)" in verify(audit.file, "--store", finished.store).lines("differs")


# Tampering


def figure(audit: Audit) -> None:
    record = audit.record
    record["figures"][FORGET]["value"] = 0.25
    audit.forge(record)


def interval(audit: Audit) -> None:
    record = audit.record
    record["figures"]["unlearned/mia_logistic_auc"]["interval"][0] = 0.25
    audit.forge(record)


def invented_value(audit: Audit) -> None:
    """A number for a metric that is null for too few samples."""
    record = audit.record
    record["figures"]["unlearned/mia_logistic_tpr_at_01pct_fpr"]["value"] = 0.0
    audit.forge(record)


def noise_floor(audit: Audit) -> None:
    record = audit.record
    record["figures"]["noise_floor/forget_accuracy"]["value"] = 1.0
    audit.forge(record)


def reading(audit: Audit) -> None:
    record = audit.record
    next(reading for reading in record["readings"] if _name(reading) == FORGET)["value"] = 0.25
    audit.forge(record)


def removed_readings(audit: Audit) -> None:
    record = audit.record
    record["readings"] = [reading for reading in record["readings"] if _name(reading) != FORGET]
    audit.forge(record)


def _name(reading: dict[str, Any]) -> str:
    return f"{reading['role']}/{reading['metric']}"


def count(audit: Audit) -> None:
    record = audit.record
    record["forgotten"]["count"] -= 1
    audit.forge(record)


def dataset(audit: Audit) -> None:
    record = audit.record
    record["forgotten"]["dataset"]["limit"] = 200
    audit.forge(record)


def strategy(audit: Audit) -> None:
    record = audit.record
    record["strategy"]["k"] = 0.5
    audit.forge(record)


def model_hash(audit: Audit) -> None:
    record = audit.record
    record["models"]["unlearned"]["files"]["model.safetensors"] = "0" * 64
    audit.forge(record)


def swapped_models(audit: Audit) -> None:
    record = audit.record
    models = record["models"]
    models["original"], models["retrained"] = (
        models[this] | {"role": other} for this, other in (("retrained", "original"), ("original", "retrained"))
    )
    audit.forge(record)


def model_byte(audit: Audit) -> None:
    path = audit.model("retrained_1") / "model.safetensors"
    weights = bytearray(path.read_bytes())
    weights[-1] ^= 1
    path.write_bytes(weights)


def renew_hash(path: Path) -> None:
    """Write the hash of a changed file to the store."""
    meta = json.loads((path.parent / "meta.json").read_text())
    meta["files"][path.name] = {
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    (path.parent / "meta.json").write_text(json.dumps(add_digest(meta)))


def measurement(audit: Audit) -> None:
    """Changed in the store and in the record, so that only the predictions contradict it."""
    record = audit.record
    reading = next(reading for reading in record["readings"] if _name(reading) == FORGET)
    path = audit.item(reading["key"]).entry.folder / "measurements.json"
    stored = json.loads(path.read_text())
    reading["value"] = stored["forget_accuracy"]["value"] = 0.25
    path.write_text(json.dumps(stored))
    renew_hash(path)
    audit.forge(record)


def indices(audit: Audit) -> None:
    path = audit.item(audit.record["forgotten"]["split"]).entry.folder / "split.safetensors"
    parts = load_file(path)
    parts["forget"][0], parts["retain"][0] = parts["retain"][0].clone(), parts["forget"][0].clone()
    save_file(parts, path)
    renew_hash(path)


def other_split(audit: Audit) -> None:
    record = audit.record
    record["forgotten"]["split"] = record["models"]["original"]["key"]
    audit.forge(record)


def other_measurement(audit: Audit) -> None:
    record = audit.record
    next(reading for reading in record["readings"] if _name(reading) == FORGET)["key"] = record["forgotten"]["split"]
    audit.forge(record)


def key(audit: Audit) -> None:
    write_new_key(audit.folder / "audit.key")


def report(audit: Audit) -> None:
    (audit.folder / "report.json").write_text("{}")


def time(audit: Audit) -> None:
    """Without renewing the seal."""
    audit.file.write_text(json.dumps(audit.record | {"time": "2020-01-01T00:00:00Z"}))


def command(audit: Audit) -> None:
    audit.forge(audit.record | {"command": "unlearn seed=7"})


@pytest.mark.parametrize(
    ("tamper", "named", "words"),
    [
        (figure, f"figures.{FORGET}", "value 0.25 in the record"),
        (interval, "figures.unlearned/mia_logistic_auc", "interval [0.25, "),
        (
            invented_value,
            "figures.unlearned/mia_logistic_tpr_at_01pct_fpr",
            "value 0.0 in the record, None from the readings",
        ),
        (noise_floor, "figures.noise_floor/forget_accuracy", "value 1.0 in the record"),
        (reading, f"readings.{FORGET} (seed 0)", "value 0.25 in the record"),
        (removed_readings, "figures", "some are missing"),
        (count, "forgotten.count", "by the store's split"),
        (dataset, "forgotten.dataset", "the store's split is of another data set"),
        (strategy, "strategy", "k: 0.5 -> 0.1"),
        (model_hash, "models.unlearned", "model.safetensors: another SHA-256"),
        (swapped_models, "models.original", "original in the record, retrained in the store"),
        (model_byte, "models.retrained_1", "model.safetensors: altered"),
        (measurement, f"readings.{FORGET} (seed 0)", "measured again"),
        (indices, "forgotten.hmac_sha256", "not the records of the store's split"),
        (other_split, "forgotten.split", "is a train, not a split"),
        (other_measurement, f"readings.{FORGET} (seed 0)", "is a split, not a measurement"),
        (key, "seal.hmac_sha256", "another key"),
        (key, "forgotten.hmac_sha256", "or another data set or key"),
        (report, "report_sha256", "another report"),
        (time, "seal.sha256", "changed after it was sealed"),
        (command, "seal.hmac_sha256", "changed after it was sealed"),
    ],
)
def test_tampering_is_detected_and_named(audit: Audit, tamper: Callable[[Audit], None], named: str, words: str) -> None:
    tamper(audit)
    done = verify(audit.file, "--store", audit.store)
    assert done.status == 1
    assert words in done.lines("differs")[named]
    assert done.out.splitlines()[-1].split(", ")[1] == f"{done.out.count('differs  ')} differ"


# What cannot be checked


def test_without_a_store_the_record_is_checked_alone(audit: Audit) -> None:
    done = verify(audit.file, "--store", audit.folder / "nowhere")
    assert done.status == 0
    assert {"seal.sha256", "seal.hmac_sha256", "report_sha256", "figures", "copies"} == done.lines("agrees").keys()
    unchecked = done.lines("unchecked")
    assert "nowhere" in unchecked["models.original"]
    assert "nowhere" in unchecked["readings"]
    assert (
        unchecked["forgotten.hmac_sha256"]
        == "the forgotten records are unknown: give --indices, or the store with the split"
    )
    figure(audit)
    assert list(verify(audit.file, "--store", "nowhere").lines("differs")) == ["seal.hmac_sha256", f"figures.{FORGET}"]


def test_without_the_key_the_forget_set_is_unchecked(audit: Audit) -> None:
    (audit.folder / "audit.key").unlink()
    done = verify(audit.file, "--store", audit.store)
    assert done.status == 0
    assert {"seal.hmac_sha256", "forgotten.hmac_sha256"} <= done.lines("unchecked").keys()
    assert "forgotten.count" in done.lines("agrees")


def test_a_purged_artifact_is_no_difference(audit: Audit) -> None:
    gone = [Removal(audit.item(audit.record["models"]["original"]["key"]), "made from their images")]
    record(audit.store, "purge", gone, {})
    remove(audit.store, gone, lambda done, total: None)
    done = verify(audit.file, "--store", audit.store)
    assert done.status == 0
    assert ", purge of 20" in done.lines("unchecked")["models.original"]


def test_measurements_by_other_code_are_not_repeated(recorded: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unlearn.stages.keys.code_hash", lambda module: "0" * 16)
    done = verify(recorded.file, "--store", recorded.store)
    assert done.status == 0
    assert "the code of" in done.lines("unchecked")["readings"]


def test_an_interval_that_needs_predictions_is_protected_by_the_seal(audit: Audit) -> None:
    record = audit.record
    record["figures"]["gap/forget_accuracy"]["interval"] = [-1.0, 1.0]
    audit.forge(record)
    done = verify(audit.file, "--store", audit.store)
    assert list(done.lines("differs")) == ["seal.hmac_sha256"]
    assert "their intervals also need predictions" in done.lines("unchecked")["figures"]


# Bad input


def changed(**fields: Any) -> Callable[[Audit], tuple[str, ...]]:
    def go(audit: Audit) -> tuple[str, ...]:
        record = audit.record | fields
        audit.file.write_text(json.dumps({name: value for name, value in record.items() if value is not None}))
        return ()

    return go


def replaced(name: str, text: str) -> Callable[[Audit], tuple[str, ...]]:
    def go(audit: Audit) -> tuple[str, ...]:
        (audit.folder / name).write_text(text)
        return ()

    return go


def cut(audit: Audit) -> tuple[str, ...]:
    audit.file.write_text(audit.file.read_text()[:-100])
    return ()


def twice(audit: Audit) -> tuple[str, ...]:
    audit.file.write_text('{"time": "2020-01-01T00:00:00Z",' + audit.file.read_text()[1:])
    return ()


def missing(audit: Audit) -> tuple[str, ...]:
    audit.file.unlink()
    return ()


def pointing(option: str, text: str | None = None) -> Callable[[Audit], tuple[str, ...]]:
    def go(audit: Audit) -> tuple[str, ...]:
        if text is not None:
            (audit.folder / "other").write_text(text)
        return (option, str(audit.folder / "other"))

    return go


def piped(option: str) -> Callable[[Audit], tuple[str, ...]]:
    """A pipe for the record itself, or for what an option names."""

    def go(audit: Audit) -> tuple[str, ...]:
        pipe = audit.folder / "other" if option else audit.file
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe)
        return (option, str(pipe)) if option else ()

    return go


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (piped(""), ["FILE: expected a readable audit record", "audit.json: not a regular file"]),
        (piped("--key"), ["--key: expected a readable key", "other: not a regular file"]),
        (piped("--indices"), ["--indices: expected a readable text file", "other: not a regular file"]),
        (cut, ["FILE: expected an audit record as it was written", "audit.json", "JSONDecodeError"]),
        (twice, ["audit.json", "a name that is given twice"]),
        (missing, ["FILE: expected a readable audit record", "audit.json", "No such file"]),
        (replaced("audit.json", "[]"), ["audit.json"]),
        (replaced("audit.json", '{"schema_version": NaN}'), ["audit.json", "NaN"]),
        (changed(schema_version=2), ["schema version 1", "version 2", "audit.json"]),
        (changed(figures=None), ["audit.json", "figures is missing"]),
        (
            changed(figures={"a": {"value": "b", "interval": None}}),
            ["audit.json", "figures.a.value has the wrong type"],
        ),
        (changed(readings=[{}]), ["audit.json", "readings[0].interval is missing"]),
        (changed(note="seen"), ["audit.json", "note is not a field"]),
        (replaced("audit.key", "secret"), ["--key: expected 64 hexadecimal digits", "audit.key"]),
        (pointing("--key"), ["--key: expected a readable key", "other", "No such file"]),
        (pointing("--indices"), ["--indices: expected a readable text file", "other"]),
        (
            pointing("--indices", "a.png\n"),
            ["--indices: expected indices, since the record does not name its data set", "file names"],
        ),
        (pointing("--indices", ""), ["--indices: expected indices of the training part, got none", "other"]),
    ],
)
def test_bad_input_is_one_clear_line(
    audit: Audit, damage: Callable[[Audit], tuple[str, ...]], words: list[str]
) -> None:
    done = verify(audit.file, "--store", audit.store, *damage(audit))
    assert done.status == 2
    (line,) = done.err.splitlines()
    assert line.startswith("unlearn-audit: ")
    assert all(word in line for word in words), line
    assert "secret" not in line


def test_help_loads_no_torch() -> None:
    spy = (
        "import sys\nfrom unlearn.cli.audit import main\ntry: main()\nexcept SystemExit: print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", spy, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "unlearn-audit verify" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"


def test_the_documentation_names_every_field() -> None:
    page = (Path(__file__).parents[2] / "docs" / "audit.md").read_text()
    assert [name for name in SCHEMA if f"`{name}`" not in page] == []
