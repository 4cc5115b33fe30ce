"""A run's page, built again from its folder: the same page, without its store, or one line that names what is wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from reports import report as handmade
from reports import write as write_sweep

from unlearn import config
from unlearn.api.files import write_report
from unlearn.cli.report import main
from unlearn.report.assemble import assemble
from unlearn.report.inversion import Picture, RecoveredPictures
from unlearn.report.page import render
from unlearn.report.pictures import Examples, examples
from unlearn.report.run_folder import find_run, read_pictures, write_pictures

if TYPE_CHECKING:
    from conftest import Finished

PIXEL = "data:image/png;base64,AAAA"


@pytest.fixture(scope="module")
def folder(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run")
    report = assemble(finished.outcome, config.to_plain_dict(finished.composed), {"strategy": "top_k"})
    write_report(report, finished.config, finished.outcome, path)
    return path


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["unlearn-report", *map(str, arguments)])
    main()


def test_the_page_is_built_again_from_the_folder_alone(
    folder: Path,
    finished: Finished,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    page = (folder / "report.html").read_text()
    report = json.loads((folder / "report.json").read_text())
    assert page == render(report, examples(finished.config, finished.outcome))  # as from the store
    assert page.count("data:image/png") > 0
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("report.json", "pictures.json"):
        (moved / name).write_bytes((folder / name).read_bytes())
    run_main(monkeypatch, moved)
    assert (moved / "report.html").read_text() == page
    assert "forget accuracy" in (printed := capsys.readouterr().out)
    assert printed.splitlines()[-1] == str(moved / "report.html")


def test_the_page_has_what_else_lies_in_the_folder(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    assert '<a href="unlearned.safetensors">' in page
    assert "<dt>Request</dt><dd>" in page


def test_recovered_images_are_kept_with_the_others(tmp_path: Path) -> None:
    recovery = RecoveredPictures(3, 17, (Picture(PIXEL, "the forgotten image", "error 0.10"),))
    write_pictures(Examples(), tmp_path, recovery)
    assert read_pictures(tmp_path, handmade()) == (Examples(), recovery)


def test_why_pictures_are_left_out_is_in_the_report(tmp_path: Path) -> None:
    report = handmade() | {"no_pictures": "They are private.", "spd_gan": {}}
    assert read_pictures(tmp_path, report) == (Examples(why="They are private."), RecoveredPictures())
    report["metrics"]["unlearned/feature_recovery_mse"] = 0.1
    assert read_pictures(tmp_path, report)[1].why == "They are private."


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("report.json", "{", "report.json: expected JSON, got text that cannot be read"),
        ("report.json", json.dumps(handmade() | {"metrics": 5}), "report.json: metrics: expected an object, got 5"),
        ("report.json", json.dumps(handmade() | {"metrics": {}}), "with missing or contradictory parts"),
        ("pictures.json", "[]", "pictures.json: the file: expected an object, got []"),
        (
            "pictures.json",
            '{"shown": [{"label": 3}]}',
            "pictures.json: shown.0.index: expected an integer, got nothing",
        ),
    ],
    ids=["torn", "type", "contradictory", "no object", "incomplete"],
)
def test_a_damaged_file_is_refused_in_one_line(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    file: str,
    content: str,
    words: str,
) -> None:
    (tmp_path / "report.json").write_bytes((folder / "report.json").read_bytes())
    (tmp_path / file).write_text(content)
    with pytest.raises(SystemExit, match="2"):
        run_main(monkeypatch, tmp_path)
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "report.html").exists()


def test_several_runs_are_a_sweep(tmp_path: Path) -> None:
    root: Any = write_sweep(tmp_path, handmade(), handmade(seed=1))
    assert find_run([root]) is None
    assert find_run([root / "0", root / "1"]) is None
    assert find_run([root / "0"]) == find_run([root / "0" / "report.json"]) == root / "0"
