"""Whole sweeps as a user runs them: shared, killed, concurrent, and finished by the same command."""

from __future__ import annotations

import csv
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

TOY = ("dataset.limit=400", "model.width=8", "train.epochs=3", "spd_gan.steps=10", "strategy.recipe.epochs=1")
GRID = ("strategy=random_k,top_k", "strategy.k=0.001,0.01,0.1", "strategy.noise_scale=0.5,1", "seed=0,1")
SHARED = ("original", "retrained", "spd_gan")


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "unlearn", "-m", *arguments]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def sweep(*arguments: str, cwd: Path, status: int = 0) -> str:
    """Run a sweep to the end; returns its standard error."""
    running = start(*arguments, cwd=cwd)
    _, stderr = running.communicate(timeout=1200)
    assert running.returncode == status, stderr
    return stderr


def reports(folder: Path) -> list[dict[str, Any]]:
    """Read the reports in the order of the cells."""
    paths = sorted(folder.glob("*/report.json"), key=lambda path: int(path.parent.name))
    return [json.loads(path.read_text()) for path in paths]


def built(*folders: Path) -> Counter[str]:
    """Count how often each artifact of the reports was built, by key."""
    parts = [part for folder in folders for report in reports(folder) for part in report["artifacts"].values()]
    return Counter({part["key"]: 0 for part in parts}) + Counter(p["key"] for p in parts if p["status"] == "built")


def numbers(report: dict[str, Any]) -> dict[str, Any]:
    """Return the metrics that repeat, without times."""
    return {key: value for key, value in report["metrics"].items() if not key.endswith(("/seconds", "/speedup"))}


def table(sweep: Path) -> list[dict[str, str]]:
    """Read the rows of the sweep's report, without times."""
    with (sweep / "sweep.csv").open(newline="") as file:
        return [
            {name: cell for name, cell in row.items() if "seconds" not in name and "speedup" not in name}
            for row in csv.DictReader(file)
        ]


@pytest.mark.slow
def test_a_grid_builds_shared_stages_once_per_seed(tmp_path: Path) -> None:
    sweep(*TOY, *GRID, "paths.output=one", cwd=tmp_path)
    first = reports(tmp_path / "one")
    assert len(first) == 24
    metas = [json.loads(path.read_text()) for path in (tmp_path / "artifacts").glob("*/*/meta.json")]
    trained = Counter((meta["spec"]["role"], meta["spec"]["seed"]) for meta in metas if meta["kind"] == "train")
    assert trained == {(role, seed): 1 for role in ("original", "retrained") for seed in (0, 1)}
    assert Counter(meta["spec"]["seed"] for meta in metas if meta["kind"] == "perturb") == {0: 1, 1: 1}
    assert Counter(meta["spec"]["seed"] for meta in metas if meta["kind"] == "unlearn") == {0: 12, 1: 12}
    assert set(built(tmp_path / "one").values()) == {1}
    stderr = sweep(*TOY, *GRID, "paths.output=two", cwd=tmp_path)
    assert " built " not in stderr
    assert "24 of them reused" in stderr
    assert [numbers(report) for report in reports(tmp_path / "two")] == [numbers(report) for report in first]


@pytest.mark.slow
def test_until_baseline_leaves_only_unlearning_to_the_grid(tmp_path: Path) -> None:
    grid = (*TOY, "strategy=random_k,top_k", "strategy.k=0.01,0.1", "seed=0,1")
    stderr = sweep(*grid, "until=baseline", "paths.output=shared", cwd=tmp_path)
    assert "cells: 2 of 2" in stderr
    assert stderr.count(" built ") == 2 * len(SHARED)
    assert "unlearn RandomK" not in stderr
    assert "no report" not in stderr
    sweep(*grid, "paths.output=all", cwd=tmp_path)
    assert {r["artifacts"][name]["status"] for r in reports(tmp_path / "all") for name in SHARED} == {"reused"}


@pytest.mark.slow
def test_a_sweep_killed_at_random_moments_ends_with_the_same_numbers(tmp_path: Path) -> None:
    grid = (*TOY, "train.epochs=12", "strategy=random_k,top_k", "strategy.k=0.01,0.1", "seed=0,1")
    sweep(*grid, "paths.output=calm", "paths.store=calm_store", cwd=tmp_path)
    moments, kills = random.Random(0), 0
    while kills < 10:
        running = start(*grid, "paths.output=killed", cwd=tmp_path)
        time.sleep(3 + moments.uniform(0, 8))  # three seconds pass before the first stage
        if running.poll() is not None:  # the sweep was finished: start again
            running.communicate()
            shutil.rmtree(tmp_path / "artifacts")
            continue
        running.send_signal(signal.SIGKILL)
        running.communicate()
        kills += 1
    sweep(*grid, "paths.output=killed", cwd=tmp_path)
    calm, killed = reports(tmp_path / "calm"), reports(tmp_path / "killed")
    assert [numbers(report) for report in killed] == [numbers(report) for report in calm]
    keys = [[{name: part["key"] for name, part in r["artifacts"].items()} for r in cells] for cells in (calm, killed)]
    assert keys[0] == keys[1]
    assert table(tmp_path / "killed") == table(tmp_path / "calm")
    assert not list((tmp_path / "artifacts" / "building").iterdir())


