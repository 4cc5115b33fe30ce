"""`unlearn-store` on a real small store: what is there, why something is not, what goes and what must not."""

from __future__ import annotations

import fcntl
import io
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from conftest import SMALL, Compose, Finished, Run, write_images
from filelock import FileLock
from safetensors.torch import load_file, save_file
from torch import Tensor

from unlearn import config
from unlearn.cli.lines import describe_answers
from unlearn.cli.store import main
from unlearn.config import to_plain_dict
from unlearn.core.artifact_meta import META, add_digest, spec_key
from unlearn.core.artifact_store import ArtifactStore
from unlearn.core.progress import Console
from unlearn.data.datasets.base import Dataset
from unlearn.data.datasets.published import Mnist
from unlearn.inventory.catalogue import Catalogue, Item
from unlearn.inventory.members import Members
from unlearn.inventory.purge import PNG, PurgePlan, find_pictures, plan_purge
from unlearn.inventory.why import explain_stages, list_stages
from unlearn.pipeline import plan as pipeline
from unlearn.pipeline.plan import Plan
from unlearn.report.assemble import assemble
from unlearn.report.pictures import data_uri
from unlearn.report.write import write, write_text
from unlearn.stages.base import BuildContext

CLEAN = ("retain", "test")  # subsets without the forgotten


class Done(NamedTuple):
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str


def tool(store: Path, *arguments: str) -> Done:
    """`unlearn-store`, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(signal, "signal", lambda *_: None)
        patch.setattr(sys, "argv", ["unlearn-store", "--store", str(store), *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
    return Done(int(ended.value.code or 0), out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def filled(finished: Finished, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small run's store, in which two other strategies were tried as well. Not to be changed."""
    store = tmp_path_factory.mktemp("filled") / "store"
    shutil.copytree(finished.store / "pins", store / "pins")
    for entry in finished.context.entries.values():  # other tests may have added to that store
        shutil.copytree(entry.folder, store / entry.folder.relative_to(finished.store))
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
    return write(assemble(finished.outcome, to_plain_dict(finished.composed), {}), tmp_path / "runs" / "0")


def items(store: Path, label: str) -> list[Item]:
    return [item for item in Catalogue.read(store).items.values() if item.label == label]


def one(store: Path, label: str) -> Item:
    (found,) = items(store, label)
    return found


def everything(store: Path) -> set[Path]:
    return {path for path in store.rglob("*") if path.parent.name != "locks"}


# Looking


def test_ls_tells_all_artefacts_and_their_total(filled: Path) -> None:
    told = json.loads(tool(filled, "ls", "--json").out)["artifacts"]
    assert {each["key"] for each in told} == {path.parent.name for path in filled.glob("*/*/meta.json")}
    on_disk = sum(path.stat().st_size for path in filled.glob("*/*/*"))
    assert sum(each["bytes"] for each in told) == on_disk
    lines = tool(filled, "ls", "train").out.splitlines()
    assert lines[0].split() == ["kind", "label", "key", "size", "age", "used", "seconds"]
    assert sum(line.startswith("train  ") for line in lines) == len(list(filled.glob("train/*"))) + 1


def test_ls_tells_leftovers(store: Path) -> None:
    for folder in ("building/abc-1", "partial/def"):
        (store / folder).mkdir(parents=True)
        (store / folder / "weights").write_bytes(b"x" * 1500)
    out = tool(store, "ls").out
    assert "left over: building abc, 1.5 kB" in out
    assert "left over: partial def, 1.5 kB" in out


def test_show_tells_where_it_comes_from_and_what_needs_it(filled: Path) -> None:
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


@pytest.fixture
def asked(filled: Path, composed: Compose) -> Callable[..., dict[str, list[str]]]:
    """`asked(*overrides)`: the misses of the small run with these overrides."""

    def go(*overrides: str) -> dict[str, list[str]]:
        wanted = list_stages([config.instantiate(composed(*SMALL, *overrides))])
        return misses("\n".join(describe_answers(explain_stages(Catalogue.read(filled), wanted, {}))))

    return go


Asked = Callable[..., dict[str, list[str]]]


def test_why_names_the_leaf_and_those_that_only_follow(asked: Asked) -> None:
    assert asked() == {}
    found = asked("strategy.k=0.25")
    assert found.pop("unlearn TopK (seed 0)") == ["strategy.k: 0.1 -> 0.25"]
    assert len(found) == 2  # predictions and measurements
    assert set(map(tuple, found.values())) == {("only because of unlearn TopK (seed 0)",)}


