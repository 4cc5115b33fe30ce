"""An interrupted training resumes after its last epoch and ends like an uninterrupted one."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from unlearn.core.errors import DivergenceError, StoreError
from unlearn.training.recipe_module import RecipeModule

if TYPE_CHECKING:
    from conftest import Finished, Run

ALONE = ("spd_gan=off", "metrics=without_baseline", "attacks=none", "baseline=none", "strategy=identity")
EAGER = "trainer.checkpoint_every=0"


class Killed(BaseException):
    """Ends a run as no handler expects it."""


@pytest.fixture
def lacking(finished: Finished, tmp_path: Path) -> Path:
    """A copy of the finished run's store in which one retrained model is missing."""
    stage, store = finished.outcome.plan.retrained[0], tmp_path / "store"
    shutil.copytree(finished.store, store)
    shutil.rmtree(store / stage.kind / stage.key)
    return store


def kill_after(monkeypatch: pytest.MonkeyPatch, epochs: int) -> None:
    whole = RecipeModule.on_train_epoch_end

    def cut_short(module: Any) -> None:
        whole(module)
        if module.current_epoch + 1 == epochs:
            raise Killed

    monkeypatch.setattr(RecipeModule, "on_train_epoch_end", cut_short)


def check(again: Finished, finished: Finished) -> dict[str, Any]:
    """The retrained model alone was built again, to the same bits; its `meta.json`."""
    key = finished.outcome.plan.retrained[0].key
    assert {each for each, entry in again.context.entries.items() if not entry.reused} == {key}
    meta = again.context.entries[key].meta
    assert meta["files"] == finished.context.entries[key].meta["files"]
    assert not list((again.store / "partial").glob("*"))
    return meta


def test_a_killed_training_resumes(
    finished: Finished, run: Run, lacking: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        kill_after(patched, 3)
        with pytest.raises(Killed):
            run(lacking, EAGER)
    key = finished.outcome.plan.retrained[0].key
    assert [path.name for path in (lacking / "partial" / key).iterdir()] == ["last.ckpt"]
    started = time.perf_counter()
    again = run(lacking, EAGER)
    meta = check(again, finished)
    assert meta["resumed_from_epoch"] == 3
    assert 0 < meta["seconds"] < time.perf_counter() - started + 60
    assert "train retrained (seed 0)     resumed at epoch 3\n" in again.console


def test_an_unusable_checkpoint_is_deleted(finished: Finished, run: Run, lacking: Path) -> None:
    kept = lacking / "partial" / finished.outcome.plan.retrained[0].key / "last.ckpt"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"PK\x03\x04 and then the power went")
    again = run(lacking)
    assert "resumed_from_epoch" not in check(again, finished)
    (line,) = [line for line in again.console.splitlines() if "restarts" in line]
    assert "retrained" in line
    assert "damaged checkpoint" in line


