"""Launchers get their settings, bad settings are refused, and numbers do not depend on where a cell runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from hydra import compose, initialize_config_dir

from unlearn import config
from unlearn.cli import gpus
from unlearn.config import CommandLine, clusters, preflight
from unlearn.core.errors import ConfigError

TOY = ["dataset.limit=400", "spd_gan=off", "metrics=spd_gan_off", "strategy.recipe.epochs=1", "trainer.threads=1"]
GRID = ["-m", *TOY, "train.epochs=2", "strategy.recipe.lr=1e30,0.05,0.01"]  # the first cell fails
MAIN = "from unlearn.cli.run import main; main()"
WITHOUT_EXTRAS = f"import sys; sys.modules['hydra_plugins'] = None; {MAIN}"  # as in a plain installation


def has_slurm() -> bool:
    """Whether a SLURM answers here."""
    return (
        shutil.which("sinfo") is not None
        and subprocess.run(["sinfo"], capture_output=True, check=False).returncode == 0
    )


needs_slurm = pytest.mark.skipif(not has_slurm(), reason="sinfo finds no SLURM (is SLURM_CONF set?)")
slurm = [pytest.mark.slurm, pytest.mark.slow, needs_slurm]


def start(*arguments: str, cwd: Path, code: str = MAIN) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *arguments]
    environment = os.environ | {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}  # else Ray warns of what it will change
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=cwd, env=environment, stdout=pipe, stderr=pipe, text=True)


def unlearn(*arguments: str, cwd: Path, **more: str) -> tuple[int, str]:
    """Run the command; returns exit status and output."""
    running = start(*arguments, cwd=cwd, **more)
    output = "".join(running.communicate(timeout=300))
    return running.returncode, output


def results(report: Path) -> dict[str, float]:
    """Read the metrics of a report, without times."""
    metrics: dict[str, float] = json.loads(report.read_text())["metrics"]
    return {key: value for key, value in metrics.items() if not key.endswith(("/seconds", "/speedup"))}


def launcher(*overrides: str) -> Any:
    """Return the settings of Hydra's launcher."""
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        composed = compose("config", list(overrides), return_hydra_config=True)
    assert composed.hydra.mode.name == "MULTIRUN"  # never in the shell that submits
    return composed.hydra.launcher


def refusal(*overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        preflight(CommandLine(list(overrides), False, None))
    return caught.value.problems


def test_plain_config_reaches_slurm() -> None:
    words = {"partition": "a", "account": "b", "qos": "c", "constraint": "d", "gpus": 2, "cpus": 3, "memory": 4}
    words |= {"time": 5, "warning": 6, "requeues": 7, "parallel": 8, "arguments.mail-type": "END"}
    settings = launcher("cluster=slurm", *(f"cluster.{key}={value}" for key, value in words.items()))
    keys = ("partition", "account", "qos", "constraint", "gpus_per_node", "cpus_per_task", "mem_gb", "timeout_min")
    assert [settings[key] for key in keys] == ["a", "b", "c", "d", 2, 3, 4, 5]
    assert [settings[key] for key in ("signal_delay_s", "max_num_timeout", "array_parallelism")] == [6, 7, 8]
    assert settings["additional_parameters"] == {"mail-type": "END"}
    assert settings["setup"] == ["export OMP_NUM_THREADS=3"]


def test_plain_config_reaches_joblib_and_ray() -> None:
    assert launcher("cluster=joblib", "cluster.n_jobs=3")["n_jobs"] == 3
    settings = launcher("cluster=ray", "cluster.address=auto", "cluster.cpus=2", "cluster.gpus=0.5")["ray"]
    assert settings["init"]["address"] == "auto"
    assert settings["remote"] == {"num_cpus": 2, "num_gpus": 0.5}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["cluster=joblib", "cluster.n_jobs=0"], "cluster.n_jobs: expected a number of processes >= 1, or -1"),
        (["cluster=joblib", "trainer=ddp"], "trainer.devices: expected 1 with cluster=joblib"),
        (["cluster=slurm", "cluster.time=0"], "cluster.time: expected a number >= 1, got 0"),
        (["cluster=slurm", "cluster.gpus=1"], "trainer.accelerator: expected gpu with cluster.gpus=1"),
        (["cluster=slurm", "trainer=gpu"], "cluster.gpus: expected 1 with trainer.accelerator=gpu, or trainer=cpu"),
        (["cluster=slurm", "trainer=gpu", "cluster.gpus=2"], "cluster.gpus: expected 1, as many as trainer.devices"),
        (
            ["cluster=slurm", "trainer=gpu", "trainer.devices=2", "cluster.gpus=1"],
            "cluster.gpus: expected 2, as many as trainer.devices",
        ),
        (
            ["cluster=slurm", "trainer.accelerator=auto", "cluster.gpus=2"],
            "cluster.gpus: expected 1, as many as trainer.devices",
        ),
        (["cluster=ray", "trainer=gpu"], "cluster.gpus: expected 1 with trainer.accelerator=gpu"),
        (["cluster=ray", "trainer=gpu", "cluster.gpus=1.5"], "cluster.gpus: expected 1, as many as trainer.devices"),
        (["cluster=ray", "cluster.address=auto"], "paths.output: expected an absolute path with cluster.address"),
        (["cluster=slum"], "cluster: expected one of joblib, local, ray, slurm (nearest: slurm), got 'slum'"),
    ],
)
def test_bad_settings_are_refused(overrides: list[str], message: str) -> None:
    (problem,) = refusal(*overrides)
    assert problem.startswith(message)