def test_why_follows_a_miss_through_the_graph(asked: Asked) -> None:
    found = asked("train.lr=0.25")
    assert found["train original (seed 0)"] == ["recipe.lr: 0.05 -> 0.25", "and because of spd_gan marker (seed 0)"]
    assert found["spd_gan marker (seed 0)"] == ["only because of train guide (seed 0)"]
    assert "split" not in found
    assert "unlearn TopK (seed 0)" not in asked("train.lr=0.25", "until=baseline")


def test_why_tells_changed_code(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unlearn.stages.keys.code_hash", lambda module: "0" * 16)
    found = asked()
    assert "model.code: changed" in found["train original (seed 0)"]
    assert "split" not in found


def test_why_takes_a_grid_and_refuses_what_a_run_refuses(filled: Path) -> None:
    found = misses(tool(filled, "why", "-m", *SMALL, "strategy=top_k,random_k").out)
    assert found["unlearn RandomK (seed 0)"][0].startswith("strategy: ")
    assert found["unlearn RandomK (seed 0)"][0].endswith(" -> RandomK")
    assert "unlearn TopK (seed 0)" not in found
    refused = tool(filled, "why", "strategy=topk")
    assert refused.status == 2
    assert "nearest: top_k" in refused.err


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


def forge(folder: Path, digest_too: bool = True, **changes: object) -> None:
    meta = json.loads((folder / META).read_text()) | changes
    (folder / META).write_text(json.dumps(add_digest(meta) if digest_too else meta))


def forge_spec(folder: Path) -> None:
    forge(folder, spec=json.loads((folder / META).read_text())["spec"] | {"seed": 7})


def forge_seconds(folder: Path) -> None:
    forge(folder, digest_too=False, seconds=9999)


def forge_time(folder: Path) -> None:
    forge(folder, created="yesterday")


def forge_sizes(folder: Path) -> None:
    forge(folder, files={"model.safetensors": {"bytes": "many", "sha256": None}})


def forge_references(folder: Path) -> None:
    """An input that is no key; everything else fits."""
    spec = {"kind": "train", "model": {"stage": [1]}}
    target = folder.with_name(spec_key(spec))
    folder.rename(target)
    forge(target, spec=spec, key=target.name, files={})


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (flip, "model.safetensors: altered"),
        (lose, "model.safetensors: missing"),
        (add, "notes.txt: not one of its files"),
        (spoil, "a damaged meta.json"),
        (forge_spec, "its spec does not match its key"),
        (forge_seconds, "it was edited"),
        (forge_time, "created: expected a number >= 0, got 'yesterday'"),
        (forge_sizes, "files: expected sizes and hashes by file name"),
    ],
)
def test_verify_finds(store: Path, damage: Callable[[Path], None], words: str) -> None:
    item = one(store, "train retrained (seed 1)")
    damage(item.entry.folder)
    done = tool(store, "verify")
    assert done.status == 1
    (line,) = [line for line in done.out.splitlines() if item.key[:12] in line]
    assert words in line
    assert done.out.splitlines()[-1].endswith(" 1 problem")


def test_verify_tells_folders_that_were_exchanged(store: Path) -> None:
    mine, other = (one(store, f"train retrained (seed {seed})").entry.folder for seed in (0, 1))
    aside = store / "aside"
    for old, new in ((mine, aside), (other, mine), (aside, other)):
        old.rename(new)
    done = tool(store, "verify")
    told = [line for line in done.out.splitlines() if "a damaged meta.json" in line]
    assert (done.status, len(told)) == (1, 2)
    assert f"it belongs to train/{other.name[:12]}" in "".join(told)


def test_verify_counts_a_copy_under_another_kind(store: Path) -> None:
    item = one(store, "train retrained (seed 1)")
    shutil.copytree(item.entry.folder, store / "unlearn" / item.key)
    done = tool(store, "verify")
    assert f"it belongs to train/{item.key[:12]}" in done.out
    assert done.out.splitlines()[-1].endswith(" 1 problem")


def test_verify_says_what_it_cannot_check(store: Path) -> None:
    meta = one(store, "train retrained (seed 1)").entry.folder / META
    found = json.loads(meta.read_text())
    del found["digest"]
    meta.write_text(json.dumps(found))
    done = tool(store, "verify")
    assert done.status == 0
    assert "1 artifact written before meta.json had a digest" in done.out


