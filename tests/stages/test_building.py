"""Shadow models trained together give the artifacts of training one by one, also when interrupted."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from conftest import Finished, Run
from safetensors.torch import load_file

from unlearn.core.artifact_store import ArtifactStore
from unlearn.core.errors import DivergenceError
from unlearn.core.types import Role
from unlearn.stages import building
from unlearn.stages.base import BuildContext
from unlearn.stages.shadow_model import collect_trained_models
from unlearn.stages.train import Train
from unlearn.training import stacked

COUNT = 8
LABEL = "train 4 shadow models"  # twice: the pool is odd, so halves are of two sizes
ATTACKED = ("spd_gan=off", "metrics=[accuracy]", "strategy=identity", "baseline=none", "train.epochs=3")
ATTACKED += ("attacks=lira", f"attacks.lira.models={COUNT}", "attacks.lira.bootstrap=100", "model.dropout=0.2")
ATTACKED += ("dataset.limit=301",)
KEYS = {"label", "spec", "versions", "hardware", "kind", "key", "seconds", "created", "files", "digest"}


@pytest.fixture(scope="module")
def at_once(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return run(tmp_path_factory.mktemp("at_once"), *ATTACKED)


@pytest.fixture(scope="module")
def one_by_one(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(building, "MIN_GROUP", COUNT + 1)
        return run(tmp_path_factory.mktemp("one_by_one"), *ATTACKED)


def shadows(found: Finished) -> Sequence[Train]:
    return collect_trained_models(found.outcome.plan.shadows)


def test_artifacts_match_training_one_by_one(at_once: Finished, one_by_one: Finished) -> None:
    """Keys, files, curves, weights; each has its share of the seconds, and says of how many."""
    assert [line.split("  built")[0].strip() for line in at_once.console.splitlines()].count(LABEL) == 2
    assert "train shadow" not in at_once.console
    assert LABEL not in one_by_one.console
    assert [stage.key for stage in shadows(at_once)] == [stage.key for stage in shadows(one_by_one)]
    for stage in shadows(at_once):
        mine, theirs = (found.context.peek(stage) for found in (at_once, one_by_one))
        assert mine
        assert theirs
        assert mine.meta["files"].keys() == theirs.meta["files"].keys() == {"model.safetensors", "curve.json"}
        weights = [load_file(entry.file("model.safetensors")) for entry in (mine, theirs)]
        torch.testing.assert_close(*weights, rtol=0, atol=1e-4)  # rounding grows over the steps, more on some CPUs
        for row, other in zip(mine.json("curve.json"), theirs.json("curve.json"), strict=True):
            assert row == pytest.approx(other, rel=0, abs=1e-4)
        assert mine.meta.keys() == KEYS | {"stacked"}
        assert theirs.meta.keys() == KEYS
        assert mine.meta["stacked"] == 4
        assert mine.seconds > 0
        assert mine.meta["spec"] == theirs.meta["spec"]
    for one, other in zip(at_once.outcome.measurements, one_by_one.outcome.measurements, strict=True):
        for name, measured in one[1].items():
            assert measured.value == pytest.approx(other[1][name].value, abs=1e-3)


def test_other_models_train_alone(at_once: Finished) -> None:
    """What unlearning's cost is held against is timed alone."""
    for entry in at_once.context.entries.values():
        assert ("stacked" in entry.meta) == (entry.meta["label"].startswith(f"train {Role.SHADOW}"))


def without(finished: Finished, folder: Path) -> tuple[Path, Sequence[Train]]:
    """A copy of its store without shadow models, and those that would be in one group."""
    shutil.copytree(finished.store, folder)
    for stage in shadows(finished):
        shutil.rmtree(folder / stage.kind / stage.key)
    return folder, shadows(finished)[::2]


def test_models_that_another_process_builds_are_left_out(at_once: Finished, tmp_path: Path) -> None:
    """And who has begun alone goes on alone: both leave their groups too small."""
    store, (first, second, *rest) = without(at_once, tmp_path / "store")
    build_context = BuildContext(ArtifactStore(store), at_once.context.hardware, at_once.context.console)
    begun = store / "partial" / second.key / "last.ckpt"
    begun.parent.mkdir(parents=True)
    begun.write_bytes(b"an epoch")
    with (store / "locks" / f"{first.key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        building.train_together(shadows(at_once), build_context)
    there = {stage.key for stage in shadows(at_once) if build_context.peek(stage)}
    assert there == {stage.key for stage in shadows(at_once)[1::2]}
    assert not there & {stage.key for stage in rest}
    assert begun.exists()


class Killed(BaseException):
    """Ends a run as no handler expects it."""


def test_a_kill_loses_one_group(at_once: Finished, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, _ = without(at_once, tmp_path / "store")
    whole, calls = stacked.fit_stacked, []

    def dies_second(*given: object) -> object:
        calls.append(given)
        if len(calls) == 2:
            raise Killed
        return whole(*given)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(stacked, "fit_stacked", dies_second)
        with pytest.raises(Killed):
            run(store, *ATTACKED)
    assert not list((store / "building").iterdir())
    again = run(store, *ATTACKED)
    assert again.console.count(LABEL) == 1
    for stage in shadows(at_once):
        mine, theirs = (found.context.peek(stage) for found in (again, at_once))
        assert mine
        assert theirs
        assert mine.meta["files"] == theirs.meta["files"]


@pytest.mark.parametrize(
    "override", ["train.patience=1", "trainer.precision=bf16-mixed", "trainer.detect_anomaly=true", "train.epochs=0"]
)
def test_settings_that_cannot_be_stacked_train_alone(
    at_once: Finished, run: Run, tmp_path: Path, override: str
) -> None:
    alone = run(tmp_path, *ATTACKED, "attacks.lira.models=4", "dataset.limit=300", "train.epochs=1", override)
    assert "shadow models  " not in alone.console.partition("to come")[2]
    assert alone.console.count("train shadow") == 4


def test_divergence_is_reported_for_the_one_model(run: Run, tmp_path: Path) -> None:
    with pytest.raises(DivergenceError, match=r"^(original|shadow): the .* at step \d+"):
        run(tmp_path, *ATTACKED, "train.lr=1e4", "train.epochs=20")
