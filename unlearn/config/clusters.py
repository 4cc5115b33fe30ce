"""The options of the group `cluster`: where the cells of a sweep run. No result depends on it."""

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
from unlearn.core.plugins import find_options
from unlearn.core.validation import at_least, checked

GPU_ARGUMENT = re.compile(r"gpu|^gres=|^tres")  # arguments of sbatch: gres, gpus, gpus-per-task, ...


@dataclass(frozen=True)
class Cluster(ABC):
    """Settings of a launcher; `conf/cluster/` passes them on to Hydra's launcher."""

    plugin: ClassVar[str] = "hydra"  # the package that contains the launcher
    extra: ClassVar[str] = ""  # the extra of `unlearn` that installs this package
    shares_terminal: ClassVar[bool] = False  # cells run one after another in the user's terminal
    runs_here: ClassVar[bool] = False  # cells run on this machine
    divides_gpus: ClassVar[bool] = False  # its processes divide the GPUs of this machine among themselves

    def check(self, accelerator: str, devices: int, output: str) -> Iterator[Problem]:
        """Yield the settings that do not fit the trainer or the output folder.

        Args:
            accelerator: `trainer.accelerator`.
            devices: `trainer.devices`.
            output: `paths.output`.
        """
        yield from ()


@dataclass(frozen=True)
class Local(Cluster):
    """Runs one cell after another in this process."""

    shares_terminal: ClassVar[bool] = True
    runs_here: ClassVar[bool] = True


@dataclass(frozen=True)
class Joblib(Cluster):
    """Runs cells in several processes on this machine."""

    plugin: ClassVar[str] = "hydra_plugins.hydra_joblib_launcher"
    extra: ClassVar[str] = "joblib"
    runs_here: ClassVar[bool] = True
    divides_gpus: ClassVar[bool] = True

    # -1: one process per core; with CUDA, one per device. If there are more processes than devices, they share devices.
    n_jobs: int = checked(-1, "a number of processes >= 1, or -1 for one per core", lambda v: v >= 1 or v == -1)

    def check(self, accelerator: str, devices: int, output: str) -> Iterator[Problem]:
        if devices > 1:  # joblib's processes cannot start processes of their own
            yield Problem("trainer.devices", "1 with cluster=joblib, whose processes share this machine", devices)


@dataclass(frozen=True)
class Slurm(Cluster):
    """Runs each cell as a SLURM job. A job that is preempted or out of time is requeued, and resumes from the store."""

    plugin: ClassVar[str] = "hydra_plugins.hydra_submitit_launcher"
    extra: ClassVar[str] = "slurm"

    partition: str | None = None  # null: the default partition
    account: str | None = None  # charged account; null: the user's default
    qos: str | None = None  # quality of service; null: the default
    constraint: str | None = None  # features that the nodes must have; null: any node
    gpus: int | None = at_least(1, None)  # per cell; used with trainer=gpu
    cpus: int = at_least(1, 1)  # per cell; trainer.threads=${cluster.cpus} makes torch use all of them
    memory: int | None = at_least(1, None)  # per cell, in GiB; null: the default of the partition
    time: int = at_least(1, 60)  # minutes until a job is requeued; set it longer than the longest epoch
    warning: int = at_least(1, 60)  # seconds before the end of `time` at which the job gets a signal
    requeues: int = at_least(0, 100)  # how often a job may run out of time; preemption is not counted
    parallel: int = at_least(1, 256)  # maximum number of cells at the same time
    arguments: dict[str, Any] = field(default_factory=dict)  # more arguments of sbatch: cluster.arguments.mail-type=END

    def check(self, accelerator: str, devices: int, output: str) -> Iterator[Problem]:
        yield from _check_gpus_used(self.gpus, accelerator)
        if not any(GPU_ARGUMENT.search(f"{name}={value}") for name, value in self.arguments.items()):
            yield from _check_gpu_count(self.gpus, accelerator, devices)


@dataclass(frozen=True)
class Ray(Cluster):
    """Runs cells as tasks of a Ray cluster: a new one on this machine, or the one at `address`."""

    plugin: ClassVar[str] = "hydra_plugins.hydra_ray_launcher"
    extra: ClassVar[str] = "ray"

    address: str = "local"  # `local` starts a new cluster on this machine; `auto` or `HOST:PORT` uses a running one
    cpus: int = at_least(1, 1)  # per cell; trainer.threads=${cluster.cpus} makes torch use all of them
    gpus: float = at_least(0, 0)  # per cell; with a fraction, several cells use one GPU

    def check(self, accelerator: str, devices: int, output: str) -> Iterator[Problem]:
        yield from _check_gpus_used(self.gpus, accelerator)
        yield from _check_gpu_count(self.gpus, accelerator, devices)
        if self.address != "local" and not Path(output).is_absolute():
            expected = "an absolute path with cluster.address: the cluster's processes run in folders of their own"
            yield Problem("paths.output", expected, output)


def _check_gpus_used(gpus: float | None, accelerator: str) -> Iterator[Problem]:
    if gpus and accelerator == "cpu":
        yield Problem("trainer.accelerator", f"gpu with cluster.gpus={gpus:g}, which would idle otherwise", accelerator)


def _check_gpu_count(gpus: float | None, accelerator: str, devices: int) -> Iterator[Problem]:
    """Yield a cell that gets no GPU or another number of GPUs than it trains on; a fraction counts as one GPU."""
    if accelerator == "gpu" and not gpus:
        yield Problem("cluster.gpus", f"{devices} with trainer.accelerator=gpu, or trainer=cpu", gpus)
    elif accelerator != "cpu" and gpus and max(1, gpus) != devices:
        yield Problem("cluster.gpus", f"{devices}, as many as trainer.devices", gpus)


def resolve_processes(n_jobs: int, accelerator: str) -> int:
    """Resolve `${processes:${cluster.n_jobs},${trainer.accelerator}}`.

    Returns:
        `n_jobs`, or the number of CUDA devices if `n_jobs` is -1 and the accelerator may use CUDA.
    """
    if n_jobs != -1 or accelerator == "cpu":
        return n_jobs
    return torch.cuda.device_count() or n_jobs


def check_installed(name: str) -> Iterator[str]:
    """Yield a problem if the launcher of the option `cluster=name` is not installed."""
    kind = find_options(__name__, Cluster).get(name, Local)  # options that a user defines are not checked
    if issubclass(kind, Cluster) and not _is_installed(kind.plugin):
        yield describe_missing_extra("cluster", kind.extra, f"cluster={name}")


def describe_missing_extra(key: str, extra: str, got: str) -> str:
    """Return the message for an option that needs an extra which is not installed."""
    return f"{key}: expected the extra {extra}: pip install 'unlearn-runner[{extra}]', got {got} without it"


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # the parent package `hydra_plugins` is missing as well
        return False