def test_what_refers_to_no_key_crashes_nothing(store: Path) -> None:
    forge_references(one(store, "train retrained (seed 1)").entry.folder)
    for arguments in (["verify"], ["ls"], ["why", "dataset.limit=300"]):
        assert tool(store, *arguments).status in (0, 1)


def test_labels_of_others_cannot_write_to_the_terminal(store: Path) -> None:
    item = one(store, "train retrained (seed 1)")
    forge(item.entry.folder, label="\x1b[2Jtrain \ud800", versions={"torch\x07": "\x1b]0;title\x07"})
    for arguments in (["ls"], ["show", item.key], ["verify"]):
        done = tool(store, *arguments)
        assert done.status == 0
        assert not set("\x1b\x07\ud800") & set(done.out)


def test_verify_finds_inputs_that_are_gone(store: Path) -> None:
    item = one(store, "unlearn TopK (seed 0)")
    assert tool(store, "verify").status == 0
    shutil.rmtree(item.entry.folder)
    done = tool(store, "verify")
    assert done.status == 1
    assert f"its input {item.key[:12]} is missing" in done.out


# gc


def test_gc_keeps_all_that_a_listed_report_rests_on(store: Path, report: Path, run: Run) -> None:
    weight_noise = one(store, "unlearn WeightNoise (seed 0)")
    would = tool(store, "gc", "--keep", str(report.parents[1]), "--older-than", "0", "--dry-run")
    assert one(store, weight_noise.label)
    done = tool(store, "gc", "--keep", str(report.parents[1]), "--older-than", "0")
    assert done.status == 0
    assert would.out.replace("would be removed", "removed") in done.out
    assert items(store, weight_noise.label) == []
    assert list((store / "locks").iterdir()) == []
    assert tool(store, "verify").status == 0
    assert "built" not in run(store).console
    assert len(list(store.glob("*/*/meta.json"))) == len(Catalogue.read(store).items) > 50


def test_gc_leaves_what_a_running_job_may_need(store: Path, report: Path) -> None:
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


def test_gc_drops_a_kind_when_told_and_says_so_later(store: Path) -> None:
    tool(store, "gc", "--drop-kind", "predict", "--older-than", "0", "--keep-kind", "evaluate")
    kinds = {item.kind for item in Catalogue.read(store).items.values()}
    assert "predict" not in kinds
    assert kinds >= {"evaluate", "train", "unlearn"}
    done = tool(store, "verify")
    assert done.status == 0
    assert "made from what the gc of" in done.out


def test_gc_takes_leftovers_and_lets_held_locks_be(store: Path) -> None:
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


def test_who_waits_with_a_removed_lock_file_in_hand_takes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, path, flock, opened = ArtifactStore(tmp_path), tmp_path / "locks" / "key.lock", fcntl.flock, []

    def removed_in_between(descriptor: int, operation: int) -> None:
        if not opened:
            opened.append(descriptor)
            assert store.remove("key")
        flock(descriptor, operation)

    assert store.remove("key")
    monkeypatch.setattr(fcntl, "flock", removed_in_between)
    with FileLock(path):
        assert opened
        assert path.exists()
        assert not store.remove("key")
    assert store.remove("key")


# Purge


class Purged(NamedTuple):
    """A store after a purge of all whom the small run forgot."""

    store: Path
    done: Done
    request: Path
    pictures: list[bytes]  # of the forgotten, as they came and as SPD-GAN moved them


@pytest.fixture(scope="module")
def purged(finished: Finished, filled: Path, tmp_path_factory: pytest.TempPathFactory) -> Purged:
    store = Path(shutil.copytree(filled, tmp_path_factory.mktemp("purged") / "store"))
    wanted = split(store)["forget"]
    request = store.parent / "request.txt"
    request.write_text("\n".join(map(str, wanted.tolist())))
    clean = finished.config.dataset.load().train.images[wanted]
    moved = load_file(one(store, "spd_gan marker (seed 0)").entry.file("moved.safetensors"))["forget"]
    pictures = [bytes(image.numpy()) for image in (*clean, *moved)]
    return Purged(store, tool(store, "purge", "--request", str(request), "dataset.limit=300"), request, pictures)


def split(store: Path) -> dict[str, Tensor]:
    return load_file(one(store, "split").entry.file("split.safetensors"))