@pytest.mark.slow
def test_two_sweeps_at_once_build_each_stage_once(tmp_path: Path) -> None:
    grid = (*TOY, "strategy=random_k,top_k", "strategy.k=0.01,0.1")
    pair = [start(*grid, f"paths.output={name}", cwd=tmp_path) for name in ("a", "b")]
    for running in pair:
        _, stderr = running.communicate(timeout=600)
        assert running.returncode == 0, stderr
    assert set(built(tmp_path / "a", tmp_path / "b").values()) == {1}


@pytest.mark.slow
def test_a_second_sweep_into_the_same_folder_is_refused(tmp_path: Path) -> None:
    long = start(*TOY, "train.epochs=100000", "seed=0,1", "paths.output=one", cwd=tmp_path)
    while not (tmp_path / "one" / "0" / "cell.json").exists():
        time.sleep(0.2)
    stderr = sweep(*TOY, "seed=0,1", "paths.output=one", cwd=tmp_path, status=2)
    assert "paths.output: expected a folder of its own, got one" in stderr
    assert (tmp_path / "one" / "0" / "cell.json").exists()
    long.kill()
    long.communicate()


@pytest.mark.slow
def test_the_command_for_failed_cells_runs_only_those(tmp_path: Path) -> None:
    grid = (*TOY, "strategy=random_k", "strategy.k=0.01,0.1", "seed=0,1")
    sweep(*grid, "paths.output=one", cwd=tmp_path)
    key = reports(tmp_path / "one")[2]["artifacts"]["unlearned"]["key"]
    (tmp_path / "artifacts" / "unlearn" / key / "model.safetensors").write_bytes(b"damaged")
    stderr = sweep(*grid, "paths.output=two", cwd=tmp_path, status=1)
    assert "1 of 4 cells failed" in stderr
    assert "cell 2 (strategy.k=0.1 seed=0): paths.store: expected the artifact" in stderr
    (line,) = [line for line in stderr.splitlines() if line.startswith("  unlearn -m")]
    shutil.rmtree(tmp_path / "artifacts" / "unlearn" / key)
    sweep(*shlex.split(line)[2:], cwd=tmp_path)
    (again,) = reports(tmp_path / "two" / "again-1")
    assert numbers(again) == numbers(reports(tmp_path / "one")[2])


@pytest.mark.slow
def test_a_search_minimises_a_number_without_test_and_holdout(tmp_path: Path) -> None:
    search = (*TOY, "+sweep=search", "hydra.sweeper.n_trials=5")
    stderr = sweep(*search, "paths.output=one", cwd=tmp_path)
    first = reports(tmp_path / "one")
    objectives = [report["metrics"]["selection/average_gap"] for report in first]
    assert len(set(objectives)) == 5
    assert f"best of 5: {min(objectives):.4f} with strategy=" in stderr
    behind = first[0]["statistics"]["selection/average_gap"]["over"]
    assert behind == [
        f"gap/{m}" for m in ("forget_accuracy", "retain_accuracy", "validation_accuracy", "selection_auc")
    ]
    assert "on seeds that the search has not seen" in first[0]["notes"]["objective"]
    (line,) = [line for line in stderr.splitlines() if line.startswith("  unlearn -m")]
    assert line.endswith("seed=1,2,3")
    assert " paths.output=one-unseen " in line  # not into the folder of the search
    assert " built " not in sweep(*search, "paths.output=two", cwd=tmp_path)  # the same settings are proposed
    assert [report["metrics"]["selection/average_gap"] for report in reports(tmp_path / "two")] == objectives


@pytest.mark.slow
def test_a_search_continues_after_a_failed_trial(tmp_path: Path) -> None:
    search = (*TOY, "+sweep=search", "hydra.sweeper.n_trials=4", "strategy=random_k")
    stderr = sweep(*search, "strategy.recipe.lr=choice(0.05,1e30)", "paths.output=one", cwd=tmp_path, status=1)
    assert "strategy.recipe.lr=1e+30" in stderr
    assert "of 4 cells failed" in stderr
    assert "best of 4" in stderr


@pytest.mark.slow
def test_a_search_lists_its_failed_trials(tmp_path: Path) -> None:
    search = (*TOY, "+sweep=search", "hydra.sweeper.n_trials=2", "strategy=random_k")
    stderr = sweep(*search, "strategy.recipe.lr=choice(1e29,1e30)", "paths.output=one", cwd=tmp_path, status=1)
    assert "2 of 2 cells failed" in stderr
    assert stderr.count(": unlearned: the loss was") >= 2


@pytest.mark.slow
def test_a_launcher_that_loses_a_process_lists_the_unfinished_cells(tmp_path: Path) -> None:
    grid = (*TOY, "train.epochs=10000", "strategy=random_k", "seed=0,1", "cluster=joblib", "cluster.n_jobs=2")
    running = start(*grid, "paths.output=one", cwd=tmp_path)
    while len(list(tmp_path.glob("artifacts/building/*"))) < 2:
        assert running.poll() is None
        time.sleep(0.1)
    listed = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    worker = next(pid for pid in map(int, listed) if b"LokyProcess-1" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(worker, signal.SIGKILL)
    _, stderr = running.communicate(timeout=60)
    assert running.returncode == 1
    assert "2 of 2 cells failed" in stderr
    assert "ended without a message: killed, or out of memory" in stderr
