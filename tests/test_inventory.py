"""`unlearn-store` on a real small store: what is there, why something is not, what goes and what must not."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import SMALL, Finished, Run, write_images
from filelock import FileLock
from safetensors.torch import load_file

from unlearn import config, pipeline
from unlearn.cli.store import main
from unlearn.config import plain
from unlearn.console import Console
from unlearn.inventory.catalogue import Catalogue, Item
from unlearn.report.assemble import assemble
from unlearn.report.write import write
from unlearn.stages.base import Workshop
from unlearn.store import META, ArtifactStore


class Done(NamedTuple):
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str


Tool = Callable[..., Done]


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tool:
    """`tool(store, *arguments)`: `unlearn-store`, in this process."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def go(store: Path, *arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["unlearn-store", "--store", str(store), *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Done(int(ended.value.code or 0), printed.out, printed.err)

    return go


@pytest.fixture(scope="module")
def filled(finished: Finished, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small run's store, in which two other strategies were tried as well. Not to be changed."""
    store = tmp_path_factory.mktemp("filled") / "store"
    shutil.copytree(finished.store, store)
    for strategy in ("identity", "weight_noise"):
        run(store, f"strategy={strategy}")
    return store


@pytest.fixture
def store(filled: Path, tmp_path: Path) -> Path:
    """A copy to damage and delete from."""
    return Path(shutil.copytree(filled, tmp_path / "store"))


@pytest.fixture
def report(finished: Finished, tmp_path: Path) -> Path:
    """The report of the small run, as the job writes it."""
    return write(assemble(finished.outcome, plain(finished.composed), {}), tmp_path / "runs" / "0")


def items(store: Path, label: str) -> list[Item]:
    return [item for item in Catalogue.read(store).items.values() if item.label == label]


def one(store: Path, label: str) -> Item:
    (found,) = items(store, label)
    return found


def everything(store: Path) -> set[Path]:
    return {path for path in store.rglob("*") if path.parent.name != "locks"}


# Looking


def test_ls_tells_all_artefacts_and_their_total(tool: Tool, filled: Path) -> None:
    told = json.loads(tool(filled, "ls", "--json").out)
    assert {each["key"] for each in told} == {path.parent.name for path in filled.glob("*/*/meta.json")}
    on_disk = sum(path.stat().st_size for path in filled.glob("*/*/*"))
    assert sum(each["bytes"] for each in told) == on_disk
    lines = tool(filled, "ls", "train").out.splitlines()
    assert lines[0].split() == ["kind", "label", "key", "size", "age", "used", "seconds"]
    assert sum(line.startswith("train  ") for line in lines) == len(list(filled.glob("train/*"))) + 1


def test_ls_tells_leftovers(tool: Tool, store: Path) -> None:
    for folder in ("building/abc-1", "partial/def"):
        (store / folder).mkdir(parents=True)
        (store / folder / "weights").write_bytes(b"x" * 1500)
    out = tool(store, "ls").out
    assert "left over: building abc, 1.5 kB" in out
    assert "left over: partial def, 1.5 kB" in out


def test_show_tells_where_it_comes_from_and_what_needs_it(tool: Tool, filled: Path) -> None:
    item, original = one(filled, "unlearn TopK (seed 0)"), one(filled, "train original (seed 0)")
    out = tool(filled, "show", item.key[:10]).out
    assert item.key in out
    assert f"{original.key[:12]} is there (train original (seed 0))" in out
    words = ("strategy.recipe.lr", "predict unlearned on forget", "model.safetensors", "torch", "commit", "threads")
    assert all(word in out for word in words)


def test_a_use_is_noted(finished: Finished, store: Path) -> None:
    item = one(store, "train original (seed 0)")
    os.utime(item.entry.folder / META, (1e9, 1e9))
    ArtifactStore(store).lookup(item.kind, item.key)
    assert time.time() - one(store, "train original (seed 0)").used < 60


# Why


def misses(out: str) -> dict[str, list[str]]:
    """The reasons by stage; hits are left out."""
    found: dict[str, list[str]] = {}
    reasons: list[str] = []
    for line in out.splitlines():
        if not line.startswith(" "):
            what, reasons = line[6:].partition("  ")[0], []
            found |= {what: reasons} if line.startswith("miss") else {}
        else:
            reasons.append(line.strip())
    return found


def test_why_of_a_finished_run_is_hits(tool: Tool, filled: Path) -> None:
    done = tool(filled, "why", *SMALL)
    assert done.status == 0
    assert done.out.startswith("hit ")
    assert misses(done.out) == {}


def test_why_names_the_leaf_and_those_that_only_follow(tool: Tool, filled: Path) -> None:
    found = misses(tool(filled, "why", *SMALL, "strategy.k=0.25").out)
    assert found.pop("unlearn TopK (seed 0)") == ["strategy.k: 0.1 -> 0.25"]
    assert len(found) == 2  # predictions and measurements
    assert set(map(tuple, found.values())) == {("only because of unlearn TopK (seed 0)",)}


def test_why_follows_a_miss_through_the_graph(tool: Tool, filled: Path) -> None:
    found = misses(tool(filled, "why", *SMALL, "train.lr=0.25").out)
    assert found["train original (seed 0)"][0] == "recipe.lr: 0.05 -> 0.25"
    assert found["spd_gan marker (seed 0)"] == ["only because of train guide (seed 0)"]
    assert "split" not in found


def test_why_takes_a_grid_and_tells_another_class_as_one_leaf(tool: Tool, filled: Path) -> None:
    found = misses(tool(filled, "why", "-m", *SMALL, "strategy=top_k,random_k").out)
    assert found["unlearn RandomK (seed 0)"][0].startswith("strategy: ")
    assert found["unlearn RandomK (seed 0)"][0].endswith(" -> RandomK")
    assert "unlearn TopK (seed 0)" not in found


def test_why_refuses_what_a_run_refuses(tool: Tool, filled: Path) -> None:
    done = tool(filled, "why", "strategy=topk")
    assert done.status == 2
    assert "nearest: top_k" in done.err


# Verify


def flip(folder: Path) -> None:
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)


