"""`unlearn-data` prints how a data set is numbered."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import write_images

from unlearn.cli import data


def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    monkeypatch.setattr(sys, "argv", ["unlearn-data", *words])
    data.main()
    return capsys.readouterr().out


def test_classes_parts_and_what_was_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = write_images(tmp_path / "photos")
    (root / "train/digit1/notes.txt").write_text("x")
    request = ("forget=indices", f"forget.file='{root}/train/digit1/*'", "dataset=image_folder", f"dataset.root={root}")
    lines = printed(monkeypatch, capsys, *request, "--records").splitlines()
    assert [line.split() for line in lines[:5]] == [
        ["class", "name", "train", "test", "requested"],
        ["0", "digit0", "6", "2", "0"],
        ["1", "digit1", "6", "2", "6"],
        ["2", "digit2", "6", "2", "0"],
        ["all", "18", "6", "6"],
    ]
    assert lines[5] == "skipped in the train part: 1 other files (1 .txt)"
    assert lines[-1] == "17  2  train/digit2/5.png"


def test_a_bad_data_set_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["unlearn-data", "dataset=image_folder", "dataset.root=/nowhere"])
    with pytest.raises(SystemExit) as caught:
        data.main()
    assert caught.value.code == 2
    assert "no folder /nowhere" in capsys.readouterr().err
