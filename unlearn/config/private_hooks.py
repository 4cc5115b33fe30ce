"""The only file that touches what Hydra, OmegaConf and submitit do not document; another release may move it.

Each hook has a test in `tests/config/test_private_hooks.py`, and CONTRIBUTING.md says why there is no public way.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from operator import getitem
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.sweeper import Sweeper
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

POLL_SECONDS = 60  # SLURM forgets a finished job after five minutes


def hydra_parser() -> ArgumentParser:
    """Return Hydra's own parser of command lines: another one would accept flags that Hydra refuses later."""
    return get_args_parser()


@contextmanager
def launch_with(compose: Callable[[Sequence[str]], DictConfig | None]) -> Iterator[None]:
    """Make launchers in this process compose their cells with `compose`, and sweepers check none of them.

    Hydra would read and merge all files again for each cell, twice: before the first cell, only to check it, and when
    its turn comes. When all artifacts of a cell are cached, that takes longer than everything else in it. `compose`
    merges the config again rather than keep it: a config takes a megabyte.

    Args:
        compose: Maps the overrides of a cell to its config, or to None for a cell that it does not know; Hydra then
            composes that cell itself.
    """
    loader_class, sweeper_class = _any(ConfigLoaderImpl), _any(Sweeper)
    hydras_load, hydras_check = loader_class.load_sweep_config, sweeper_class.validate_batch_is_legal

    def load_sweep_config(self: ConfigLoaderImpl, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        composed = compose(sweep_overrides)
        if composed is None:
            fallback: DictConfig = hydras_load(self, master_config, sweep_overrides)
            return fallback
        composed.hydra.mode = RunMode.MULTIRUN
        composed.hydra.overrides.hydra = master_config.hydra.overrides.hydra
        OmegaConf.copy_cache(from_config=master_config, to_config=composed)
        return composed

    loader_class.load_sweep_config = load_sweep_config
    sweeper_class.validate_batch_is_legal = lambda self, batch: None
    try:
        yield
    finally:
        loader_class.load_sweep_config, sweeper_class.validate_batch_is_legal = hydras_load, hydras_check


def share_schemas(groups: Mapping[str, dict[str, Any]]) -> None:
    """Put groups of schemas into Hydra's store, each a dictionary that makes a schema when it is first asked for.

    For each of its caches, Hydra copies its sources and with them the whole store, which is half of the time that
    composing takes. Sharing the store is safe: what Hydra loads from it is a copy.

    Args:
        groups: the schemas by file name, by the name of their group; a group comes before its subgroups.
    """
    store = _any(ConfigStore.instance())
    store.__deepcopy__ = lambda memo: store
    for group, schemas in groups.items():
        *above, last = group.split("/")
        reduce(getitem, above, store.repo)[last] = schemas


def wait_for_all_slurm_jobs() -> None:
    """Make submitit wait for each job of a sweep; it stops waiting at the first one that ends without a result."""
    from submitit.core.utils import FailedJobError, UncompletedJobError
    from submitit.slurm.slurm import SlurmJob

    job_class = _any(SlurmJob)
    submitits_own = job_class.results

    def results(job: Any) -> list[Any]:
        try:
            return list(submitits_own(job))
        except (FailedJobError, UncompletedJobError):
            print(f"unlearn: job {job.job_id} ended without a result: {job.paths.stderr}", file=sys.stderr, flush=True)
            return [JobReturn(status=JobStatus.COMPLETED)]  # the sweep reads the outcome from the note of the cell

    job_class.results = results


def poll_slurm_queue() -> None:
    """Make submitit ask `squeue`: on a cluster without `sacct` it would wait forever for a job that died."""
    from submitit.slurm.slurm import SlurmInfoWatcher, SlurmJob

    def make_command(watcher: Any) -> list[str] | None:
        jobs = ",".join(sorted({job.split("_")[0] for job in watcher._registered - watcher._finished}))
        query = f"echo 'JobID|State|NodeList'; squeue --noheader --states=all --format='%i|%T|%N' --jobs={jobs}"
        return ["sh", "-c", query] if jobs else None

    _any(SlurmInfoWatcher)._make_command = make_command
    SlurmJob.watcher._delay_s = POLL_SECONDS


def _any(value: Any) -> Any:
    """Return the value as a type to which attributes can be assigned."""
    return value