def holding(store: Path, pictures: list[bytes]) -> list[str]:
    """Kinds of the artifacts in which any of the pictures is found."""
    files = [(path, path.read_bytes()) for path in store.rglob("*.safetensors")]
    return [path.parts[-3] for path, content in files if any(picture in content for picture in pictures)]


def test_purge_leaves_no_picture_of_the_forgotten(purged: Purged, filled: Path) -> None:
    assert holding(filled, purged.pictures) == ["perturb", "perturb"]  # moved images, and examples for the page
    assert purged.done.status == 0, purged.done.out
    assert holding(purged.store, purged.pictures) == []


def test_purge_leaves_no_model_that_was_trained_on_them(purged: Purged) -> None:
    found = Catalogue.read(purged.store).items.values()
    learnt_without = {"train guide (seed 0)", "train retrained (seed 0)", "train retrained (seed 1)"}
    made_to_forget = {"unlearn TopK (seed 0)", "unlearn WeightNoise (seed 0)"}  # `identity` is the original
    assert {item.label for item in found if item.kind in {"train", "unlearn"}} == learnt_without | made_to_forget
    assert {item.kind for item in found} == {"train", "unlearn", "split", "predict", "evaluate"}
    looked_at = {item.label for item in found if item.kind == "predict"}
    assert looked_at == {f"predict {role} on {subset}" for role in ("retrained", "unlearned") for subset in CLEAN}


def test_what_stays_can_be_used(purged: Purged, finished: Finished) -> None:
    build_context = BuildContext(ArtifactStore(purged.store), finished.config.trainer, Console(io.StringIO()))
    assert not finished.outcome.plan.unlearned.load(build_context).training
    for reading, measured in finished.outcome.measurements:
        assert reading.stage.load(build_context) == measured  # the report's numbers


def test_a_purge_is_recorded_without_names_and_explains_what_is_missing(purged: Purged, filled: Path) -> None:
    (path,) = (purged.store / "removals").iterdir()
    told = json.loads(path.read_text())
    assert (told["by"], told["complete"], told["undecided"]) == ("purge", True, [])
    assert told["records"] == len(purged.request.read_text().split())
    gone = set(Catalogue.read(filled).items) - set(Catalogue.read(purged.store).items)
    assert {each["key"] for each in told["removed"]} == gone
    assert purged.request.name not in path.read_text()
    done = tool(purged.store, "verify")
    assert done.status == 0
    assert "made from what the purge of" in done.out
    shown = tool(purged.store, "show", one(purged.store, "unlearn TopK (seed 0)").key)
    assert "removed: purge of" in shown.out


def test_a_model_that_was_retrained_for_others_goes_too(store: Path) -> None:
    request = store.parent / "other.json"
    request.write_text(json.dumps(split(store)["retain"][:2].tolist()))
    before = everything(store)
    assert tool(store, "purge", "--request", str(request), "--dry-run").status == 0
    assert everything(store) == before
    tool(store, "purge", "--request", str(request))
    assert {item.kind for item in Catalogue.read(store).items.values()} == {"split", "evaluate"}


WRECK = ("strategy=weight_noise", "strategy.noise_scale=2.0", "strategy.js_weight=0.0")  # needs a part of the original


def test_a_blend_goes_with_the_original_unless_it_holds_nothing_of_it(
    run: Run, finished: Finished, tmp_path: Path
) -> None:
    bare = ("spd_gan=off", "metrics=[accuracy]", "attacks=none", "baseline=none", *WRECK, "blend=mix")
    held, free = (
        run(tmp_path, *bare, each).outcome.plan.final_model for each in ("blend.drop=0.1", "blend.target=0.01")
    )
    idle = run(tmp_path, *bare[:4], "strategy=identity", "blend=mix").outcome.plan.final_model
    catalogue = Catalogue.read(tmp_path)
    shares = [
        json.loads(catalogue.items[each.key].entry.file("blend.json").read_text())["a"] for each in (held, free, idle)
    ]
    assert shares[0] > 0
    assert shares[1:] == [0, 0]
    data, forgotten = finished.config.dataset, split(tmp_path)["forget"][:1].tolist()
    found = judged(tmp_path, data, *forgotten)
    going = {removal.target.key: removal.why for removal in found.going}
    stays = {item.key: why for item, why in found.stays}
    assert going[held.key] == "made from train original (seed 0)"
    assert stays[free.key] == "it forgot them"
    assert going[idle.key] == "its weights are the original's"
    predictions = {
        key: [view for view in catalogue.dependants[key] if view.kind == "predict"] for key in (held.key, free.key)
    }
    assert {item.key for item in predictions[held.key]} <= set(going)
    assert any(item.key in stays for item in predictions[free.key])
    validated = judged(tmp_path, data, *split(tmp_path)["validation"][:1].tolist())
    assert {held.key, free.key, idle.key} <= {removal.target.key for removal in validated.going}
    strangers = judged(tmp_path, data, 1400)
    assert (strangers.going, strangers.undecided) == ((), ())