@pytest.mark.parametrize(
    "words",
    [
        "cluster=slurm trainer=gpu trainer.devices=2 cluster.gpus=2",
        "cluster=slurm trainer=gpu +cluster.arguments.gres=gpu:1",
        "cluster=slurm trainer=gpu +cluster.arguments.gpus-per-task=1",
        "cluster=slurm trainer.accelerator=auto",
        "cluster=ray trainer=gpu cluster.gpus=0.25",
    ],
)
def test_a_cell_requests_as_many_gpus_as_it_uses(words: str) -> None:
    preflight(CommandLine(words.split(), False, None))


@pytest.mark.parametrize(("words", "expected"), [("trainer=gpu", 4), ("trainer=gpu cluster.n_jobs=8", 8), ("", -1)])
def test_this_machine_runs_a_cell_on_each_gpu(words: str, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert launcher("cluster=joblib", *words.split())["n_jobs"] == expected


def test_each_process_on_this_machine_claims_its_own_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A GPU is free again when its process has ended; a third process shares one. Here lists stand for processes."""
    monkeypatch.setenv("UNLEARN_GPUS", "2,GPU-a/5")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-a/5")
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    processes: list[list[FileLock]] = [[] for _ in range(4)]

    def taken(process: list[FileLock]) -> str:
        monkeypatch.setattr(gpus, "_held", process)
        for _ in range(2):  # the second cell of a process finds CUDA started
            gpus.claim_gpu()
        return os.environ["CUDA_VISIBLE_DEVICES"]

    assert [taken(process) for process in processes[:3]] == ["2", "GPU-a/5", "2"]
    processes[1][0].release()
    assert taken(processes[3]) == "GPU-a/5"
    assert [len(process) for process in processes] == [1, 1, 1, 1]


@pytest.mark.parametrize(("visible", "expected"), [("", "0,1,2"), ("4,7", "4,7")])
def test_gpus_are_offered_if_processes_divide_them(
    visible: str, expected: str, composed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setenv("UNLEARN_GPUS", "of another sweep")
    gpus.offer_gpus([config.instantiate(composed("cluster=joblib", "trainer=gpu"))])
    assert os.environ["UNLEARN_GPUS"] == expected
    for words in (("cluster=joblib",), ("cluster=local", "trainer=gpu")):
        gpus.offer_gpus([config.instantiate(composed(*words))])
        assert "UNLEARN_GPUS" not in os.environ


@pytest.mark.slow
def test_a_cell_in_another_process_first_prints_its_device(tmp_path: Path) -> None:
    words = ["cluster=joblib", "cluster.n_jobs=1", "trainer.accelerator=auto", "until=baseline", "train.epochs=1"]
    _, output = unlearn(*words, "dataset.limit=300", "spd_gan=off", cwd=tmp_path)
    lines = [line for line in output.splitlines() if line.startswith("  ")]
    assert lines[0].startswith("  runs on ")


@pytest.mark.parametrize("name", ["joblib", "slurm", "ray"])
def test_every_launcher_has_an_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(clusters.check_installed(name)) == []
    monkeypatch.setattr(clusters, "find_spec", lambda package: None)
    (problem,) = clusters.check_installed(name)
    assert f"pip install 'unlearn-runner[{name}]'" in problem


@pytest.mark.slow
def test_a_missing_launcher_is_reported_in_one_line(tmp_path: Path) -> None:
    status, output = unlearn("-m", "cluster=joblib", "seed=0,1", cwd=tmp_path, code=WITHOUT_EXTRAS)
    expected = "cluster: expected the extra joblib: pip install 'unlearn-runner[joblib]', got cluster=joblib without it"
    assert status == 2
    assert output.splitlines()[-1] == f"  cell 0 (cluster=joblib seed=0): {expected}"
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_missing_sampler_is_reported_in_one_line(tmp_path: Path) -> None:
    status, output = unlearn("+sweep=search", cwd=tmp_path, code=WITHOUT_EXTRAS)
    expected = "hydra/sweeper: expected the extra optuna: pip install 'unlearn-runner[optuna]', got optuna without it"
    assert status == 2
    assert output.splitlines()[-1] == f"  {expected}"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the grid in one process."""
    folder = tmp_path_factory.mktemp("local")
    status, output = unlearn(*GRID, "paths.output=out", cwd=folder)
    assert status == 1, output
    return folder / "out"


@pytest.mark.parametrize(
    "cluster",
    [
        pytest.param("cluster=joblib cluster.n_jobs=2", marks=pytest.mark.slow),
        pytest.param("cluster=ray", marks=pytest.mark.slow),
        pytest.param("cluster=slurm cluster.time=10", marks=slurm),
    ],
)
def test_cells_in_other_processes_give_the_same_numbers(cluster: str, local: Path, tmp_path: Path) -> None:
    status, output = unlearn(*GRID, *cluster.split(), "paths.output=out", cwd=tmp_path)
    assert status == 1
    assert "1 of 3 cells failed" in output
    assert "learning rate 1e+30" in output
    assert "Traceback" not in output
    for number in "12":
        report = tmp_path / "out" / number / "report.json"
        assert results(report) == results(local / number / "report.json")
        assert json.loads(report.read_text())["command"].startswith("unlearn -m dataset.limit=400 ")
    assert len(list((tmp_path / "artifacts" / "train").iterdir())) == 2  # an original and a retrained model, once each


def wait_for(text: str, *command: str) -> None:
    """Wait until the output of a command contains a text."""
    deadline = time.monotonic() + 120
    while text not in (stdout := subprocess.run(command, capture_output=True, text=True, check=False).stdout):
        assert time.monotonic() < deadline, f"no {text} in {stdout[:500]}"
        time.sleep(0.1)


def first_job(sweep: Path) -> str:
    """Return the first job of a sweep."""
    return min(path.parent.name for path in sweep.glob(".submitit/*/*_submitted.pkl"))


def warn(job: str) -> None:
    """Send the signal that SLURM sends before a time-out."""
    subprocess.run(["scancel", "--signal=USR2", job], check=True)


def processes(job: str) -> list[int]:
    """Return the processes of a job that runs on this node."""
    number = subprocess.check_output(["squeue", "--noheader", "--format=%A", f"--jobs={job}"], text=True).strip()
    table = subprocess.check_output(["scontrol", "listpids", number], text=True)  # does not know the parts of an array
    return [int(line.split()[0]) for line in table.splitlines()[1:]]


def kill(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def take_away(job: str) -> None:
    """Requeue a job as an administrator does, without the half minute that SLURM waits before it kills processes."""
    pids = processes(job)
    subprocess.run(["scontrol", "requeue", job], check=True)
    kill(pids)


@pytest.mark.parametrize("interrupt", [pytest.param(how, marks=slurm) for how in (warn, take_away)])
def test_a_job_requeued_during_training_resumes(interrupt: Callable[[str], None], tmp_path: Path) -> None:
    work = [*TOY, "train.epochs=100", "trainer.checkpoint_every=0"]
    running = start(*work, "cluster=slurm", "paths.output=out", cwd=tmp_path)
    wait_for("last.ckpt", "find", str(tmp_path))
    job = first_job(tmp_path / "out")
    interrupt(job)
    wait_for(job, "squeue", "--noheader", "--state=PENDING", f"--jobs={job}")
    subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=True)  # SLURM waits two minutes
    output = "".join(running.communicate(timeout=300))
    assert running.returncode == 0, output
    metas = [json.loads(path.read_text()) for path in tmp_path.glob("artifacts/train/*/meta.json")]
    assert [meta["resumed_from_epoch"] > 0 for meta in metas if "resumed_from_epoch" in meta] == [True]
    assert unlearn(*work, "paths.output=whole", "paths.store=other", cwd=tmp_path)[0] == 0
    assert results(tmp_path / "out" / "0" / "report.json") == results(tmp_path / "whole" / "report.json")


@pytest.mark.slurm
@pytest.mark.slow
@needs_slurm
def test_a_sweep_waits_for_other_jobs_after_one_is_killed(tmp_path: Path) -> None:
    """As when it is out of memory, with or without accounting, which reports it to submitit."""
    work = [*TOY, "train.epochs=60", "trainer.checkpoint_every=0", "paths.output=out"]
    running = start("-m", *work, "cluster=slurm", "cluster.parallel=1", "seed=0,1", cwd=tmp_path)
    wait_for("last.ckpt", "find", str(tmp_path))
    job = first_job(tmp_path / "out")
    kill(processes(job))
    output = "".join(running.communicate(timeout=300))
    assert running.returncode == 1
    assert f"job {job} ended without a result" in output
    assert "1 of 2 cells failed" in output
    assert "Traceback" not in output
    assert (tmp_path / "out" / "1" / "report.json").exists()
