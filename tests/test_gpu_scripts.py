"""What the GPU table is made of, without a GPU: packing, the published numbers beside ours, what is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unlearn.cli.run import main

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts" / "gpu"


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


def test_our_numbers_stand_beside_the_published_ones(tmp_path: Path) -> None:
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


def test_nothing_is_missing_here() -> None:
    assert script("needs.py") == ""


def test_options_in_a_folder_of_their_group_are_known(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """But not those of a group within the group, nor unknown ones."""
    for wrong in ("recipe/repair", "published/ssd"):
        monkeypatch.setattr(sys, "argv", ["unlearn", f"strategy={wrong}", f"paths.output={tmp_path}"])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        assert f"came '{wrong}'" in capsys.readouterr().err


def first_day(folder: Path, **environment: str) -> tuple[int, str]:
    """Its status and summary, at toy size on the CPU."""
    toy = {"DEVICE": "cpu", "TOY": "1", "MINUTES": "30", "PYTHON": sys.executable}
    command = [SCRIPTS / "first_day.sh", folder]
    done = subprocess.run(command, env=os.environ | toy | environment, capture_output=True, text=True, check=False)
    return done.returncode, (folder / "first-day-cpu" / "summary.txt").read_text() + done.stderr


def test_a_step_of_the_first_day_that_fails_stops_no_other(tmp_path: Path) -> None:
    """The Python that is given fails at one step."""
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


def test_the_first_day_keeps_to_its_minutes(tmp_path: Path) -> None:
    status, summary = first_day(tmp_path, MINUTES="0", STEPS="versions room")
    assert (status, summary.splitlines()[:2]) == (1, ["versions: no time left", "room: no time left"])


@pytest.mark.slow
def test_the_first_day_runs_whole_at_toy_size(tmp_path: Path) -> None:
    status, summary = first_day(tmp_path)
    assert status == 0, summary
    assert all(": well, " in line for line in summary.splitlines())