def lose(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def add(folder: Path) -> None:
    (folder / "notes.txt").write_text("")


def spoil(folder: Path) -> None:
    (folder / META).write_text("{")


def forge(folder: Path) -> None:
    meta = json.loads((folder / META).read_text())
    (folder / META).write_text(json.dumps(meta | {"spec": meta["spec"] | {"seed": 7}}))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (flip, "model.safetensors: altered"),
        (lose, "model.safetensors: missing"),
        (add, "notes.txt: not one of its files"),
        (spoil, "a damaged meta.json"),
        (forge, "not the one that its key was made of"),
    ],
)
def test_verify_finds(tool: Tool, store: Path, damage: Callable[[Path], None], words: str) -> None:
    item = one(store, "train retrained (seed 1)")
    damage(item.entry.folder)
    done = tool(store, "verify")
    assert done.status == 1
    (line,) = [line for line in done.out.splitlines() if item.key[:12] in line]
    assert words in line
    assert done.out.splitlines()[-1].endswith(" 1 problems")


def test_verify_finds_inputs_that_are_gone(tool: Tool, store: Path) -> None:
    item = one(store, "unlearn TopK (seed 0)")
    assert tool(store, "verify").status == 0
    shutil.rmtree(item.entry.folder)
    done = tool(store, "verify")
    assert done.status == 1
    assert f"its input {item.key[:12]} is missing" in done.out


# gc


def test_gc_keeps_all_that_a_listed_report_rests_on(tool: Tool, store: Path, report: Path, run: Run) -> None:
    weight_noise = one(store, "unlearn WeightNoise (seed 0)")
    would = tool(store, "gc", "--keep", str(report.parents[1]), "--older-than", "0", "--dry-run")
    assert one(store, weight_noise.label)
    done = tool(store, "gc", "--keep", str(report.parents[1]), "--older-than", "0")
    assert done.status == 0
    assert would.out.replace("would go", "went") in done.out
    assert items(store, weight_noise.label) == []
    assert list((store / "locks").iterdir()) == []
    assert tool(store, "verify").status == 0
    assert "built" not in run(store).console
    assert len(list(store.glob("*/*/meta.json"))) == len(Catalogue.read(store).items) > 50


def test_gc_leaves_what_a_running_job_may_need(tool: Tool, store: Path, report: Path) -> None:
    before = everything(store)
    assert tool(store, "gc", "--keep", str(report)).status == 0  # all of it was used within a day
    assert everything(store) == before
    for path in store.glob("*/*/meta.json"):
        os.utime(path, (1e9, 1e9))
    used = one(store, "unlearn Identity (seed 0)")
    os.utime(used.entry.folder / META)
    tool(store, "gc", "--keep", str(report))
    kept = Catalogue.read(store)
    assert kept.closure([used.key]) >= {used.key, one(store, "train original (seed 0)").key}
    assert items(store, "unlearn WeightNoise (seed 0)") == []