@contextmanager
def small_disk(largest: int) -> Iterator[None]:
    """No file may grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("every", [0, 3600])
def test_a_full_disk_is_reported_and_leaves_no_partial_file(
    finished: Finished, run: Run, lacking: Path, every: int
) -> None:
    with small_disk(2000), pytest.raises(StoreError, match=r"^paths\.store: .*free space.*$"):
        run(lacking, f"trainer.checkpoint_every={every}")
    assert not list((lacking / "building").iterdir())
    assert not list((lacking / "partial").rglob("*.*"))
    check(run(lacking), finished)


def test_a_diverged_training_keeps_no_checkpoint(run: Run, tmp_path: Path) -> None:
    with pytest.raises(DivergenceError):
        run(tmp_path, *ALONE, EAGER, "train.lr=1e3", "train.epochs=50", "train.optimizer=sgd")
    assert not list((tmp_path / "partial").glob("*"))


def test_waiting_for_another_process_is_printed(
    finished: Finished, run: Run, lacking: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unlearn.core.artifact_store.PATIENCE", 0.05)
    lock = (lacking / "locks" / f"{finished.outcome.plan.retrained[0].key}.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    threading.Timer(0.5, lock.close).start()
    assert run(lacking).console.count("train retrained (seed 0)     waiting for another process that builds it") == 1


# Through the command line


EPOCHS = 40
TOY = ("dataset.limit=300", "model=mlp", f"train.epochs={EPOCHS}", "paths.output=out", EAGER, *ALONE)


def start(folder: Path, *overrides: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "unlearn", *TOY, *overrides]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def end(started: subprocess.Popen[str]) -> tuple[int, str]:
    _, stderr = started.communicate(timeout=300)
    return started.returncode, stderr


def until(condition: Callable[[], object], started: subprocess.Popen[str]) -> None:
    while not condition():
        assert started.poll() is None, started.communicate()[1]
        time.sleep(0.01)


def kept(folder: Path) -> dict[Path, int]:
    """Checkpoints of trainings that are under way, by their time."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("artifacts/partial/*/last.ckpt")}


def original(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """What became of the one training: `meta.json` and weights."""
    (meta,) = folder.glob("artifacts/train/*/meta.json")
    assert not list(folder.glob("artifacts/building/*"))
    assert not list(folder.glob("artifacts/partial/*"))
    return json.loads(meta.read_text()), load_file(meta.with_name("model.safetensors"))


def children(process: int) -> list[int]:
    return list(map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split()))


def strike(folder: Path, signum: int, *overrides: str) -> tuple[int, str]:
    """Stop a run when it has kept an epoch more; none of its processes stays."""
    before = kept(folder)
    started = start(folder, *overrides)
    until(lambda: kept(folder).items() - before.items(), started)
    family = children(started.pid)
    os.kill(started.pid, signum)
    found = end(started)
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{each}").exists() for each in family):
        assert time.monotonic() < deadline, "a child outlived its parent"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run that nothing stopped, by its trainer."""
    folders = {trainer: tmp_path_factory.mktemp(trainer) for trainer in ("cpu", "ddp")}
    for trainer, folder in folders.items():
        code, stderr = end(start(folder, f"trainer={trainer}"))
        assert code == 0, stderr
    return folders


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["cpu", "ddp"])
def test_a_command_stopped_by_any_signal_resumes(undisturbed: dict[str, Path], tmp_path: Path, trainer: str) -> None:
    how = f"trainer={trainer}"
    for signum, status in ((signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)):
        code, stderr = strike(tmp_path / "torn", signum, how)
        assert code == status, stderr
    code, stderr = end(start(tmp_path / "torn", how))
    assert code == 0, stderr
    assert "resumed at epoch" in stderr
    (whole, _), (torn, _) = original(undisturbed[trainer]), original(tmp_path / "torn")
    assert torn["files"] == whole["files"]
    assert 0 < torn["resumed_from_epoch"] < EPOCHS


@pytest.mark.slow
def test_several_processes_train_the_same_model_as_one(undisturbed: dict[str, Path]) -> None:
    (alone, one), (shared, two) = (original(undisturbed[trainer]) for trainer in ("cpu", "ddp"))
    assert (alone["hardware"]["devices"], shared["hardware"]["devices"]) == (1, 2)
    torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)
    assert not all(torch.equal(one[name], two[name]) for name in one)
    (unlearned,) = undisturbed["ddp"].glob("artifacts/unlearn/*/meta.json")
    assert json.loads(unlearned.read_text())["hardware"]["devices"] == 1


@pytest.mark.slow
def test_several_processes_diverge_in_one_line(tmp_path: Path) -> None:
    code, stderr = end(start(tmp_path, "trainer=ddp", "train.lr=1e6"))
    assert code == 1
    assert "Traceback" not in stderr
    (line,) = [line for line in stderr.splitlines() if line.startswith("unlearn:")]
    assert "learning rate 1e+06" in line
