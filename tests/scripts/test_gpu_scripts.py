"""The scripts for a GPU, tested without one: packing, the published table, missing packages."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from unlearn.cli.run import main

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts" / "gpu"


def script(name: str, *arguments: str | Path) -> str:
    done = subprocess.run([sys.executable, SCRIPTS / name, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("tarred", [False, True])
def test_images_are_packed_in_the_order_of_their_names(tarred: bool, tmp_path: Path) -> None:
    for place, grey in (("train/cat/b", 20), ("train/cat/a", 10), ("train/ant/c", 30), ("test/cat/d", 40)):
        path = tmp_path / "deep" / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (grey, 0, 0)).save(path)
    source = tmp_path / "deep"
    if tarred:
        source = tmp_path / "deep.tar.xz"
        subprocess.run(["tar", "-cJf", source, "-C", tmp_path, "deep"], check=True)
    script("pack.py", source, tmp_path / "packed.npz")
    with np.load(tmp_path / "packed.npz") as packed:
        assert packed["train"].shape == (3, 3, 4, 4)
        assert packed["train"][:, 0, 0, 0].tolist() == [30, 10, 20]
        assert packed["train_labels"].tolist() == [0, 1, 1]
        assert packed["test_labels"].tolist() == [1]
    script("pack.py", source, tmp_path / "few.npz", "1")
    with np.load(tmp_path / "few.npz") as packed:
        assert packed["train"][:, 0, 0, 0].tolist() == [30, 10]


def test_the_table_shows_our_numbers_next_to_the_published_ones(tmp_path: Path) -> None:
    """Two seeds: UA is 100 - 100 forget accuracy, the gap the mean distance from the seed's own retrained model."""
    metrics = ("forget_accuracy", "retain_accuracy", "test_accuracy", "mia_svc_confidence")
    for seed, shift in enumerate((0.0, 0.02)):
        numbers = {"retrained": (0.95, 1.0, 0.94, 0.13), "unlearned": (0.97 + shift, 1.0, 0.94, 0.15)}
        report = {
            "metrics": {f"{role}/{m}": v for role, row in numbers.items() for m, v in zip(metrics, row, strict=True)},
            "choices": {"strategy": "published/finetune"},
            "seeds": {"train": seed, "baseline": [seed]},
            "config": {"train": {"epochs": 182}, "trainer": {"precision": "32"}},
            "hardware": {"device": "cpu"},
            "versions": {"torch": "2", "pytorch-lightning": "2", "commit": "c"},
        }
        (tmp_path / str(seed)).mkdir()
        (tmp_path / str(seed) / "report.json").write_text(json.dumps(report))
    lines = {line.split()[0]: line.split()[1:] for line in script("published.py", tmp_path).splitlines()}
    assert lines["finetune"][:2] == ["2.00±1.41", "(0.63)"]
    assert lines["finetune"][-2:] == ["1.25±0.35", "(3.78)"]
    assert lines["retrained"][:2] == ["5.00±0.00", "(5.24)"]
    assert lines["salun"] == ["-"]


def test_no_package_is_missing_here() -> None:
    assert script("needs.py") == ""


