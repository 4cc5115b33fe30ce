"""Runs one job from a config that is composed already."""

from __future__ import annotations

from hydra._internal.callbacks import Callbacks
from hydra.core.utils import run_job
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig


def run_composed(composed: DictConfig, task: TaskFunction) -> None:
    """Run one job as `hydra.main` does, but with a config that is composed and checked already.

    `hydra.main` would compose the config twice more. When all artifacts of a run are cached, that takes longer than
    everything else.

    Args:
        composed: The config of the job, with the key `hydra`.
        task: The function to call with the config.

    Raises:
        Exception: Whatever the job raised.
    """
    composed.hydra.mode = RunMode.RUN
    callbacks = Callbacks(composed)
    callbacks.on_run_start(config=composed, config_name="config")
    context = HydraContext(config_loader=None, callbacks=callbacks)  # type: ignore[arg-type]  # a single job needs none
    job = run_job(task, composed, "hydra.run.dir", None, context)
    callbacks.on_run_end(config=composed, config_name="config", job_return=job)
    _ = job.return_value  # raises what the job raised
