"""`unlearn-audit` on the record of a real small run: what agrees, what was tampered with, what cannot be known."""

from __future__ import annotations

import hashlib
import io
import json
import os
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
from unlearn.audit.record import SHAPE, keyed, read_key, seal, write_new_key
from unlearn.cli.audit import main
from unlearn.config import to_plain_dict
from unlearn.core.artifact_meta import add_digest
from unlearn.inventory.catalogue import Catalogue, Item
from unlearn.inventory.removals import Removal, record, remove
from unlearn.report.assemble import assemble
from unlearn.report.write import write

FORGET = "unlearned/forget_accuracy"


@dataclass(frozen=True)
class Desk:
    """What an auditor is given: a folder with record, key and report, and a store."""

    folder: Path
    store: Path

    @property
    def file(self) -> Path:
        return self.folder / "audit.json"

    @property
    def record(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.file.read_text())
        return found

    def forge(self, record: dict[str, Any]) -> None:
        """As somebody without the key would: the digest fits again."""
        record["seal"] |= seal(record, None)
        self.file.write_text(json.dumps(record))

    def item(self, key: str) -> Item:
        return Catalogue.read(self.store).items[key]

    def model(self, name: str) -> Path:
        return self.item(self.record["models"][name]["key"]).entry.folder


@dataclass(frozen=True)
class Done:
    """What the command printed, and its exit status."""

    status: int
    out: str
    err: str

    def lines(self, state: str) -> dict[str, str]:
        """Reasons by what they are about."""
        rows = (line.split(None, 1) for line in self.out.splitlines()[:-1])
        told = (row[1].partition(": ") for row in rows if row[0] == state)
        return {what: why for what, _, why in told}


def verify(file: Path, *arguments: str | Path) -> Done:
    """`unlearn-audit verify`, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.delenv("UNLEARN_STORE", raising=False)
        patch.setattr(sys, "argv", ["unlearn-audit", "verify", str(file), *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    return Done(int(ended.value.code or 0), out.getvalue(), err.getvalue())


def audited(run: Finished, folder: Path) -> None:
    report = assemble(run.outcome, to_plain_dict(run.composed), {"strategy": "top_k"})
    write(report, folder)
    write_audit(run.outcome, report, folder)


@pytest.fixture(scope="module")
def shelved(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Of the small run. Not to be changed."""
    root = tmp_path_factory.mktemp("audit")
    for entry in finished.context.entries.values():  # other tests may have added to that store
        shutil.copytree(entry.folder, root / "store" / entry.folder.relative_to(finished.store))
    audited(finished, root / "out")
    return Desk(root / "out", root / "store")


@pytest.fixture
def desk(shelved: Desk, tmp_path: Path) -> Desk:
    """A copy to tamper with."""
    for folder in (shelved.folder, shelved.store):
        shutil.copytree(folder, tmp_path / folder.name)
    return Desk(tmp_path / "out", tmp_path / "store")


def forgotten(run: Finished) -> list[int]:
    split = run.context.get(run.outcome.plan.split).folder / "split.safetensors"
    return [int(index) for index in load_file(split)["forget"]]


# A fresh record


def test_a_fresh_record_agrees_in_all_that_can_be_checked(shelved: Desk) -> None:
    done = verify(shelved.file, "--store", shelved.store)
    assert done.status == 0, done.out
    assert done.lines("differs") == {}
    unchecked = done.lines("unchecked")
    assert list(unchecked) == ["time, command, config, choices, versions, hardware", "figures"]  # paired intervals
    found, record = done.lines("agrees"), shelved.record
    assert {"seal.sha256", "seal.hmac_sha256", "report_sha256", "strategy", "figures", "readings"} <= found.keys()
    assert {f"forgotten.{part}" for part in ("dataset", "split", "count", "hmac_sha256")} <= found.keys()
    assert {f"models.{name}" for name in ("original", "retrained", "retrained_1", "unlearned")} <= found.keys()
    assert found["readings"] == f"{len(record['readings'])} come out again from the stored predictions"
    followed, paired = (int(words.split()[0]) for words in (found["figures"], unchecked["figures"]))
    assert followed + paired == len(record["figures"])
    assert 0 < paired < followed


