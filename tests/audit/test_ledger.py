"""`unlearn-ledger`: nothing that was reported as written is lost, and no change of the file goes unnoticed."""

from __future__ import annotations

import io
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Finished
from safetensors.torch import load_file

from unlearn.api.files import add_to_ledger
from unlearn.audit.build import write_audit
from unlearn.audit.ledger import COMMON, MAX_LINE, NOTE, REQUEST, SCHEMAS, encode_line, head_file, key_file
from unlearn.audit.ledger_entries import add_note, commit_to_request
from unlearn.audit.ledger_file import open_ledger
from unlearn.audit.record import seal, write_new_key
from unlearn.audit.verify_ledger import verify_models
from unlearn.cli.ledger import main
from unlearn.cli.store import main as run_store_command
from unlearn.config import to_plain_dict
from unlearn.config.environment_checks import check_surroundings
from unlearn.core.errors import ConfigError, UnlearnError
from unlearn.report.assemble import assemble
from unlearn.report.write import write

ZERO = "0" * 64
CHOICES = {"dataset": "digits", "forget": "random", "strategy": "top_k"}

# Adds notes, prints the number of each once it is added, and says that it is ready before it waits for `go`.
WRITER = """
import sys, time
from pathlib import Path
from unlearn.audit.ledger_entries import add_note

ledger, count = Path(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
while not ledger.with_name("go").exists():
    time.sleep(0.001)
for number in range(count):
    print(add_note(ledger, 1, f"note {number}" * 100).entry["entry"], flush=True)
"""


@dataclass(frozen=True)
class Done:
    """The output of the command and its exit status."""

    status: int
    out: str
    err: str


def command(ledger: Path, *words: str | Path) -> Done:
    """Run `unlearn-ledger` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.delenv("UNLEARN_STORE", raising=False)
        patch.setattr(sys, "argv", ["unlearn-ledger", "--ledger", str(ledger), *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
    return Done(int(ended.value.code or 0), out.getvalue(), err.getvalue())


def model(name: str, **more: str | None) -> dict[str, Any]:
    """The fields of a model: its name in place of its hashes."""
    return {"key": name, "sha256": f"weights of {name}", "file_sha256": None} | more


def request(start: dict[str, Any], out: dict[str, Any]) -> dict[str, Any]:
    """The fields of a request, as of a run that went from one model to another."""
    return {
        "reference": None,
        **{"dataset": "digits", "forget": "indices", "strategy": "top_k"},
        "forgotten": {"count": 3, "split": ZERO, "salt": "", "hmac_sha256": ZERO},
        "model_in": {"lineage": None} | start,
        "model_out": out,
        "verdict": {"forgotten": "forgotten", "utility": "kept"},
        **{"retrained": 2, "seconds": 1.5, "report_sha256": ZERO, "audit_sha256": None},
    }


def entries(ledger: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ledger.read_bytes().splitlines()]


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A ledger of one request and four notes."""
    path = tmp_path / "ledger.jsonl"
    with open_ledger(path) as opened:
        opened.append(REQUEST, request(model("original"), model("first")))
        for number in range(4):
            opened.append(NOTE, {"about": 1, "to": "the applicant", "text": f"letter {number}"})
    return path


# A run's request