def judged(store: Path, data: Dataset, *records: int, remove_undecided: bool = False) -> PurgePlan:
    catalogue = Catalogue.read(store)
    return plan_purge(catalogue, Members(catalogue, data, torch.tensor(records)), remove_undecided)


def test_shadow_models_go_if_they_learnt_one_of_the_records(run: Run, tmp_path: Path) -> None:
    """Whatever was made from them too, those that the strategy made forget included; the others stay."""
    bare = ("spd_gan=off", "metrics=[accuracy]", "baseline=none", "strategy=weight_noise", "attacks=u_lira")
    found = run(tmp_path, *bare, "attacks.u_lira.models=4", "attacks.u_lira.bootstrap=100")
    parts = split(tmp_path)
    for record in (*parts["retain"][:2], *parts["forget"][:2], *parts["holdout"][:2]):
        told = judged(tmp_path, found.config.dataset, int(record))
        going = {removal.target.key for removal in told.going}
        assert told.undecided == ()
        for model in found.outcome.plan.shadows:
            assert model.unlearned is not None
            learnt = record in model.trained.samples.load(found.context).index
            assert (model.trained.key in going) == (model.unlearned.key in going) == learnt
            views = {view.key for view in Catalogue.read(tmp_path).dependants[model.unlearned.key]}
            assert len(views & going) >= learnt
    learners = [removal.why for removal in told.going if "shadow" in removal.why]
    assert "made from their images (the half of shadow model " in " ".join(learners)
    validated = judged(tmp_path, found.config.dataset, int(parts["validation"][0]))
    assert {model.trained.key for model in found.outcome.plan.shadows} <= {each.target.key for each in validated.going}
    strangers = judged(tmp_path, found.config.dataset, 1400)
    assert (strangers.going, strangers.undecided) == ((), ())


def test_strangers_and_other_data_lose_nothing(filled: Path, finished: Finished) -> None:
    for data, record in ((finished.config.dataset, 1400), (Mnist(), 0)):  # 300 of the digits took part
        found = judged(filled, data, record)
        assert (found.going, found.undecided) == ((), ())


def test_whatever_holds_pictures_outside_the_store_is_found(tmp_path: Path) -> None:
    """Of a run, of its sweep, and what was kept for W&B under names of its own."""
    page = f"<img src='{data_uri(torch.zeros(1, 2, 2, dtype=torch.uint8))}'>"
    for name in ("0/report.html", "0/pictures.json", "sweep.html", "0/wandb/report/report.html"):
        write_text(page, tmp_path / name)
    write_text("<p>none", tmp_path / "1" / "report.html")
    for name in ("tmp1", "tmp2"):
        write_text("", tmp_path / "0" / "wandb" / "staged" / name).write_bytes(PNG + b"...")
    write_text("{}", tmp_path / "1" / "wandb" / "offline-run" / "predictions.table.json")
    write_text("no picture", tmp_path / "2" / "wandb" / "run.log")
    found = {str(path.relative_to(tmp_path)) for path in find_pictures([tmp_path])}
    assert found == {"0/pictures.json", "0/report.html", "0/wandb", "1/wandb", "sweep.html"}


def test_without_a_split_who_was_where_is_not_known(store: Path, finished: Finished) -> None:
    original = one(store, "train original (seed 0)")
    shutil.rmtree(one(store, "split").entry.folder)
    found = judged(store, finished.config.dataset, 0)
    assert found.going == ()
    assert original.key in {item.key for item, _ in found.undecided}
    assert original.key in {
        each.target.key for each in judged(store, finished.config.dataset, 0, remove_undecided=True).going
    }


