"""The artifact store: no half-written artifact is visible, damage is reported, nothing is built twice."""

from __future__ import annotations

import ast
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import unlearn
from unlearn.core.artifact_entry import TOUCH_INTERVAL
from unlearn.core.artifact_meta import DIGEST, META, add_digest, spec_key
from unlearn.core.artifact_store import ArtifactStore, Entry
from unlearn.core.errors import StoreError
from unlearn.inventory.catalogue import Catalogue
from unlearn.inventory.verify import find_problems

SPEC = {"a": 1}
KEY = spec_key(SPEC)
PACKAGE = Path(unlearn.__file__).parent

# Says that it is ready and waits for `go`, so that all ask at once.
RACER = """
import os, sys, time
from pathlib import Path
from unlearn.core.artifact_store import ArtifactStore

folder = Path(sys.argv[1])
root, log, go = folder / "store", folder / "log", folder / "go"

def build(folder):
    with log.open("a") as file:
        file.write("built\\n")
    time.sleep(0.05)
    (folder / "value.json").write_text("42")

(folder / f"ready-{os.getpid()}").touch()
while not go.exists():
    time.sleep(0.001)
store = ArtifactStore(root, rebuild_damaged=len(sys.argv) > 2)
print(store.get("toy", "KEY", build, dict).json("value.json"))
""".replace("KEY", KEY)

# Writes half of an artifact, prints that, and never ends.
VICTIM = """
import sys, time
from pathlib import Path
from unlearn.core.artifact_store import ArtifactStore

root, reached = map(Path, sys.argv[1:])

def build(folder):
    (folder / "value.json").write_text("4")
    reached.touch()
    time.sleep(600)

ArtifactStore(root).get("toy", "KEY", build, dict)
""".replace("KEY", KEY)


def builder(value: object = 42) -> Callable[[Path], None]:
    return lambda folder: (folder / "value.json").write_text(json.dumps(value)) and None


def make(store: ArtifactStore, value: object = 42) -> Entry:
    return store.get("toy", KEY, builder(value), lambda: {"spec": SPEC})


def refuse(folder: Path) -> None:
    raise AssertionError("built again")


def unfinished(root: Path) -> list[Path]:
    return list((root / "building").glob("*"))


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    while not path.exists():
        assert process.poll() is None, "ended before it came that far"
        time.sleep(0.005)