@pytest.fixture(scope="module")
def run_folder(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the small run, with its report and its audit record."""
    folder = tmp_path_factory.mktemp("run")
    report = assemble(finished.outcome, to_plain_dict(finished.composed), CHOICES)
    write(report, folder)
    write_audit(finished.outcome, report, folder)
    return folder


@pytest.mark.parametrize("file", ["", "report.json", "audit.json"])
def test_a_run_is_added_once_without_a_name(finished: Finished, run_folder: Path, tmp_path: Path, file: str) -> None:
    ledger = tmp_path / "kept" / "ledger.jsonl"
    words = ("add", run_folder / file, "--store", finished.store, "--reference", "ticket 17")
    done = command(ledger, *words)
    assert done.status == 0, done.err
    (entry,) = entries(ledger)
    plan, get = finished.outcome.plan, finished.context.get
    indices = load_file(get(plan.split).file("split.safetensors"))["forget"].tolist()
    assert entry["forgotten"]["count"] == len(indices)
    assert (entry["model_in"]["key"], entry["model_out"]["key"]) == (plan.original.key, plan.unlearned.key)
    hashes = [get(stage).meta["files"]["model.safetensors"]["sha256"] for stage in (plan.original, plan.unlearned)]
    assert [entry["model_in"]["sha256"], entry["model_out"]["sha256"]] == hashes
    assert str(indices)[1:-1] not in ledger.read_text()
    assert entry["seal"]["sha256"] in done.out
    assert key_file(ledger).stat().st_mode & 0o777 == 0o600
    again = command(ledger, *words)
    assert (again.status, len(entries(ledger))) == (0, 1)
    assert "entry 1" in again.out
    assert "ticket 17" in command(ledger, "list").out
    assert command(ledger, "verify").status == 0


def test_a_request_is_recognised_after_a_purge_with_the_key_alone(
    finished: Finished, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, request = tmp_path / "store", tmp_path / "request.txt"
    ledger = store / "ledger.jsonl"  # the worst place that a user could choose
    shutil.copytree(finished.store, store)
    command(ledger, "add", run_folder, "--store", store)
    command(ledger, "note", "1", "Answered.")
    split = finished.context.get(finished.outcome.plan.split)
    indices = load_file(split.file("split.safetensors"))["forget"].tolist()
    request.write_text("\n".join(map(str, reversed(indices))))
    before = ledger.read_bytes()
    purge = ["purge", "--request", str(request), "dataset.limit=300"]
    monkeypatch.setattr(sys, "argv", ["unlearn-store", "--store", str(store), *purge])
    with pytest.raises(SystemExit):
        run_store_command()
    assert list(store.glob("removals/*.json"))
    assert ledger.read_bytes() == before
    assert command(ledger, "verify").status == 0
    words = ("list", "--request", request, "dataset.limit=300", "--store", tmp_path / "nowhere")
    done = command(ledger, *words)
    assert done.status == 0, done.err
    assert [line.split()[0] for line in done.out.splitlines()] == ["entry", "1", "2"]
    request.write_text("\n".join(map(str, indices[1:])))
    assert command(ledger, *words).status == 1
    key_file(ledger).unlink()
    assert "none, without which no request" in command(ledger, *words).err


def test_equal_requests_look_different() -> None:
    hmacs = {commit_to_request(b"k" * 32, salt, {}, [1, 2]) for salt in ("a", "b")}
    assert len(hmacs) == 2


def replaced(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def another_report(folder: Path) -> None:
    with (folder / "report.json").open("a") as file:
        file.write(" ")


def without_model(folder: Path) -> None:
    report = json.loads((folder / "report.json").read_text())
    report["artifacts"]["unlearned"]["key"] = ZERO
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "audit.json").unlink()


def without_key(folder: Path) -> None:
    replaced("report.json", b'{"artifacts": {"original": {"key": "../../x"}}}')(folder)
    (folder / "audit.json").unlink()


def pipe_for_report(folder: Path) -> None:
    (folder / "report.json").unlink()
    os.mkfifo(folder / "report.json")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "report.json").unlink(), "RUN: expected the report of a finished run"),
        (another_report, "which is of another report"),
        (replaced("report.json", b"{}"), "got other content"),
        (replaced("report.json", b"["), "got other content"),
        (replaced("audit.json", b"{}"), "expected an audit record as it was written"),
        (without_model, "expected the run's unlearned (000000000000)"),
        (without_key, "got other content"),
        (pipe_for_report, "not a regular file"),
    ],
)
def test_a_run_that_cannot_be_read_is_refused_in_one_line(
    finished: Finished, run_folder: Path, tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    folder, ledger = tmp_path / "run", tmp_path / "ledger.jsonl"
    folder.mkdir()
    for path in run_folder.glob("*.json"):
        (folder / path.name).write_bytes(path.read_bytes())
    damage(folder)
    done = command(ledger, "add", folder, "--store", finished.store)
    (line,) = done.err.splitlines()
    assert (done.status, ledger.exists()) == (2, False)
    assert words in line


# Changes


def lines(ledger: Path) -> list[bytes]:
    return ledger.read_bytes().splitlines(keepends=True)


def changed(ledger: Path) -> None:
    ledger.write_bytes(ledger.read_bytes().replace(b"letter 1", b"letter 9"))


def respaced(ledger: Path) -> None:
    content = lines(ledger)
    ledger.write_bytes(b"".join([*content[:2], content[2].replace(b'","', b'", "'), *content[3:]]))


def resealed(ledger: Path) -> None:
    """Changed, with a new digest, as somebody without the key can."""
    content = lines(ledger)
    entry = json.loads(content[2]) | {"text": "letter 9"}
    entry["seal"] |= seal(entry, None)
    ledger.write_bytes(b"".join([*content[:2], encode_line(entry), *content[3:]]))


def rewritten(ledger: Path) -> None:
    """All lines from the third on written again, under another key, with a new end."""
    key = write_new_key(ledger.with_name("other.key"))
    content, previous = lines(ledger)[:2], json.loads(lines(ledger)[1])
    for line in lines(ledger)[2:]:
        entry = json.loads(line) | {"text": "never", "previous": previous["seal"]["sha256"]}
        previous = entry | {"seal": seal(entry, key)}
        content.append(encode_line(previous))
    ledger.write_bytes(b"".join(content))
    head_file(ledger).write_text(json.dumps({"entry": 5, "sha256": previous["seal"]["sha256"]}))


def dropped(ledger: Path) -> None:
    ledger.write_bytes(b"".join(lines(ledger)[:2] + lines(ledger)[3:]))


def first_dropped(ledger: Path) -> None:
    ledger.write_bytes(b"".join(lines(ledger)[1:]))


def reordered(ledger: Path) -> None:
    one, two, three, four, five = lines(ledger)
    ledger.write_bytes(b"".join([one, two, four, three, five]))


def twice(ledger: Path) -> None:
    ledger.write_bytes(b"".join([*lines(ledger), lines(ledger)[2]]))


def short(ledger: Path) -> None:
    ledger.write_bytes(b"".join(lines(ledger)[:3]))


def emptied(ledger: Path) -> None:
    ledger.write_bytes(b"")


def cut_after_it_was_written(ledger: Path) -> None:
    ledger.write_bytes(ledger.read_bytes()[:-40])


def spoilt(content: bytes) -> Callable[[Path], None]:
    return lambda ledger: ledger.write_bytes(b"".join([*lines(ledger)[:2], content])) and None


def enormous(ledger: Path) -> None:
    """A third line of 100 MB; the file system stores its zeros as a hole."""
    size = len(b"".join(lines(ledger)[:2]))
    os.truncate(ledger, size)
    os.truncate(ledger, size + 100 * 10**6)


CHANGES = [
    (changed, "line 3: was changed after it was written"),
    (respaced, "line 3: was changed after it was written"),
    (resealed, "line 3: was not sealed with the key"),
    (resealed, "line 4: does not hold the digest of the line before: it, or line 3, was replaced"),
    (rewritten, "line 3: was not sealed with the key"),
    (dropped, "line 3: holds entry 4, expected entry 3: entry 3 was dropped before it"),
    (first_dropped, "line 1: holds entry 2, expected entry 1: entry 1 was dropped before it"),
    (reordered, "line 3: holds entry 4, expected entry 3: entries are out of order"),
    (twice, "line 6: holds entry 3, expected entry 6"),
    (short, "end: it ends with entry 3, but entry 5"),
    (emptied, "end: it ends with entry 0, but entry 5"),
    (cut_after_it_was_written, "line 5: has no line end"),
    (spoilt(b"\xff\xfe\n"), "line 3: is not UTF-8"),
    (spoilt(b"{\n"), "line 3: is not JSON"),
    (spoilt(b"[" * 100_000 + b"\n"), "line 3: is JSON of too many levels"),
    (spoilt(b'{"event": "note", "event": "note"}\n'), "line 3: a name that is given twice"),
    (spoilt(b'{"event": "note", "about": NaN}\n'), "line 3: NaN"),
    (spoilt(b'{"event": "note"}\n'), "line 3: is not an entry of a ledger: about is missing"),
    (spoilt(b'{"event": []}\n'), "line 3: is not an entry of a ledger"),
    (spoilt(b"\n"), "line 3: is not JSON"),
    (enormous, f"line 3: is longer than {MAX_LINE:,} bytes"),
]


@pytest.mark.parametrize(("change", "words"), CHANGES)
def test_a_change_is_found_and_nothing_is_added_to_it(ledger: Path, change: Callable[[Path], None], words: str) -> None:
    assert command(ledger, "verify").status == 0
    change(ledger)
    done = command(ledger, "verify")
    assert done.status == 1, done.out
    assert words in done.out.replace("differs    ", "")
    before = ledger.stat()
    note = command(ledger, "note", "1", "one more")
    assert note.status == 2
    assert len(note.err.splitlines()) == 1
    assert (ledger.stat().st_size, ledger.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert command(ledger, "list").status == 0


def test_no_byte_can_be_changed_unnoticed(ledger: Path) -> None:
    content, draw = ledger.read_bytes(), random.Random(0)
    for position in draw.sample(range(len(content)), 60):
        changed_byte = bytes([content[position] ^ 1 << draw.randrange(8)])
        ledger.write_bytes(content[:position] + changed_byte + content[position + 1 :])
        assert command(ledger, "verify").status == 1, (position, changed_byte)


def test_a_digest_kept_elsewhere_finds_a_cut_end_without_the_other_files(ledger: Path) -> None:
    digest = entries(ledger)[-1]["seal"]["sha256"]
    for path in (head_file(ledger), key_file(ledger)):
        path.unlink()
    done = command(ledger, "verify", "--digest", digest)
    assert (done.status, done.out.count("unchecked")) == (0, 2)
    short(ledger)
    assert command(ledger, "verify").status == 0  # nothing is left to see it by
    done = command(ledger, "verify", "--digest", digest)
    assert (done.status, "no entry has" in done.out) == (1, True)
    assert "expected 8 to 64 hexadecimal digits" in command(ledger, "verify", "--digest", "no").err


@pytest.mark.parametrize("content", [b"", b"[]", b'{"entry": 5}', b'{"entry": true, "sha256": ""}', b"\xff"])
def test_a_damaged_head_is_refused_in_one_line(ledger: Path, content: bytes) -> None:
    head_file(ledger).write_bytes(content)
    for words in (("verify",), ("note", "1", "text")):
        done = command(ledger, *words)
        (line,) = done.err.splitlines()
        assert (done.status, "expected the number and digest of the last entry" in line) == (2, True)


def test_without_its_key_a_ledger_takes_no_more_entries(ledger: Path) -> None:
    key_file(ledger).unlink()
    assert "expected the key of this ledger" in command(ledger, "note", "1", "text").err
    assert not key_file(ledger).exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("note", "6", "text"), "ENTRY: expected a number from 1 to 5, got 6"),
        (("note", "1", " "), "TEXT: expected a text of at most 10,000 characters, got an empty one"),
        (("note", "1", "x" * 10_001), "TEXT: expected a text of at most 10,000 characters, got 10,001 characters"),
        (("list", "more"), "list: expected no further arguments, got more"),
    ],
)
def test_what_makes_no_entry_is_refused(ledger: Path, words: tuple[str, ...], message: str) -> None:
    before = ledger.read_bytes()
    done = command(ledger, *words)
    assert (done.status, done.err.strip()) == (2, f"unlearn-ledger: {message}")
    assert ledger.read_bytes() == before


def test_notes_take_every_text_and_the_list_shows_it_on_one_line(ledger: Path) -> None:
    for text in ("zwei\nZeilen", "\x1b[2J", "漢字 \ud800"):
        assert command(ledger, "note", "1", text, "--to", "a\tb").status == 0
    assert command(ledger, "verify").status == 0
    listed = command(ledger, "list").out
    assert len(listed.splitlines()) == 9
    assert "\x1b" not in listed


# Stopped in the middle


def test_an_incomplete_line_is_removed_and_no_whole_entry(ledger: Path) -> None:
    """Every state that a kill can leave: the head is written last."""
    *_, whole, last = lines(ledger)
    head = {"entry": 4, "sha256": json.loads(whole)["seal"]["sha256"]}
    complete = ledger.read_bytes().removesuffix(last)
    for size in [*range(1, len(last) - 2, 37), len(last) - 2, len(last) - 1, len(last)]:
        ledger.write_bytes(complete + last[:size])
        head_file(ledger).write_text(json.dumps(head))
        is_whole = size >= len(last) - 1  # the line end may be missing
        assert command(ledger, "verify").status == int(size < len(last))
        done = command(ledger, "note", "1", "after the kill")
        assert done.status == 0, done.err
        assert ("removed an incomplete last line" in done.out) is not is_whole
        texts = [entry["text"] for entry in entries(ledger)[1:]]
        assert texts == ["letter 0", "letter 1", "letter 2", *["letter 3"] * is_whole, "after the kill"]
        assert command(ledger, "verify").status == 0


def start_writer(ledger: Path, count: int) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", WRITER, str(ledger), str(count)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_no_entry_of_processes_that_write_at_the_same_time_is_lost(ledger: Path) -> None:
    writers = [start_writer(ledger, 8) for _ in range(3)]
    ledger.with_name("go").touch()
    outputs = [writer.communicate(timeout=60)[0] for writer in writers]
    numbers = sorted(int(number) for output in outputs for number in output.split())
    assert numbers == list(range(6, 30))
    assert command(ledger, "verify").status == 0
    assert len(entries(ledger)) == 29


def test_a_killed_writer_loses_nothing_that_it_reported(ledger: Path) -> None:
    ledger.with_name("go").touch()
    writer = start_writer(ledger, 10_000)
    assert writer.stdout is not None
    first = [writer.stdout.readline() for _ in range(5)]
    writer.send_signal(signal.SIGKILL)
    reported = [int(number) for number in [*first, *writer.communicate()[0].splitlines()]]
    assert add_note(ledger, 1, "after the kill").entry["entry"] > reported[-1]
    assert {entry["entry"] for entry in entries(ledger)} >= set(reported)
    assert command(ledger, "verify").status == 0


def test_a_full_disk_leaves_the_ledger_as_it_was(ledger: Path) -> None:
    """The system writes 100 bytes of the line, then refuses the rest."""
    before, (_, hard) = ledger.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, hard))
    try:
        done = command(ledger, "note", "1", "x" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    (line,) = done.err.splitlines()
    assert (done.status, ledger.read_bytes()) == (2, before)
    assert "expected a ledger that can be written" in line
    assert command(ledger, "note", "1", "x" * 1000).status == 0


# Not a file


def link(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("put", [link, pipe, folder])
@pytest.mark.parametrize("suffix", ["", ".key", ".head", ".lock"])
def test_what_is_no_file_is_refused_in_one_line(ledger: Path, put: Callable[[Path], None], suffix: str) -> None:
    path = ledger.with_name(ledger.name + suffix)
    put(path)
    done = command(ledger, "note", "1", "text")
    (line,) = done.err.splitlines()
    assert (done.status, f"expected a regular file, got {path}" in line) == (2, True)
    if suffix != ".lock":  # only writers lock
        assert command(ledger, "verify").status == 2


def test_a_folder_that_cannot_hold_a_ledger_is_refused(tmp_path: Path, ledger: Path) -> None:
    (tmp_path / "file").touch()
    for words in (("verify",), ("list",), ("note", "1", "text")):
        for path in (tmp_path / "file" / "ledger.jsonl", tmp_path / "none.jsonl"):
            done = command(path, *words)
            assert (done.status, len(done.err.splitlines())) == (2, 1), done
    with (
        pytest.raises(UnlearnError, match="expected a ledger that can be written"),
        open_ledger(tmp_path / "file" / "a"),
    ):
        pass


# Models


def find_breaks(*runs: tuple[dict[str, Any], dict[str, Any]]) -> list[str]:
    requests = [request(*run) | {"entry": number} for number, run in enumerate(runs, start=1)]
    return [f"{finding.state} {finding.field}: {finding.reason}" for finding in verify_models(requests)]


ORIGINAL, A, B, C = (model(name) for name in ("original", "a", "b", "c"))
EXPORTED = model("a", file_sha256="exported")


def after(out: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint that was read from a model of the store or an exported file with its metadata."""
    return model(f"checkpoint of {out['key']}", lineage=out["key"])


@pytest.mark.parametrize(
    ("runs", "breaks"),
    [
        ([(ORIGINAL, A)], []),
        ([(ORIGINAL, A), (after(A), B), (after(B), C)], ["agrees models: 2 requests went on from the model"]),
        ([(ORIGINAL, EXPORTED), (model("x", file_sha256="exported"), B)], ["agrees models: 1 request went on"]),
        ([(ORIGINAL, A), (ORIGINAL, A), (after(A), B)], ["agrees models: 1 request went on"]),
        (
            [(ORIGINAL, A), (after(A), B), (after(A), C)],
            [
                "differs entry 3: goes on from entry 1, not from the latest model: its model has not forgotten entry 2",
                "agrees models: 1 request",
            ],
        ),
        ([(ORIGINAL, A), (ORIGINAL, B)], ["differs entry 2: starts again from the model that entry 1 started from"]),
        (
            [(ORIGINAL, A), (after(B), C)],
            ["differs entry 2: goes on from b, a model of a request that is in no"],
        ),
        ([(after(A), B)], ["unchecked entry 1: goes on from a"]),
        ([(ORIGINAL, A), (model("other"), B)], ["unchecked entry 2: starts from another model, other"]),
    ],
)
def test_a_request_that_did_not_go_on_from_the_latest_model_is_named(
    runs: list[tuple[dict[str, Any], dict[str, Any]]], breaks: list[str]
) -> None:
    found = find_breaks(*runs)
    assert len(found) == len(breaks), found
    assert all(line.startswith(beginning) for line, beginning in zip(found, breaks, strict=True)), found


def test_only_adding_a_run_loads_torch(ledger: Path) -> None:
    spy = (
        "import sys\nfrom unlearn.cli.ledger import main\ntry: main()\nexcept SystemExit: print('torch' in sys.modules)"
    )
    for words in (["--help"], ["verify"], ["list"], ["note", "1", "text"]):
        start = [sys.executable, "-c", spy, "--ledger", str(ledger)]
        done = subprocess.run([*start, *words], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "False"


def test_the_documentation_names_every_field_of_an_entry() -> None:
    page = (Path(__file__).parents[2] / "docs" / "audit.md").read_text().partition("## The ledger")[2]
    fields = {*COMMON, *SCHEMAS[REQUEST], *SCHEMAS[NOTE]}
    assert [name for name in fields if f"`{name}`" not in page] == []


# At the end of a run


def test_a_run_adds_itself_to_the_ledger_that_it_names(finished: Finished, run_folder: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    paths = replace(finished.config.paths, store=str(finished.store))
    config = replace(finished.config, paths=paths, report=replace(finished.config.report, ledger=str(ledger)))
    assert add_to_ledger(finished.config, run_folder) == []
    first, digest = add_to_ledger(config, run_folder)
    assert first.startswith(f"entry 1 of {ledger}: ")
    assert entries(ledger)[0]["seal"]["sha256"] in digest
    (line,) = add_to_ledger(config, run_folder)
    assert f"entry 1 of {ledger} has this run already: nothing was written" in line
    check_surroundings([config])
    ledger.write_bytes(b"{}\n")
    with pytest.raises(ConfigError, match=r"report.ledger: expected an intact ledger, got .*: line 1 is not an entry"):
        check_surroundings([config])