def test_gc_drops_a_kind_when_told_and_says_so_later(tool: Tool, store: Path) -> None:
    tool(store, "gc", "--drop-kind", "predict", "--older-than", "0", "--keep-kind", "evaluate")
    kinds = {item.kind for item in Catalogue.read(store).items.values()}
    assert "predict" not in kinds
    assert kinds >= {"evaluate", "train", "unlearn"}
    done = tool(store, "verify")
    assert done.status == 0
    assert "made from what the gc of" in done.out


def test_gc_takes_leftovers_and_lets_held_locks_be(tool: Tool, store: Path) -> None:
    finished = one(store, "train original (seed 0)").key
    gone = [store / "building" / f"{'a' * 64}-1", store / "partial" / finished]
    stay = [store / "building" / f"{'b' * 64}-1", store / "partial" / ("c" * 64)]
    for folder in (*gone, *stay):
        folder.mkdir(parents=True)
    with FileLock(store / "locks" / f"{'b' * 64}.lock"):
        done = tool(store, "gc")
        assert done.status == 1
        assert f"in use: {stay[0].name}" in done.out
        assert [path.stem for path in (store / "locks").iterdir()] == ["b" * 64]
    assert not any(folder.exists() for folder in gone)
    assert all(folder.exists() for folder in stay)  # an unfinished training may be resumed
    assert tool(store, "gc", "--older-than", "0", "--keep-kind", "evaluate").status == 0
    assert not any(folder.exists() for folder in stay)


def test_removing_lock_files_never_lets_two_in(tmp_path: Path) -> None:
    store, inside, worst, stop = ArtifactStore(tmp_path), [0], [0], threading.Event()

    def enter() -> None:
        for _ in range(100):
            with FileLock(tmp_path / "locks" / "key.lock", poll_interval=0.001, is_singleton=False):
                inside[0] += 1
                worst[0] = max(worst[0], inside[0])
                time.sleep(0.0002)
                inside[0] -= 1

    def sweep() -> None:
        while not stop.is_set():
            store.remove("key")

    store.remove("key")
    threads = [threading.Thread(target=enter) for _ in range(4)]
    sweeper = threading.Thread(target=sweep)
    for thread in (*threads, sweeper):
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    sweeper.join()
    assert worst == [1]


# Purge


@pytest.fixture
def request_file(finished: Finished, tmp_path: Path) -> Path:
    """Those whom the small run forgot."""
    split = one(finished.store, "split").entry.file("split.safetensors")
    path = tmp_path / "request.txt"
    path.write_text("\n".join(map(str, load_file(split)["forget"].tolist())))
    return path


def pictures(finished: Finished, request_file: Path) -> list[bytes]:
    """The pixels of the forgotten, as they came and as SPD-GAN moved them."""
    clean = finished.config.dataset.load().train.images
    moved = load_file(one(finished.store, "spd_gan marker (seed 0)").entry.file("moved.safetensors"))["forget"]
    wanted = [int(line) for line in request_file.read_text().split()]
    return [bytes(image.numpy()) for image in (*clean[wanted], *moved)]


def holding(store: Path, images: list[bytes]) -> Iterator[Path]:
    for path in store.rglob("*.safetensors"):
        content = path.read_bytes()
        if any(image in content for image in images):
            yield path


def test_purge_leaves_no_picture_and_no_model_of_the_forgotten(
    tool: Tool, store: Path, finished: Finished, request_file: Path
) -> None:
    images = pictures(finished, request_file)
    assert len(list(holding(store, images))) >= 2
    before = everything(store)
    asked = ("purge", "--request", str(request_file), "dataset.limit=300")
    assert tool(store, *asked, "--dry-run").status == 0
    assert everything(store) == before

    done = tool(store, *asked)
    assert done.status == 0, done.out
    assert list(holding(store, images)) == []
    models = {item.label for item in Catalogue.read(store).items.values() if item.kind in {"train", "unlearn"}}
    learnt_without = {"train guide (seed 0)", "train retrained (seed 0)", "train retrained (seed 1)"}
    assert models == {*learnt_without, "unlearn TopK (seed 0)", "unlearn WeightNoise (seed 0)"}  # identity is no more
    kinds = {item.kind for item in Catalogue.read(store).items.values()}
    assert kinds == {"train", "unlearn", "split", "predict", "evaluate"}

    workshop = Workshop(ArtifactStore(store), finished.config.trainer, Console())
    unlearned = finished.outcome.plan.unlearned
    assert not unlearned.load(workshop).training
    assert unlearned.key not in items(store, "train original (seed 0)")
    for reading, measured in finished.outcome.measurements:
        assert reading.stage.load(workshop) == measured  # the report's numbers


