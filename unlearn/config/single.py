"""One job, from a config that is composed already."""

from __future__ import annotations

from hydra._internal.callbacks import Callbacks
from hydra.core.utils import run_job
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig


def run_composed(composed: DictConfig, task: TaskFunction) -> None:
    """What `hydra.main` does for one job with the config that passed the checks: it would compose that twice more,
    which takes longer than all else in a run whose artefacts are there.

    Raises:
        Exception: what the job raised.
    """
    composed.hydra.mode = RunMode.RUN
    callbacks = Callbacks(composed)
    callbacks.on_run_start(config=composed, config_name="config")
    context = HydraContext(config_loader=None, callbacks=callbacks)  # type: ignore[arg-type]  # one job needs none
    done = run_job(task, composed, "hydra.run.dir", None, context)
    callbacks.on_run_end(config=composed, config_name="config", job_return=done)
    _ = done.return_value
