"""The command `unlearn` in a process of its own, as a user runs it."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from commands import run_command, unlearn

from unlearn import __version__
from unlearn.cli.arguments import move_flags_first
from unlearn.core.events import EVENTS

TOY = ["dataset.limit=400", "train.epochs=2", "spd_gan.steps=10", "strategy.recipe.epochs=1"]
HEAVY = ("pytorch_lightning", "torchvision", "wandb", "sklearn", "matplotlib")
SPY = f"""
import atexit, sys
atexit.register(lambda: print("LOADED", [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr))
from unlearn.cli.run import main
main()
"""


def fresh(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command in a new interpreter, which reports the heavy packages that it imported."""
    command = [sys.executable, "-c", SPY, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


def report(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return content


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A folder with the output of a toy run in `one`, and the finished process."""
    folder = tmp_path_factory.mktemp("cli")
    return folder, unlearn(*TOY, "paths.output=one", "logger.events=true", cwd=folder)


def test_run_prints_the_table_and_writes_the_report(first: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = first
    assert done.returncode == 0, done.stderr
    assert all(
        word in done.stdout
        for word in ("forget accuracy", "unlearning degree", "speed-up", "report.json", "report.html")
    )
    content = report(folder / "one")
    assert content["metrics"]["original/forgetting_rate"] == 0
    assert {part["status"] for part in content["artifacts"].values()} == {"built"}
    assert (folder / "one" / "curves" / "original.csv").read_text().startswith("epoch,lr,loss")


def test_events_tell_programs_what_the_console_tells_people(
    first: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = first
    assert done.stderr.startswith(f"unlearn {__version__}: checking the settings\n")
    begin, *stages, end = map(json.loads, (folder / "one" / "events.jsonl").read_text().splitlines())
    assert (begin["event"], begin["choices"]["strategy"], begin["cell"]) == ("run_begun", "random_k", None)
    assert all(set(event) == {"time", "event", *EVENTS[event["event"]]} for event in (begin, *stages, end))
    built = [event["stage"] for event in stages if event["event"] == "stage_built"]
    assert built == [line.split("  ")[1] for line in done.stderr.splitlines() if " built " in line]
    (last,) = [e for e in stages if e["event"] == "stage_progress" and e["stage"].startswith("train original")][-1:]
    assert (last["done"], last["total"], last["unit"], list(last["values"])) == (2, 2, "epoch", ["loss", "lr"])
    content = report(folder / "one")
    assert end["verdict"] == {name: content["verdict"][name]["finding"] for name in ("forgotten", "utility")}
    assert Path(end["report"]).samefile(folder / "one" / "report.json")
    assert not (folder / "two" / "events.jsonl").exists()


def test_same_command_again_builds_nothing_and_loads_little(
    first: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = first
    again = fresh(*TOY, "paths.output=two", cwd=folder)
    assert again.returncode == 0, again.stderr
    assert "LOADED []" in again.stderr
    one, two = report(folder / "one"), report(folder / "two")
    assert {part["status"] for part in two["artifacts"].values()} == {"reused"}
    assert two["metrics"] == one["metrics"]
    pictures = [(folder / name / "report.html").read_text().count("data:image/png") for name in ("one", "two")]
    assert pictures == [36, 36]  # a cached run shows them without reading the data
    assert (folder / "two" / "pictures.json").is_file()  # for the page of a sweep


@pytest.mark.slow
def test_page_can_be_left_out_or_left_without_pictures(first: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = first
    assert "report.html" not in unlearn(*TOY, "report.html=false", "paths.output=no_page", cwd=folder).stdout
    assert not (folder / "no_page" / "report.html").exists()
    unlearn(*TOY, "report.images=false", "paths.output=no_pictures", cwd=folder)
    page = (folder / "no_pictures" / "report.html").read_text()
    assert "data:image/png" not in page
    assert "switched off" in page
    assert not (folder / "no_pictures" / "pictures.json").exists()


def test_an_audit_record_is_written_on_request(first: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = first
    assert not (folder / "one" / "audit.json").exists()
    done = unlearn(*TOY, "report.audit=true", "paths.output=audited", cwd=folder)
    names = [Path(line).name for line in done.stdout.splitlines()[-5:]]
    assert names == ["audit.json", "audit.key", "report.json", "report.html", "unlearned.safetensors"]
    assert (folder / "audited" / "audit.key").stat().st_mode & 0o777 == 0o600
    checked = run_command("unlearn.cli.audit", "verify", "audited/audit.json", cwd=folder)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "0 differ, 2 could not be checked" in checked.stdout  # the store is the one that the record names


@pytest.mark.slow
def test_fresh_store_gives_the_same_numbers(first: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = first
    unlearn(*TOY, "paths.output=three", "paths.store=fresh", cwd=folder)
    one, three = report(folder / "one")["metrics"], report(folder / "three")["metrics"]
    timed = {key for key in one if key.endswith(("/seconds", "/speedup"))}
    assert {k: v for k, v in three.items() if k not in timed} == {k: v for k, v in one.items() if k not in timed}


def test_a_grid_shares_stages_and_continues_after_a_failed_cell(
    first: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = first
    shutil.copytree(folder / "one", folder / "grid" / "9")  # a cell of an earlier sweep
    grid = ["-m", *TOY, "strategy=random_k,top_k", "strategy.recipe.lr=0.05,1e30", "paths.output=grid"]
    done = unlearn(*grid, cwd=folder)
    assert done.returncode == 1
    assert "learning rate 1e+30" in done.stderr
    assert "Traceback" not in done.stderr
    listed = done.stderr[done.stderr.index("2 of 4 cells failed") :]
    assert "cell 1 (strategy=random_k strategy.recipe.lr=1e+30): unlearned: the loss was" in listed
    assert "cell 3 (strategy=top_k strategy.recipe.lr=1e+30): unlearned: the loss was" in listed
    again = " ".join([*TOY, "strategy=random_k,top_k", "strategy.recipe.lr=1e+30", "paths.output=grid/again-1"])
    assert f"  unlearn -m {again}\n" in listed
    notes = [json.loads((folder / "grid" / number / "cell.json").read_text()) for number in "0123"]
    assert [note["state"] for note in notes] == ["done", "failed", "done", "failed"]
    reports = [report(folder / "grid" / number) for number in ("0", "2")]
    assert not (folder / "grid" / "1" / "report.json").exists()
    rows = list(csv.DictReader((folder / "grid" / "sweep.csv").read_text().splitlines()))
    assert sorted(row["report"] for row in rows) == ["0/report.json", "2/report.json"]
    assert {cell["artifacts"]["original"]["status"] for cell in reports} == {"reused"}
    assert reports[0]["artifacts"]["unlearned"]["key"] != reports[1]["artifacts"]["unlearned"]["key"]


@pytest.mark.slow
def test_a_grid_over_blends_shares_the_unlearned_model_and_has_one_table(
    first: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = first
    learnt = ["dataset.limit=400", "train.epochs=5", "train.batch_size=16", "spd_gan=off"]
    learnt += ["strategy=weight_noise", "strategy.noise_scale=2.0", "strategy.js_weight=0.0"]
    done = unlearn("-m", *learnt, "blend=none,mix", "paths.output=blends", cwd=folder)
    assert done.returncode == 0, done.stderr
    plain, mixed = (report(folder / "blends" / number) for number in "01")
    assert plain["artifacts"]["unlearned"]["key"] == mixed["artifacts"]["unlearned"]["key"]
    assert [cell["artifacts"].get("blended", {}).get("status") for cell in (plain, mixed)] == [None, "built"]
    assert mixed["artifacts"]["unlearned"]["status"] == "reused"
    assert 0 < mixed["blend"]["a"] <= 1
    assert mixed["metrics"]["unlearned/retain_accuracy"] > plain["metrics"]["unlearned/retain_accuracy"] + 0.2
    assert "of the original: validation accuracy" in (folder / "blends" / "1" / "report.html").read_text()
    rows = list(csv.DictReader((folder / "blends" / "sweep.csv").read_text().splitlines()))
    assert sorted(row["config.blend"] for row in rows) == ["mix", "none"]
    assert {row["scenario"] for row in rows} == {rows[0]["scenario"]}
    assert "weight_noise blend=mix" in done.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["help", "strategy=top_k"], ["strategy=topk"]])
def test_help_and_refusal_load_little(arguments: list[str], tmp_path: Path) -> None:
    done = fresh(*arguments, cwd=tmp_path)
    assert done.returncode == (2 if arguments == ["strategy=topk"] else 0)
    assert "top_k" in done.stdout + done.stderr
    assert "LOADED []" in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_printed_config_names_the_chosen_options(tmp_path: Path) -> None:
    first, second, *_ = unlearn("--cfg", "job", "strategy=top_k", cwd=tmp_path).stdout.splitlines()
    assert first.startswith("# ")
    assert {"strategy=top_k", "strategy/selection=top_k", "dataset=digits"} <= set(first[2:].split(", "))
    assert second == "dataset:"
    assert unlearn("--cfg", "job", "-p", "strategy.k", cwd=tmp_path).stdout == "0.1\n"


def test_the_flag_for_a_grid_may_stand_anywhere() -> None:
    assert move_flags_first(["seed=1", "-m", "train.epochs=2"]) == ["-m", "seed=1", "train.epochs=2"]


def test_missing_data_is_reported_in_one_line(tmp_path: Path) -> None:
    done = unlearn("dataset=mnist", "dataset.root=nowhere", cwd=tmp_path)
    *progress, line = done.stderr.splitlines()
    assert progress == [f"unlearn {__version__}: checking the settings", "  reading 70,000 images"]
    assert done.returncode == 1
    assert all(word in line for word in ("dataset.root", "MNIST", "nowhere", "dataset.download=true"))


def killed(signum: int, *arguments: str, cwd: Path) -> int:
    """Send a signal to a run while it builds a slow stage; returns the exit status."""
    command = [sys.executable, "-m", "unlearn", *arguments]
    running = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    building = cwd / "artifacts" / "building"
    deadline, seen = time.monotonic() + 120, None
    while time.monotonic() < deadline:
        now = set(building.iterdir()) if building.is_dir() else set()
        if now and now == seen:
            break
        seen = now
        time.sleep(0.5)
    os.kill(running.pid, signum)
    return running.wait(timeout=60)


@pytest.mark.slow
def test_the_same_command_finishes_a_killed_run(tmp_path: Path) -> None:
    building = tmp_path / "artifacts" / "building"
    long = ["train.epochs=100000", *(word for word in TOY if "train." not in word)]
    assert killed(signal.SIGTERM, *long, "paths.output=out", cwd=tmp_path) == 128 + signal.SIGTERM
    assert not list(building.iterdir())
    assert killed(signal.SIGINT, *long, "paths.output=out", cwd=tmp_path) == 128 + signal.SIGINT
    assert killed(signal.SIGKILL, *long, "paths.output=out", cwd=tmp_path) == -signal.SIGKILL
    assert list(building.iterdir())  # what a killed process leaves is no artifact
    assert not (tmp_path / "out" / "report.json").exists()
    done = unlearn(*TOY, "paths.output=out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert report(tmp_path / "out")["metrics"]


@pytest.mark.slow
def test_predictions_that_are_not_finite_are_reported_and_not_stored(
    first: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = first
    done = unlearn(*TOY[:-1], "strategy.recipe.epochs=0", "strategy.mode=add", "strategy.noise_scale=3e38", cwd=folder)
    assert done.returncode == 1
    assert "unlearn: predict unlearned on" in done.stderr
    assert "Traceback" not in done.stderr


def test_another_primary_config_is_refused(tmp_path: Path) -> None:
    done = unlearn("--config-name=mine", cwd=tmp_path)
    assert done.returncode == 2
    assert "--config-name: expected --config-dir=DIR with +experiment=NAME" in done.stderr


@pytest.mark.parametrize("grid", [[], ["-m", "seed=0,1"]])
def test_an_output_folder_that_cannot_be_made_is_reported_in_one_line(grid: list[str], tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    done = unlearn(*grid, *TOY, "paths.output=taken/out", cwd=tmp_path)
    _, *lines = done.stderr.splitlines()
    assert done.returncode == 2
    assert lines[0] == "unlearn: 1 problem, nothing was computed"
    assert lines[1].startswith("  paths.output: expected a folder that can be made and written, got 'taken/out: ")


def test_a_user_supplied_function_that_ends_the_process_is_reported(tmp_path: Path) -> None:
    (tmp_path / "quits.py").write_text("import sys\ndef net(shape, classes): sys.exit(3)\n")
    done = unlearn("model=python", "model.factory=quits:net", cwd=tmp_path)
    assert done.returncode == 2
    assert "a user-supplied function ended the process with exit status 3" in done.stderr