def test_options_in_a_subfolder_of_their_group_are_known(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """But not those of a group within the group, nor unknown ones."""
    for wrong in ("recipe/repair", "published/ssd"):
        monkeypatch.setattr(sys, "argv", ["unlearn", f"strategy={wrong}", f"paths.output={tmp_path}"])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        assert f"got '{wrong}'" in capsys.readouterr().err


def packed(folder: Path) -> Path:
    """Write a few images of noise in the format of `pack.py`."""
    draws, path = np.random.default_rng(0), folder / "cifar10.npz"
    images = {
        part: draws.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8) for part, n in (("train", 256), ("test", 20))
    }
    np.savez(path, **images, **{f"{part}_labels": np.arange(len(pixels)) % 10 for part, pixels in images.items()})
    return path


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import the script at toy size."""
    monkeypatch.setenv("DEVICE", "cpu")
    monkeypatch.setenv("TOY", "1")
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.delitem(sys.modules, "rows", raising=False)
    return importlib.import_module("rows")


def test_a_row_that_fails_does_not_stop_the_others(
    rows: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fails(_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setitem(rows.ROWS, "training", fails)
    monkeypatch.setitem(rows.ROWS, "importance", lambda _: print("importance: measured"))
    assert rows.main(str(packed(tmp_path)), "training", "importance") == 1
    stdout = capsys.readouterr().out
    assert "training: failed: RuntimeError: CUDA error" in stdout
    assert "importance: measured" in stdout
    assert stdout.endswith("failed: training\n")
    assert rows.main(str(packed(tmp_path)), "importance") == 0


def test_stacked_models_are_compared_after_few_steps(
    rows: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """After 100 steps on a CPU, rounding makes weights differ by 6e-3."""
    monkeypatch.setattr(rows, "STACKED", 256)
    monkeypatch.setattr(rows, "MODELS", 2)
    monkeypatch.setattr(rows, "row", lambda name, *_: print(name))
    assert rows.main(str(packed(tmp_path)), "stacked") == 0
    assert "after 3 steps" in capsys.readouterr().out
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.slow
def test_the_table_has_switches_and_copies_out(tmp_path: Path) -> None:
    """Without rows and sweeps, nothing is measured, the table says so, and OUT has a copy of the store."""
    packed(tmp_path)
    out = tmp_path / "out"
    switches = {"DEVICE": "cpu", "ROWS": "none", "SWEEP": "none", "OUT": str(out), "PYTHON": sys.executable}
    folder = tmp_path / "cpu-32"
    (folder / "store" / "train" / "abc").mkdir(parents=True)
    (folder / "store" / "train" / "abc" / "meta.json").write_text("{}")
    (folder / "store" / "building" / "half").mkdir(parents=True)
    command = [SCRIPTS / "table.sh", tmp_path]
    done = subprocess.run(command, env=os.environ | switches, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "no cell is finished yet" in (out / "table.txt").read_text()
    assert sorted(path.name for path in (out / "store").rglob("*")) == ["abc", "meta.json", "train"]


def first_day(folder: Path, **environment: str) -> tuple[int, str]:
    """Run the script at toy size on the CPU; returns status and summary."""
    toy = {"DEVICE": "cpu", "TOY": "1", "MINUTES": "30", "PYTHON": sys.executable}
    command = [SCRIPTS / "first_day.sh", folder]
    done = subprocess.run(command, env=os.environ | toy | environment, capture_output=True, text=True, check=False)
    return done.returncode, (folder / "first-day-cpu" / "summary.txt").read_text() + done.stderr


@pytest.mark.slow
def test_a_failed_step_of_the_first_day_does_not_stop_the_others(tmp_path: Path) -> None:
    """The given Python fails in one step."""
    broken = tmp_path / "python"
    broken.write_text(f'#!/bin/sh\ncase "$2" in precisions) exit 7 ;; esac\nexec {sys.executable} "$@"\n')
    broken.chmod(0o755)
    status, summary = first_day(tmp_path, STEPS="versions precisions room", PYTHON=str(broken))
    assert status == 1
    lines = summary.splitlines()
    assert [line.partition(",")[0].partition(" after")[0] for line in lines[:3]] == [
        *("versions: well", "precisions: failed with status 7", "room: well")
    ]
    assert "images/s" in (tmp_path / "first-day-cpu" / "room.txt").read_text()


@pytest.mark.slow
def test_the_first_day_respects_its_time_limit(tmp_path: Path) -> None:
    status, summary = first_day(tmp_path, MINUTES="0", STEPS="versions room")
    assert (status, summary.splitlines()[:2]) == (1, ["versions: no time left", "room: no time left"])


@pytest.mark.slow
def test_the_first_day_runs_completely_at_toy_size(tmp_path: Path) -> None:
    status, summary = first_day(tmp_path)
    assert status == 0, summary
    assert all(": well, " in line for line in summary.splitlines())
