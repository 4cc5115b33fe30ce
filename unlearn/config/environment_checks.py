"""Checks before a run what it needs from this machine: writable folders, cores, memory, SLURM."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from math import prod
from pathlib import Path

from unlearn.audit.ledger_file import check_ledger
from unlearn.config.clusters import Joblib, Local, Slurm
from unlearn.core.errors import ConfigError, Problem, UnlearnError, first_line
from unlearn.pipeline.config import RunConfig
from unlearn.pipeline.empty_net import build_empty_net
from unlearn.pipeline.plan import make_plan

FLOAT_BYTES = 4
MIN_PROCESSES = 8  # that any machine may try to run


def check_surroundings(configs: Iterable[RunConfig]) -> None:
    """Refuse runs for which this machine lacks memory, cores, write access or SLURM.

    Raises:
        ConfigError: With every problem of every run, each listed once.
    """
    problems = dict.fromkeys(str(problem) for config in configs for problem in _check_run(config))
    if problems:
        raise ConfigError(problems)


def _check_run(config: RunConfig) -> Iterator[Problem | str]:
    yield from _check_writable("paths.output", config.paths.output)
    # a run whose artifacts are all cached only reads the store
    if any(_check_writable("paths.store", config.paths.store)) and _has_work(config):
        yield from _check_writable("paths.store", config.paths.store)
    if config.report.ledger is not None:
        yield from _check_ledger(Path(config.report.ledger))
    missing = [name for name in ("sbatch", "srun") if not shutil.which(name)]
    if isinstance(config.cluster, Slurm) and missing:
        yield Problem("cluster", f"a machine of SLURM's, with {' and '.join(missing)} on its PATH", "slurm")
    if isinstance(config.cluster, Local | Joblib):  # other clusters compute on other machines
        yield from _check_processes(config)
        yield from _check_memory(config)


def _check_writable(key: str, path: str) -> Iterator[Problem]:
    """Yield the reason why a folder cannot be created or written."""
    expected = "a folder that can be made and written"
    try:
        existing = _first_existing(Path(path).absolute())
        if not existing.is_dir():
            yield Problem(key, expected, f"{path}: {existing} is a file")
            return
        with tempfile.TemporaryDirectory(prefix=".unlearn-", dir=existing):
            pass
    except OSError as error:
        yield Problem(key, expected, f"{path}: {error.strerror}")


def _check_ledger(ledger: Path) -> Iterator[Problem | str]:
    """Yield why a ledger cannot be continued: after the run it would be too late."""
    yield from _check_writable("report.ledger", str(ledger.parent))
    try:
        check_ledger(ledger)
    except UnlearnError as error:
        yield f"report.{first_line(error)}"  # which begins with `ledger: expected`


def _first_existing(path: Path) -> Path:
    """Return the path, or the first folder above it that exists.

    Raises:
        OSError: A name is too long, a link is broken or points to itself, or a folder cannot be searched.
    """
    for folder in (path, *path.parents):
        try:
            folder.stat()
        except FileNotFoundError:
            if folder.is_symlink():
                raise  # a broken link: no folder can be created in its place
            continue
        except NotADirectoryError:
            continue  # below a file, which the loop reaches next
        return folder
    return path


def _has_work(config: RunConfig) -> bool:
    """Whether an artifact that the run needs is not in the store."""
    run_plan = make_plan(config)
    stages = (*run_plan.shared_stages, *run_plan.unlearning_stages)
    return not all(os.path.isdir(Path(config.paths.store, stage.kind, stage.key)) for stage in stages)  # noqa: PTH112


def _check_processes(config: RunConfig) -> Iterator[Problem]:
    limit = max(MIN_PROCESSES, os.cpu_count() or 1)
    if config.trainer.device == "cpu" and config.trainer.devices > limit:
        expected = f"at most {limit} processes on the cores of this machine"
        yield Problem("trainer.devices", expected, config.trainer.devices)


def _check_memory(config: RunConfig) -> Iterator[Problem]:
    """Yield a net or an image that is larger than the memory of this machine."""
    limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 1 << 40
    net = sum(p.numel() for p in build_empty_net(config).parameters()) * FLOAT_BYTES
    if net > limit:
        yield Problem("model", f"a net that fits into this machine's {limit / 1e9:.0f} GB", f"{net / 1e9:,.0f} GB")
    image = prod(config.dataset.shape) * FLOAT_BYTES
    if image > limit:
        expected = f"images that fit into this machine's {limit / 1e9:.0f} GB"
        yield Problem("dataset", expected, f"{image / 1e9:,.0f} GB each")
