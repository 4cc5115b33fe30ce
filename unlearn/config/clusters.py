"""Where the cells of a sweep run; no result depends on it."""

from __future__ import annotations

import re
from abc import ABC
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import torch

from unlearn.core.errors import Problem
from unlearn.core.plugins import options
from unlearn.core.validation import at_least, checked

GPU_ARGUMENT = re.compile(r"gpu|^gres=|^tres")  # of sbatch: gres, gpus, gpus-per-task, ...


@dataclass(frozen=True)
class Cluster(ABC):
    """Settings of a launcher, which `conf/cluster/` hands on to Hydra's."""

    plugin: ClassVar[str] = "hydra"  # the package that brings the launcher
    extra: ClassVar[str] = ""  # of ours, that brings the package
    shares_terminal: ClassVar[bool] = False  # cells run one after another where the user looks on
    runs_here: ClassVar[bool] = False  # cells run on this machine
    spreads: ClassVar[bool] = False  # its processes share out the GPUs of this machine

    def check(self, accelerator: str, devices: int, output: str) -> Iterator[Problem]:
        """What does not fit `trainer.accelerator`, `trainer.devices` or `paths.output`."""
        yield from ()


@dataclass(frozen=True)
class Local(Cluster):
    """One cell after another, in this process."""

    shares_terminal: ClassVar[bool] = True
    runs_here: ClassVar[bool] = True


@dataclass(frozen=True)
class Joblib(Cluster):
    """Cells in processes of this machine."""

    plugin: ClassVar[str] = "hydra_plugins.hydra_joblib_launcher"
    extra: ClassVar[str] = "joblib"
    runs_here: ClassVar[bool] = True
    spreads: ClassVar[bool] = True

    # -1: one per core, on CUDA devices one per device; more than these share them
    n_jobs: int = checked(-1, "a number of processes >= 1, or -1 for one per core", lambda v: v >= 1 or v == -1)

    def check(self, accelerator: str, devices: int, output: str) -> Iterator[Problem]:
        if devices > 1:  # nor can joblib's processes spawn others
            yield Problem("trainer.devices", "1 with cluster=joblib, whose processes share this machine", devices)


@dataclass(frozen=True)
class Slurm(Cluster):
    """A SLURM job per cell, requeued when preempted or out of time; then it goes on from the store."""

    plugin: ClassVar[str] = "hydra_plugins.hydra_submitit_launcher"
    extra: ClassVar[str] = "slurm"

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gpus: int | None = at_least(1, None)  # of each cell; they are used with trainer=gpu
    cpus: int = at_least(1, 1)  # of each cell; trainer.threads=${cluster.cpus} computes with all of them
    memory: int | None = at_least(1, None)  # of each cell, in GiB; null: the partition's default
    time: int = at_least(1, 60)  # minutes until a job is requeued; more than the longest epoch
    warning: int = at_least(1, 60)  # seconds before the end of `time` at which the job is told
    requeues: int = at_least(0, 100)  # how often a job may run out of time; preemption is not counted
    parallel: int = at_least(1, 256)  # cells at the same time
    arguments: dict[str, Any] = field(default_factory=dict)  # more of sbatch's: cluster.arguments.mail-type=END

    def check(self, accelerator: str, devices: int, output: str) -> Iterator[Problem]:
        yield from _idle(self.gpus, accelerator)
        if not any(GPU_ARGUMENT.search(f"{name}={value}") for name, value in self.arguments.items()):
            yield from _mismatch(self.gpus, accelerator, devices)


@dataclass(frozen=True)
class Ray(Cluster):
    """Cells as tasks of a Ray cluster: this machine's, or the one at `address`."""

    plugin: ClassVar[str] = "hydra_plugins.hydra_ray_launcher"
    extra: ClassVar[str] = "ray"

    address: str = "local"  # one of its own on this machine; `auto`, `HOST:PORT`: one that is there
    cpus: int = at_least(1, 1)  # of each cell; trainer.threads=${cluster.cpus} computes with all of them
    gpus: float = at_least(0, 0)  # of each cell; a share lets cells share one

    def check(self, accelerator: str, devices: int, output: str) -> Iterator[Problem]:
        yield from _idle(self.gpus, accelerator)
        yield from _mismatch(self.gpus, accelerator, devices)
        if self.address != "local" and not Path(output).is_absolute():
            expected = "an absolute path with cluster.address: the cluster's processes stand in folders of their own"
            yield Problem("paths.output", expected, output)


def _idle(gpus: float | None, accelerator: str) -> Iterator[Problem]:
    if gpus and accelerator == "cpu":
        yield Problem("trainer.accelerator", f"gpu with cluster.gpus={gpus:g}, which would idle otherwise", accelerator)


def _mismatch(gpus: float | None, accelerator: str, devices: int) -> Iterator[Problem]:
    """Cells that would find no GPU, or other than as many as they train on; a fraction of one is one."""
    if accelerator == "gpu" and not gpus:
        yield Problem("cluster.gpus", f"{devices} with trainer.accelerator=gpu, or trainer=cpu", gpus)
    elif accelerator != "cpu" and gpus and max(1, gpus) != devices:
        yield Problem("cluster.gpus", f"{devices}, as many as trainer.devices", gpus)


def processes(n_jobs: int, accelerator: str) -> int:
    """`${processes:${cluster.n_jobs},${trainer.accelerator}}`: -1 as one process for each CUDA device, if there are any
    and they are used."""
    if n_jobs != -1 or accelerator == "cpu":
        return n_jobs
    return torch.cuda.device_count() or n_jobs


def check_installed(name: str) -> Iterator[str]:
    """What is wrong with choosing the option `name`: its launcher may not be there."""
    kind = options(__name__, Cluster).get(name, Local)  # a user's own option is his own affair
    if issubclass(kind, Cluster) and not _there(kind.plugin):
        yield lacking("cluster", kind.extra, f"cluster={name}")


def lacking(key: str, extra: str, got: str) -> str:
    """An option that an extra of ours brings, without that extra."""
    return f"{key}: expected the extra {extra}: pip install 'unlearn-runner[{extra}]', got {got} without it"


def _there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # there is not even `hydra_plugins`
        return False
