"""Remaining copies of forgotten images are named, for data in memory and streamed data."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import write_images

from unlearn.core.artifact_store import ArtifactStore
from unlearn.core.progress import Console
from unlearn.core.types import Subset
from unlearn.data.datasets.digits import Digits
from unlearn.data.datasets.image_folder import ImageFolder
from unlearn.data.datasets.python import PythonDataset
from unlearn.data.requests.base import Forget
from unlearn.data.requests.listed import Indices
from unlearn.data.requests.rules import Random
from unlearn.report.copies import describe_copies
from unlearn.report.publishable import publishable_report
from unlearn.stages.base import BuildContext
from unlearn.stages.copies import Copies
from unlearn.stages.samples import DataView
from unlearn.training.trainer import TrainerSettings


def copies(folder: Path, dataset: Any, forget: Forget) -> dict[str, Any]:
    stage = Copies(DataView(dataset, forget, 0)[Subset.FORGET])
    context = BuildContext(ArtifactStore(folder / "store"), TrainerSettings(), Console(io.StringIO()))
    found: dict[str, Any] = context.get(stage).json("copies.json")
    return found


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return write_images(tmp_path / "photos", n=8)


@pytest.mark.parametrize(("limit", "compared"), [(4096, "pixels"), (0, "files")])
def test_copies_in_any_subset_are_named(photos: Path, tmp_path: Path, limit: int, compared: str) -> None:
    picture = photos / "train/digit0/3.png"
    shutil.copy(picture, photos / "train/digit1/3 [copy].png")  # under another label too
    shutil.copy(picture, photos / "test/digit0/copy.png")
    (tmp_path / "request.txt").write_text("train/digit0/3.png\ntrain/digit2/1.png\n")
    dataset = ImageFolder(root=str(photos), workers=0, memory_limit=limit, validation=0.01, holdout=0.01)
    found = copies(tmp_path, dataset, Indices(str(tmp_path / "request.txt")))
    named = sorted(name for names in found["remain"].values() for name in names)
    assert named == ["test/digit0/copy.png", "train/digit1/3 [copy].png"]
    assert found["remain"]["test"] == ["test/digit0/copy.png"]
    assert (found["compared"], found["forgotten"]) == (compared, 1)
    line = describe_copies(found)
    assert line.startswith("copies of 1 forgotten image remain (same ")
    assert all(name in line for name in named)


def test_a_copy_that_is_also_forgotten_does_not_remain(photos: Path, tmp_path: Path) -> None:
    shutil.copy(photos / "train/digit0/3.png", photos / "train/digit0/again.png")
    (tmp_path / "request.txt").write_text("train/digit0/3.png\ntrain/digit0/again.png\n")
    found = copies(tmp_path, ImageFolder(root=str(photos), workers=0), Indices(str(tmp_path / "request.txt")))
    assert found == {"compared": "pixels", "forgotten": 0, "remain": {}}
    assert describe_copies(found) == ""


def test_a_copy_in_a_separate_validation_part_is_named(photos: Path, tmp_path: Path) -> None:
    (photos / "val/digit1").mkdir(parents=True)
    shutil.copy(photos / "train/digit0/3.png", photos / "val/digit1/a\nb.png")
    (tmp_path / "request.txt").write_text("train/digit0/3.png\n")
    dataset = ImageFolder(root=str(photos), val="val", workers=0)
    found = copies(tmp_path, dataset, Indices(str(tmp_path / "request.txt")))
    assert found["remain"] == {"validation": ["val/digit1/a\\nb.png"]}


def test_images_without_names_go_by_number(tmp_path: Path) -> None:
    assert copies(tmp_path, Digits(limit=200), Random(count=5))["compared"] == "pixels"
    streamed = PythonDataset(factory="own_data:digits", size_px=8, workers=0, memory_limit=0)
    assert copies(tmp_path, streamed, Random(count=5)) == {"compared": None, "forgotten": 0, "remain": {}}
    assert Digits().record_name("train", 7) == "record 7 of the train part"


def test_names_of_copies_do_not_leave_the_machine() -> None:
    report = {"command": "unlearn", "config": {}, "copies": {"remain": {"test": ["test/secret.png"]}}}
    assert "secret" not in str(publishable_report(report))