def test_a_purge_is_recorded_without_names_and_explains_what_is_missing(
    tool: Tool, store: Path, request_file: Path
) -> None:
    original = one(store, "train original (seed 0)").key
    tool(store, "purge", "--request", str(request_file), "dataset.limit=300")
    (path,) = (store / "removals").iterdir()
    told = json.loads(path.read_text())
    assert (told["by"], told["complete"], told["undecided"]) == ("purge", True, [])
    assert told["records"] == len(request_file.read_text().split())
    assert original in {each["key"] for each in told["removed"]}
    assert str(request_file) not in path.read_text()
    done = tool(store, "verify")
    assert done.status == 0
    assert "were made from what the purge of" in done.out
    assert "removed by the purge of" in tool(store, "why", *SMALL).out


def test_a_model_that_was_retrained_for_others_goes_too(tool: Tool, store: Path, finished: Finished) -> None:
    split = load_file(one(store, "split").entry.file("split.safetensors"))
    request = store.parent / "other.json"
    request.write_text(json.dumps(split["retain"][:2].tolist()))
    tool(store, "purge", "--request", str(request), "dataset.limit=300")
    assert {item.kind for item in Catalogue.read(store).items.values()} == {"split", "evaluate"}


def test_strangers_lose_nothing(tool: Tool, store: Path) -> None:
    request = store.parent / "stranger.txt"
    request.write_text("1400\n")  # beyond the 300 records that took part
    before = {item.key for item in Catalogue.read(store).items.values()}
    assert tool(store, "purge", "--request", str(request)).status == 0
    assert {item.key for item in Catalogue.read(store).items.values()} == before


def test_what_cannot_be_decided_stays_and_the_purge_is_not_complete(
    tool: Tool, tmp_path: Path, composed: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    photos = write_images(tmp_path / "photos")
    (tmp_path / "one.txt").write_text("train/digit0/0.png\n")
    data = ["dataset=image_folder", f"dataset.root={photos}", "train.epochs=1"]
    wanted = [*data, "forget=indices", f"forget.file={tmp_path / 'one.txt'}"]
    settings = config.instantiate(composed(*wanted))  # type: ignore[arg-type]
    workshop = Workshop(ArtifactStore(tmp_path / "store"), settings.trainer, Console(io.StringIO()))
    plan = pipeline.plan(settings)
    workshop.need(plan.split)
    original = workshop.need(plan.original).key

    later = Path(shutil.copytree(photos, tmp_path / "later"))
    shutil.copy(later / "train/digit1/1.png", later / "train/digit1/9.png")  # the folder grew: other indices
    asked = ("purge", "--request", str(tmp_path / "one.txt"), "dataset=image_folder")
    done = tool(tmp_path / "store", *asked, f"dataset.root={later}")
    assert done.status == 1
    assert "undecided: train train original (seed 0)" in done.out
    assert original in Catalogue.read(tmp_path / "store").items
    assert tool(tmp_path / "store", *asked, f"dataset.root={photos}").status == 0
    assert original not in Catalogue.read(tmp_path / "store").items


# Bad input


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "x"], "KEY: expected the beginning of one key"),
        (["show", ""], "and 1"),
        (["ls", "trains"], "expected kinds among evaluate"),
        (["gc", "--keep", "nowhere"], "--keep: expected a report.json"),
        (["gc", "--keep", "damaged.json"], "came a damaged damaged.json"),
        (["gc", "--keep", "foreign.json"], "of another one"),
        (["gc", "--keep-kind", "models"], "expected kinds among"),
        (["purge", "--request", "nowhere.txt"], "forget.file: expected a readable text file"),
        (["purge", "--request", "foreign.txt"], "forget.file: expected indices from 0 to 1436"),
        (["verify", "seed=1"], "expected no further arguments, came seed=1"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_lost(
    tool: Tool, filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("damaged.json").write_text("{")
    Path("foreign.json").write_text(json.dumps({"key": "f" * 64}))
    Path("foreign.txt").write_text("5000")
    before = everything(filled)
    done = tool(filled, *arguments)
    assert (done.status, done.out) == (2, "")
    assert words in done.err
    assert done.err.count("\n") == 1
    assert everything(filled) == before


def test_what_is_no_store_is_told(tool: Tool, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "nowhere", tmp_path / "file", tmp_path):
        done = tool(path, "ls")
        assert done.status == 2
        assert str(path) in done.err
        assert done.err.count("\n") == 1


def test_gc_refuses_where_a_meta_cannot_be_read(tool: Tool, store: Path, report: Path) -> None:
    spoil(one(store, "train guide (seed 0)").entry.folder)
    before = everything(store)
    done = tool(store, "gc", "--keep", str(report), "--older-than", "0")
    assert done.status == 2
    assert "damaged meta.json" in done.err
    assert everything(store) == before