def test_a_missing_artifact_is_built(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    assert store.lookup("toy", KEY) is None
    entry = make(store)
    assert not entry.reused
    assert (entry.key, entry.folder) == (KEY, tmp_path / "toy" / KEY)
    assert entry.json("value.json") == 42


def test_an_existing_artifact_is_not_built_again(tmp_path: Path) -> None:
    first = make(ArtifactStore(tmp_path))
    entry = ArtifactStore(tmp_path).get("toy", KEY, refuse, dict)
    assert entry.reused
    assert entry.meta == first.meta
    assert entry.json("value.json") == 42


def test_another_key_is_another_artifact(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    make(store)
    assert store.get("toy", "other", builder(7), dict).json("value.json") == 7
    assert store.lookup("toy", KEY) is not None


def test_meta_records_the_origin_of_an_artifact(tmp_path: Path) -> None:
    entry = make(ArtifactStore(tmp_path))
    written = json.loads((entry.folder / META).read_text())
    assert written == entry.meta
    assert (written["kind"], written["key"], written["spec"]) == ("toy", KEY, {"a": 1})
    assert 0 <= entry.seconds == written["seconds"] < 60
    assert abs(written["created"] - time.time()) < 600
    assert set(written["files"]) == {"value.json"}
    assert written["files"]["value.json"]["bytes"] == 2


def test_a_finished_build_leaves_no_temporary_files(tmp_path: Path) -> None:
    make(ArtifactStore(tmp_path))
    assert unfinished(tmp_path) == []


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_a_builder_that_raises_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    def fail(folder: Path) -> None:
        (folder / "value.json").write_text("4")
        raise error

    store = ArtifactStore(tmp_path)
    with pytest.raises(type(error)):
        store.get("toy", KEY, fail, dict)
    assert store.lookup("toy", KEY) is None
    assert unfinished(tmp_path) == []
    assert make(store).json("value.json") == 42


def cut(folder: Path) -> None:
    (folder / "value.json").write_text("4")


def alter(folder: Path) -> None:
    (folder / "value.json").write_text("43")


def remove(folder: Path) -> None:
    (folder / "value.json").unlink()


def spoil_meta(folder: Path) -> None:
    (folder / META).write_text('{"files": ')


def empty_meta(folder: Path) -> None:
    (folder / META).write_text("[]")


def remove_meta(folder: Path) -> None:
    (folder / META).unlink()


def edit(folder: Path, digest_too: bool = False, **changes: object) -> None:
    """Change fields of `meta.json`, as somebody does who wants other numbers in the report."""
    meta = json.loads((folder / META).read_text()) | changes
    (folder / META).write_text(json.dumps(add_digest(meta) if digest_too else meta))


def edit_seconds(folder: Path) -> None:
    edit(folder, seconds=9999.0)


def edit_spec(folder: Path) -> None:
    edit(folder, digest_too=True, spec={"a": 2})


def exchange(folder: Path) -> None:
    """With the artifact of another key, whole in itself."""
    other = {"a": 2}
    ArtifactStore(folder.parents[1]).get("toy", spec_key(other), builder(7), lambda: {"spec": other})
    shutil.rmtree(folder)
    (folder.parent / spec_key(other)).rename(folder)


def another_kind(folder: Path) -> None:
    edit(folder, digest_too=True, kind="train")


def text_for_a_time(folder: Path) -> None:
    edit(folder, digest_too=True, created="yesterday")


def infinite_seconds(folder: Path) -> None:
    edit(folder, digest_too=True, seconds=float("inf"))


def huge_seconds(folder: Path) -> None:
    edit(folder, digest_too=True, seconds=10**400)


def foreign_file(folder: Path) -> None:
    """A name that leads out of the folder."""
    files = {"../value.json": {"bytes": 2, "sha256": "0" * 64}}
    edit(folder, digest_too=True, files=files)


def nest_meta(folder: Path) -> None:
    (folder / META).write_text("[" * 100_000)


def nest_spec(folder: Path) -> None:
    deep: dict[str, object] = {}
    for _ in range(100):
        deep = {"a": deep}
    edit(folder, digest_too=True, hardware=deep)


def pipe_for_meta(folder: Path) -> None:
    (folder / META).unlink()
    os.mkfifo(folder / META)


def pipe_for_file(folder: Path) -> None:
    (folder / "value.json").unlink()
    os.mkfifo(folder / "value.json")


def file_for_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("not a folder")


def dangling_link(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.symlink_to("nowhere")


def link_to_itself(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.symlink_to(folder)


FORGED = [edit_seconds, edit_spec, exchange, another_kind, text_for_a_time, infinite_seconds, huge_seconds]
FORGED += [foreign_file, nest_meta, nest_spec, pipe_for_meta, pipe_for_file, file_for_folder, dangling_link]
DAMAGE = [cut, alter, remove, spoil_meta, empty_meta, remove_meta, link_to_itself, *FORGED]


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_reported_and_kept(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    folder = make(ArtifactStore(tmp_path)).folder
    damage(folder)
    with pytest.raises(StoreError, match="damaged") as caught:
        make(ArtifactStore(tmp_path)).json("value.json")
    assert str(folder) in str(caught.value)
    assert "rebuild_damaged=true" in str(caught.value)
    assert os.path.lexists(folder)


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_rebuilt_on_request(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    damage(make(ArtifactStore(tmp_path)).folder)
    entry = make(ArtifactStore(tmp_path, rebuild_damaged=True))
    assert not entry.reused
    assert entry.json("value.json") == 42


@pytest.mark.parametrize("damage", DAMAGE)
def test_verify_finds_what_reads_refuse_and_a_rebuild_repairs_it(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    damage(make(ArtifactStore(tmp_path)).folder)
    assert len(find_problems(Catalogue.read(tmp_path).items[KEY])) == 1
    make(ArtifactStore(tmp_path, rebuild_damaged=True))
    assert find_problems(Catalogue.read(tmp_path).items[KEY]) == []


def test_a_rebuild_removes_files_that_do_not_belong_to_the_artifact(tmp_path: Path) -> None:
    folder = make(ArtifactStore(tmp_path)).folder
    (folder / "notes.txt").touch()
    assert find_problems(Catalogue.read(tmp_path).items[KEY]) == ["notes.txt: not one of its files"]
    assert make(ArtifactStore(tmp_path)).reused  # nobody reads it
    assert not make(ArtifactStore(tmp_path, rebuild_damaged=True)).reused
    assert find_problems(Catalogue.read(tmp_path).items[KEY]) == []


def test_a_damaged_artifact_can_be_claimed_on_request(tmp_path: Path) -> None:
    alter(make(ArtifactStore(tmp_path)).folder)
    with ArtifactStore(tmp_path, rebuild_damaged=True).claim("toy", [KEY]) as free:
        assert free == {KEY}


def test_an_entry_without_a_digest_is_read_as_before(tmp_path: Path) -> None:
    """As it was written by earlier versions: its key, kind and spec are checked all the same."""
    folder = make(ArtifactStore(tmp_path)).folder
    meta = json.loads((folder / META).read_text())
    del meta[DIGEST]
    (folder / META).write_text(json.dumps(meta))
    assert ArtifactStore(tmp_path).get("toy", KEY, refuse, dict).json("value.json") == 42
    assert ArtifactStore(tmp_path, rebuild_damaged=True).get("toy", KEY, refuse, dict).reused
    item = Catalogue.read(tmp_path).items[KEY]
    assert (find_problems(item), item.has_digest) == ([], False)
    (folder / META).write_text(json.dumps(meta | {"spec": {"a": 2}}))
    with pytest.raises(StoreError, match="its spec does not match its key"):
        ArtifactStore(tmp_path).lookup("toy", KEY)


@pytest.mark.parametrize(
    ("age", "is_recorded"), [(TOUCH_INTERVAL + 60, True), (TOUCH_INTERVAL - 60, False), (-TOUCH_INTERVAL, False)]
)
def test_a_use_is_recorded_once_an_hour(tmp_path: Path, age: float, is_recorded: bool) -> None:
    meta = make(ArtifactStore(tmp_path)).folder / META
    then = time.time() - age
    os.utime(meta, (then, then))
    ArtifactStore(tmp_path).lookup("toy", KEY)
    assert (meta.stat().st_mtime > then + 1) is is_recorded


def test_an_intact_artifact_is_not_rebuilt(tmp_path: Path) -> None:
    make(ArtifactStore(tmp_path))
    assert ArtifactStore(tmp_path, rebuild_damaged=True).get("toy", KEY, refuse, dict).reused


def test_a_file_that_was_never_written_is_damage(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nothing\.json"):
        make(ArtifactStore(tmp_path)).file("nothing.json")


def test_a_killed_builder_leaves_no_entry_and_the_next_one_takes_over(tmp_path: Path) -> None:
    root, reached = tmp_path / "store", tmp_path / "reached"
    process = subprocess.Popen([sys.executable, "-c", VICTIM, str(root), str(reached)])
    try:
        wait_for(reached, process)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    store = ArtifactStore(root)
    assert store.lookup("toy", KEY) is None
    assert len(unfinished(root)) == 1
    assert make(store).json("value.json") == 42
    assert unfinished(root) == []


def test_a_waiting_process_reports_it_once_and_takes_over_from_a_killed_builder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unlearn.core.artifact_store.PATIENCE", 0.1)
    root, reached, polls = tmp_path / "store", tmp_path / "reached", []
    process = subprocess.Popen([sys.executable, "-c", VICTIM, str(root), str(reached)])

    def waiting() -> None:
        polls.append(process.poll())
        process.kill()

    try:
        wait_for(reached, process)
        entry = ArtifactStore(root).get("toy", KEY, builder(42), dict, waiting)
    finally:
        process.kill()
        process.wait()
    assert polls == [None]
    assert (entry.reused, entry.json("value.json")) == (False, 42)
    assert unfinished(root) == []


def test_a_process_that_does_not_wait_reports_nothing(tmp_path: Path) -> None:
    ArtifactStore(tmp_path).get("toy", KEY, builder(), dict, lambda: pytest.fail("waited"))


def test_kept_progress_is_deleted_after_the_build(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    kept = store.partial(KEY) / "half"

    def give_up(folder: Path) -> None:
        kept.parent.mkdir(parents=True)
        kept.touch()
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        store.get("toy", KEY, give_up, dict)
    assert kept.exists()
    entry = store.get("toy", KEY, builder(), lambda: {"seconds": 1000.0})
    assert not kept.parent.exists()
    assert 1000 < entry.seconds < 1060  # of earlier attempts and of this one


def race(tmp_path: Path, *arguments: str, processes: int = 8) -> None:
    """All processes get the artifact, one of them builds it."""
    command = [sys.executable, "-c", RACER, str(tmp_path), *arguments]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    while len(list(tmp_path.glob("ready-*"))) < processes:
        assert not any(racer.poll() for racer in racers), "failed before the start"
        time.sleep(0.005)
    (tmp_path / "go").touch()
    outputs = [racer.communicate(timeout=60)[0].strip() for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * processes
    assert outputs == ["42"] * processes
    assert (tmp_path / "log").read_text() == "built\n"
    assert unfinished(tmp_path / "store") == []


def test_racing_processes_build_once(tmp_path: Path) -> None:
    race(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("repetition", range(10))
def test_racing_processes_build_once_every_time(tmp_path: Path, repetition: int) -> None:
    race(tmp_path)


def test_racing_processes_rebuild_once(tmp_path: Path) -> None:
    cut(make(ArtifactStore(tmp_path / "store")).folder)
    race(tmp_path, "rebuild damaged")


def test_where_locks_fail_the_first_artifact_in_place_is_kept(tmp_path: Path) -> None:
    theirs = make(ArtifactStore(tmp_path / "theirs"), 41).folder
    root = tmp_path / "ours"

    def overtaken(folder: Path) -> None:
        builder(42)(folder)
        shutil.copytree(theirs, root / "toy" / KEY)

    entry = ArtifactStore(root).get("toy", KEY, overtaken, dict)
    assert entry.reused
    assert entry.json("value.json") == 41
    assert unfinished(root) == []


def test_a_root_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")  # a folder below a file fails for root too, unlike one without permission
    root = tmp_path / "file" / "store"
    with pytest.raises(StoreError, match=r"paths\.store: expected a writable folder") as caught:
        make(ArtifactStore(root))
    assert str(root) in str(caught.value)
    with pytest.raises(StoreError, match=r"paths\.store"):
        ArtifactStore(root).pin("digits", "aa")


def test_a_full_disk_is_reported_and_leaves_nothing(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "value.json").write_text("4")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = ArtifactStore(tmp_path)
    with pytest.raises(StoreError, match="No space left on device"):
        store.get("toy", KEY, fill, dict)
    assert store.lookup("toy", KEY) is None
    assert unfinished(tmp_path) == []


def test_a_pin_holds_its_content(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    store.pin("digits", "aa")
    store.pin("digits", "aa")
    store.pin("mnist", "bb")
    with pytest.raises(StoreError, match="dataset digits") as caught:
        ArtifactStore(tmp_path).pin("digits", "bb")
    assert all(word in str(caught.value) for word in ("aa", "bb", str(tmp_path)))


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_nothing_is_pickled(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            picklers = {alias.name.partition(".")[0] for alias in node.names} & {"pickle", "cloudpickle", "joblib"}
            # An unpickler that makes tensors and nothing else reads the opcodes: tests/checkpoint/test_unpickle.py.
            assert not picklers - ({"pickle"} if path.name == "unpickle.py" else set())
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").partition(".")[0] not in {"pickle", "cloudpickle", "joblib"}
            assert node.module != "torch" or "load" not in {alias.name for alias in node.names}
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            # A list of indices that torch saved is read, by weights alone; an interrupted training and weights for
            # other programs are written.
            allowed = dict.fromkeys(("partial.py", "export.py"), ("torch", "save")) | {"arrays.py": ("torch", "load")}
            assert (node.value.id, node.attr) not in {("torch", "load"), ("torch", "save")} - {allowed.get(path.name)}