class PlannedRun(NamedTuple):
    """Photos, a request for one of them, and a run that was planned on them."""

    photos: Path
    request: Path
    plan: Plan
    build_context: BuildContext

    @property
    def store(self) -> Path:
        return self.build_context.store.root

    def going(self, record: int) -> set[str]:
        data = self.plan.split.forget.population.dataset
        return {each.target.key for each in judged(self.store, data, record).going}


@pytest.fixture
def own(tmp_path: Path, composed: Compose, monkeypatch: pytest.MonkeyPatch) -> Callable[..., PlannedRun]:
    """`own(*overrides)`: a toy run on a folder of images, of which only the split is built."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    photos, request = write_images(tmp_path / "photos"), tmp_path / "one.txt"
    request.write_text("train/digit0/0.png\n")

    def go(*overrides: str) -> PlannedRun:
        data = ["dataset=image_folder", f"dataset.root={photos}", "train.epochs=1", "strategy.recipe.epochs=1"]
        settings = config.instantiate(composed(*data, "forget=indices", f"forget.file={request}", *overrides))
        build_context = BuildContext(ArtifactStore(tmp_path / "store"), settings.trainer, Console(io.StringIO()))
        plan = pipeline.make_plan(settings)
        build_context.get(plan.split)
        return PlannedRun(photos, request, plan, build_context)

    return go


def test_what_cannot_be_decided_stays_and_the_purge_is_not_complete(own: Callable[..., PlannedRun]) -> None:
    ours = own()
    original = ours.build_context.get(ours.plan.original).key
    assert ours.going(0) == {original}
    later = Path(shutil.copytree(ours.photos, ours.photos.with_name("later")))
    shutil.copy(later / "train/digit1/1.png", later / "train/digit1/9.png")  # the folder grew: other indices
    asked = ("purge", "--request", str(ours.request), "dataset=image_folder", f"dataset.root={later}")
    done = tool(ours.store, *asked)
    assert done.status == 1
    assert "undecided: train train original (seed 0)" in done.out
    assert original in Catalogue.read(ours.store).items


def test_what_a_checkpoint_was_trained_on_is_known_from_what_was_unlearned(
    own: Callable[..., PlannedRun], tmp_path: Path
) -> None:
    net = own().plan.original.fresh("init/elsewhere", 0).net
    save_file(net.state_dict(), tmp_path / "mine.safetensors")
    ours = own("checkpoint=file", f"checkpoint.file={tmp_path / 'mine.safetensors'}", "checkpoint.trained_on=all")
    checkpoint = ours.build_context.get(ours.plan.original).key
    assert ours.going(0) == set()  # nothing says whom it was trained on
    unlearned = ours.build_context.get(ours.plan.unlearned).key
    assert ours.going(0) == {checkpoint}
    assert ours.going(1) == {checkpoint, unlearned}  # that one was retained


# Bad input


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "x"], "KEY: expected the beginning of one key"),
        (["show", ""], "and 1"),
        (["ls", "trains"], "expected kinds among copies"),
        (["gc", "--keep", "nowhere"], "--keep: expected a report.json"),
        (["gc", "--keep", "damaged.json"], "got a damaged damaged.json"),
        (["gc", "--keep", "foreign.json"], "of another one"),
        (["gc", "--keep-kind", "models"], "expected kinds among"),
        (["gc", "--older-than", "nan"], "--older-than: expected a number of days"),
        (["purge", "--request", "nowhere.txt"], "forget.file: expected a readable text file"),
        (["purge", "--request", "foreign.txt"], "forget.file: expected indices from 0 to 1436"),
        (["verify", "seed=1"], "expected no further arguments, got seed=1"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_lost(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
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


def test_what_is_no_store_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "nowhere", tmp_path / "file", tmp_path):
        done = tool(path, "ls")
        assert done.status == 2
        assert str(path) in done.err
        assert done.err.count("\n") == 1


def test_gc_refuses_where_a_meta_cannot_be_read(store: Path, report: Path) -> None:
    spoil(one(store, "train guide (seed 0)").entry.folder)
    before = everything(store)
    done = tool(store, "gc", "--keep", str(report), "--older-than", "0")
    assert done.status == 2
    assert "damaged meta.json" in done.err
    assert everything(store) == before


def test_show_refuses_what_it_cannot_read(store: Path) -> None:
    item = one(store, "train guide (seed 0)")
    spoil(item.entry.folder)
    done = tool(store, "show", item.key)
    assert (done.status, done.out) == (2, "")
    assert str(item.entry.folder) in done.err