def test_the_key_is_its_owners_and_new_each_time(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        keys = {write_new_key(tmp_path / "audit.key") for _ in range(2)}
    finally:
        os.umask(before)
    assert len(keys) == 2
    assert (tmp_path / "audit.key").stat().st_mode & 0o777 == 0o600
    assert read_key(tmp_path / "audit.key") in keys
    assert [path.name for path in tmp_path.iterdir()] == ["audit.key"]


def test_the_hmac_is_that_of_rfc_2104(shelved: Desk, finished: Finished) -> None:
    """By hand: H(K ^ opad, H(K ^ ipad, text)), K padded to the 64 bytes of a block."""

    def hmac_sha256(key: bytes, text: bytes) -> str:
        inner, outer = (bytes(byte ^ pad for byte in key.ljust(64, b"\0")) for pad in (0x36, 0x5C))
        return hashlib.sha256(outer + hashlib.sha256(inner + text).digest()).hexdigest()

    key, told = bytes.fromhex((shelved.folder / "audit.key").read_text()), shelved.record["forgotten"]
    indices = forgotten(finished)
    text = json.dumps({"dataset": told["dataset"], "indices": indices}, sort_keys=True, separators=(",", ":"))
    assert told["count"] == len(indices)
    assert told["hmac_sha256"] == hmac_sha256(key, text.encode())
    assert keyed(b"k" * 32, {"b": [1, 2], "a": None}) == hmac_sha256(b"k" * 32, b'{"a":null,"b":[1,2]}')


def nodes(value: Any) -> Iterator[Any]:
    yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(item)


def test_a_request_is_confirmed_by_who_knows_it_and_told_to_nobody(run: Run, tmp_path: Path) -> None:
    request, wanted = tmp_path / "request.txt", [7, 31, 111]
    request.write_text("31\n111\n7\n")
    asked = run(tmp_path / "store", "forget=indices", f"forget.file={request}", "spd_gan=off", "train.epochs=1")
    assert set(wanted) <= set(forgotten(asked))  # else nobody was forgotten
    audited(asked, tmp_path / "out")
    desk = Desk(tmp_path / "out", tmp_path / "nowhere")
    lists = [node for node in nodes(desk.record) if isinstance(node, list)]
    assert not [each for each in lists if set(wanted) & {item for item in each if isinstance(item, int)}]
    assert request.read_text() not in desk.file.read_text()
    done = verify(desk.file, "--store", desk.store, "--indices", request)
    assert done.status == 0
    assert done.lines("agrees")["forgotten.hmac_sha256"] == "those of --indices are meant"
    request.write_text("31\n112\n7\n")
    done = verify(desk.file, "--store", desk.store, "--indices", request)
    assert (done.status, list(done.lines("differs"))) == (1, ["forgotten.hmac_sha256"])


def test_a_blend_is_what_was_measured(finished: Finished, run: Run, tmp_path: Path) -> None:
    audited(run(finished.store, "blend=mix"), tmp_path)
    desk = Desk(tmp_path, finished.store)
    done = verify(desk.file, "--store", finished.store)
    assert done.status == 0, done.out
    assert done.lines("agrees")["models.blended"] == "made from the unlearned one"
    record = desk.record
    record["models"].pop("blended")
    desk.forge(record)
    assert f"evaluations.{FORGET} (seed 0)" in verify(desk.file, "--store", finished.store).lines("differs")


# Tampering


def figure(desk: Desk) -> None:
    record = desk.record
    record["figures"][FORGET]["value"] = 0.25
    desk.forge(record)


def interval(desk: Desk) -> None:
    record = desk.record
    record["figures"]["unlearned/mia_logistic_auc"]["interval"][0] = 0.25
    desk.forge(record)


def filled_in(desk: Desk) -> None:
    """A number where too few samples gave none."""
    record = desk.record
    record["figures"]["unlearned/mia_logistic_tpr_at_01pct_fpr"]["value"] = 0.0
    desk.forge(record)


def noise_floor(desk: Desk) -> None:
    record = desk.record
    record["figures"]["noise_floor/forget_accuracy"]["value"] = 1.0
    desk.forge(record)


def reading(desk: Desk) -> None:
    record = desk.record
    next(each for each in record["readings"] if _named(each) == FORGET)["value"] = 0.25
    desk.forge(record)


def lost_readings(desk: Desk) -> None:
    record = desk.record
    record["readings"] = [each for each in record["readings"] if _named(each) != FORGET]
    desk.forge(record)


def _named(each: dict[str, Any]) -> str:
    return f"{each['role']}/{each['metric']}"


def count(desk: Desk) -> None:
    record = desk.record
    record["forgotten"]["count"] -= 1
    desk.forge(record)


def dataset(desk: Desk) -> None:
    record = desk.record
    record["forgotten"]["dataset"]["limit"] = 200
    desk.forge(record)


def strategy(desk: Desk) -> None:
    record = desk.record
    record["strategy"]["k"] = 0.5
    desk.forge(record)


def model_hash(desk: Desk) -> None:
    record = desk.record
    record["models"]["unlearned"]["files"]["model.safetensors"] = "0" * 64
    desk.forge(record)


def swapped_models(desk: Desk) -> None:
    record = desk.record
    models = record["models"]
    models["original"], models["retrained"] = (
        models[this] | {"role": other} for this, other in (("retrained", "original"), ("original", "retrained"))
    )
    desk.forge(record)


def model_byte(desk: Desk) -> None:
    path = desk.model("retrained_1") / "model.safetensors"
    weights = bytearray(path.read_bytes())
    weights[-1] ^= 1
    path.write_bytes(weights)


def rewritten(path: Path) -> None:
    """The hash that the store noted fits again."""
    meta = json.loads((path.parent / "meta.json").read_text())
    meta["files"][path.name] = {
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    (path.parent / "meta.json").write_text(json.dumps(add_digest(meta)))


def measurement(desk: Desk) -> None:
    """In the store and in the record, so that only the predictions speak against it."""
    record = desk.record
    told = next(each for each in record["readings"] if _named(each) == FORGET)
    path = desk.item(told["key"]).entry.folder / "measurements.json"
    stored = json.loads(path.read_text())
    told["value"] = stored["forget_accuracy"]["value"] = 0.25
    path.write_text(json.dumps(stored))
    rewritten(path)
    desk.forge(record)


def indices(desk: Desk) -> None:
    path = desk.item(desk.record["forgotten"]["split"]).entry.folder / "split.safetensors"
    parts = load_file(path)
    parts["forget"][0], parts["retain"][0] = parts["retain"][0].clone(), parts["forget"][0].clone()
    save_file(parts, path)
    rewritten(path)


def other_split(desk: Desk) -> None:
    record = desk.record
    record["forgotten"]["split"] = record["models"]["original"]["key"]
    desk.forge(record)


def other_measurement(desk: Desk) -> None:
    record = desk.record
    next(each for each in record["readings"] if _named(each) == FORGET)["key"] = record["forgotten"]["split"]
    desk.forge(record)


def key(desk: Desk) -> None:
    write_new_key(desk.folder / "audit.key")


def report(desk: Desk) -> None:
    (desk.folder / "report.json").write_text("{}")


def time(desk: Desk) -> None:
    """Without renewing the seal."""
    desk.file.write_text(json.dumps(desk.record | {"time": "2020-01-01T00:00:00Z"}))


def command(desk: Desk) -> None:
    desk.forge(desk.record | {"command": "unlearn seed=7"})


@pytest.mark.parametrize(
    ("tamper", "named", "words"),
    [
        (figure, f"figures.{FORGET}", "value 0.25 in the record"),
        (interval, "figures.unlearned/mia_logistic_auc", "interval [0.25, "),
        (filled_in, "figures.unlearned/mia_logistic_tpr_at_01pct_fpr", "value 0.0 in the record, None by evaluations"),
        (noise_floor, "figures.noise_floor/forget_accuracy", "value 1.0 in the record"),
        (reading, f"evaluations.{FORGET} (seed 0)", "value 0.25 in the record"),
        (lost_readings, "figures", "some are missing"),
        (count, "forgotten.count", "by the store's split"),
        (dataset, "forgotten.dataset", "the store's split is of"),
        (strategy, "strategy", "k: 0.5 -> 0.1"),
        (model_hash, "models.unlearned", "model.safetensors: another SHA-256"),
        (swapped_models, "models.original", "original in the record, retrained in the store"),
        (model_byte, "models.retrained_1", "model.safetensors: altered"),
        (measurement, f"evaluations.{FORGET} (seed 0)", "measured again"),
        (indices, "forgotten.hmac_sha256", "others are meant"),
        (other_split, "forgotten.split", "is a train, not a split"),
        (other_measurement, f"evaluations.{FORGET} (seed 0)", "is a split, not a measurement"),
        (key, "seal.hmac_sha256", "another key"),
        (key, "forgotten.hmac_sha256", "or another data set or key"),
        (report, "report_sha256", "another report"),
        (time, "seal.sha256", "changed after it was sealed"),
        (command, "seal.hmac_sha256", "changed after it was sealed"),
    ],
)
def test_tampering_is_found_and_named(desk: Desk, tamper: Callable[[Desk], None], named: str, words: str) -> None:
    tamper(desk)
    done = verify(desk.file, "--store", desk.store)
    assert done.status == 1
    assert words in done.lines("differs")[named]
    assert done.out.splitlines()[-1].split(", ")[1] == f"{done.out.count('differs  ')} differ"


# What cannot be checked


def test_without_a_store_the_record_still_answers_for_itself(desk: Desk) -> None:
    done = verify(desk.file, "--store", desk.folder / "nowhere")
    assert done.status == 0
    assert {"seal.sha256", "seal.hmac_sha256", "report_sha256", "figures", "copies"} == done.lines("agrees").keys()
    unchecked = done.lines("unchecked")
    assert "nowhere" in unchecked["models.original"]
    assert "nowhere" in unchecked["readings"]
    assert unchecked["forgotten.hmac_sha256"] == "neither --indices nor the store's split tells who"
    figure(desk)
    assert list(verify(desk.file, "--store", "nowhere").lines("differs")) == ["seal.hmac_sha256", f"figures.{FORGET}"]


def test_without_the_key_who_was_forgotten_stays_hidden(desk: Desk) -> None:
    (desk.folder / "audit.key").unlink()
    done = verify(desk.file, "--store", desk.store)
    assert done.status == 0
    assert {"seal.hmac_sha256", "forgotten.hmac_sha256"} <= done.lines("unchecked").keys()
    assert "forgotten.count" in done.lines("agrees")


def test_what_a_purge_took_is_no_difference(desk: Desk) -> None:
    gone = [Removal(desk.item(desk.record["models"]["original"]["key"]), "made from their images")]
    record(desk.store, "purge", gone, {})
    remove(desk.store, gone, lambda done, total: None)
    done = verify(desk.file, "--store", desk.store)
    assert done.status == 0
    assert ", purge of 20" in done.lines("unchecked")["models.original"]


def test_what_other_code_measured_is_not_measured_again(shelved: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unlearn.stages.keys.code_hash", lambda module: "0" * 16)
    done = verify(shelved.file, "--store", shelved.store)
    assert done.status == 0
    assert "the code of" in done.lines("unchecked")["readings"]


def test_an_interval_that_takes_predictions_is_left_to_the_seal(desk: Desk) -> None:
    record = desk.record
    record["figures"]["gap/forget_accuracy"]["interval"] = [-1.0, 1.0]
    desk.forge(record)
    done = verify(desk.file, "--store", desk.store)
    assert list(done.lines("differs")) == ["seal.hmac_sha256"]
    assert "their intervals take predictions" in done.lines("unchecked")["figures"]


# Bad input


def changed(**fields: Any) -> Callable[[Desk], tuple[str, ...]]:
    def go(desk: Desk) -> tuple[str, ...]:
        record = desk.record | fields
        desk.file.write_text(json.dumps({name: value for name, value in record.items() if value is not None}))
        return ()

    return go


def replaced(name: str, text: str) -> Callable[[Desk], tuple[str, ...]]:
    def go(desk: Desk) -> tuple[str, ...]:
        (desk.folder / name).write_text(text)
        return ()

    return go


def cut(desk: Desk) -> tuple[str, ...]:
    desk.file.write_text(desk.file.read_text()[:-100])
    return ()


def twice(desk: Desk) -> tuple[str, ...]:
    desk.file.write_text('{"time": "2020-01-01T00:00:00Z",' + desk.file.read_text()[1:])
    return ()


def missing(desk: Desk) -> tuple[str, ...]:
    desk.file.unlink()
    return ()


def pointing(option: str, text: str | None = None) -> Callable[[Desk], tuple[str, ...]]:
    def go(desk: Desk) -> tuple[str, ...]:
        if text is not None:
            (desk.folder / "other").write_text(text)
        return (option, str(desk.folder / "other"))

    return go


def piped(option: str) -> Callable[[Desk], tuple[str, ...]]:
    """A pipe for the record itself, or for what an option names."""

    def go(desk: Desk) -> tuple[str, ...]:
        pipe = desk.folder / "other" if option else desk.file
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe)
        return (option, str(pipe)) if option else ()

    return go


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (piped(""), ["FILE: expected a readable audit record", "audit.json: not a regular file"]),
        (piped("--key"), ["--key: expected a readable key", "other: not a regular file"]),
        (piped("--indices"), ["--indices: expected a readable text file", "other: not a regular file"]),
        (cut, ["FILE: expected an audit record as it was written", "audit.json", "JSONDecodeError"]),
        (twice, ["audit.json", "a name given twice"]),
        (missing, ["FILE: expected a readable audit record", "audit.json", "No such file"]),
        (replaced("audit.json", "[]"), ["audit.json"]),
        (replaced("audit.json", '{"schema_version": NaN}'), ["audit.json", "NaN"]),
        (changed(schema_version=2), ["schema version 1", "version 2", "audit.json"]),
        (changed(figures=None), ["audit.json", "figures is missing"]),
        (
            changed(figures={"a": {"value": "b", "interval": None}}),
            ["audit.json", "figures.a.value is of another type"],
        ),
        (changed(evaluations=[{}]), ["audit.json", "evaluations[0].interval is missing"]),
        (changed(note="seen"), ["audit.json", "note is none of its fields"]),
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
def test_bad_input_is_one_clear_line(desk: Desk, spoil: Callable[[Desk], tuple[str, ...]], words: list[str]) -> None:
    done = verify(desk.file, "--store", desk.store, *spoil(desk))
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


def test_the_page_names_every_field() -> None:
    page = (Path(__file__).parents[1] / "docs" / "audit.md").read_text()
    assert [name for name in SHAPE if f"`{name}`" not in page] == []
