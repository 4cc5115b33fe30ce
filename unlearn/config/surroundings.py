"""What a run needs of this machine, asked before it starts: folders that can be written, devices, memory, SLURM."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from math import prod
from pathlib import Path

from unlearn.config.clusters import Joblib, Local, Slurm
from unlearn.core.errors import ConfigError, Problem
from unlearn.pipeline.config import RunConfig, empty_net
from unlearn.pipeline.plan import plan

FLOAT = 4  # bytes
PROCESSES = 8  # that any machine may try


def check_surroundings(configs: Iterable[RunConfig]) -> None:
    """Refuse runs that this machine cannot hold or write.

    Raises:
        ConfigError: with every problem of every run, each once.
    """
    found = dict.fromkeys(str(problem) for config in configs for problem in _problems(config))
    if found:
        raise ConfigError(found)


def _problems(config: RunConfig) -> Iterator[Problem]:
    yield from _unwritable("paths.output", config.paths.output)
    if any(_unwritable("paths.store", config.paths.store)) and _builds(config):
        yield from _unwritable("paths.store", config.paths.store)
    absent = [name for name in ("sbatch", "srun") if not shutil.which(name)]
    if isinstance(config.cluster, Slurm) and absent:
        yield Problem("cluster", f"a machine of SLURM's, with {' and '.join(absent)} on its PATH", "slurm")
    if isinstance(config.cluster, Local | Joblib):  # elsewhere the machines that compute are others
        yield from _processes(config)
        yield from _memory(config)


def _unwritable(key: str, place: str) -> Iterator[Problem]:
    """Why a folder cannot be made, or written into."""
    expected = "a folder that can be made and written"
    try:
        there = _first_there(Path(place).absolute())
        if not there.is_dir():
            yield Problem(key, expected, f"{place}: {there} is a file")
            return
        with tempfile.TemporaryDirectory(prefix=".unlearn-", dir=there):
            pass
    except OSError as error:
        yield Problem(key, expected, f"{place}: {error.strerror}")


def _first_there(path: Path) -> Path:
    """The path, or the first folder above it that exists.

    Raises:
        OSError: a name is too long, a link leads to itself, a folder may not be looked into.
    """
    for folder in (path, *path.parents):
        try:
            folder.stat()
        except FileNotFoundError:
            if folder.is_symlink():
                raise  # a link that leads nowhere: no folder can be made in its place
            continue
        except NotADirectoryError:
            continue  # below a file, which comes next
        return folder
    return path


def _builds(config: RunConfig) -> bool:
    """Whether anything that the run needs is not in the store."""
    todo = plan(config)
    stages = (*todo.shared, *todo.unlearning)
    return not all(os.path.isdir(Path(config.paths.store, each.kind, each.key)) for each in stages)  # noqa: PTH112


def _processes(config: RunConfig) -> Iterator[Problem]:
    """More processes on the cores of this machine than can be started."""
    cores = max(PROCESSES, os.cpu_count() or 1)
    if config.trainer.device == "cpu" and config.trainer.devices > cores:
        yield Problem(
            "trainer.devices", f"at most {cores} processes on the cores of this machine", config.trainer.devices
        )


def _memory(config: RunConfig) -> Iterator[Problem]:
    """A net, or an image, that is larger than all memory."""
    limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 1 << 40
    net = sum(p.numel() for p in empty_net(config).parameters()) * FLOAT
    if net > limit:
        yield Problem("model", f"a net that fits into this machine's {limit / 1e9:.0f} GB", f"{net / 1e9:,.0f} GB")
    image = prod(config.dataset.shape) * FLOAT
    if image > limit:
        expected = f"images that fit into this machine's {limit / 1e9:.0f} GB"
        yield Problem("dataset", expected, f"{image / 1e9:,.0f} GB each")
