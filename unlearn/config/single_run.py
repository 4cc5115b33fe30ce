"""Runs one job from a config that is composed already."""

from __future__ import annotations

import warnings
from typing import Any

from hydra.core.utils import run_job
from hydra.types import HydraContext, RunMode, TaskFunction
from hydra.utils import instantiate
from omegaconf import DictConfig

from unlearn.core.errors import format_error


class RunCallbacks:
    """The callbacks of `hydra.callbacks`. As in Hydra, one that raises an error causes a warning."""

    def __init__(self, composed: DictConfig) -> None:
        self.callbacks = [instantiate(settings) for settings in (composed.hydra.get("callbacks") or {}).values()]

    def on_run_start(self, **arguments: Any) -> None:
        """Call this before everything else."""
        self._call("on_run_start", arguments)

    def on_job_start(self, **arguments: Any) -> None:
        """Call this before the job."""
        self._call("on_job_start", arguments)

    def on_job_end(self, **arguments: Any) -> None:
        """Call this after the job."""
        self._call("on_job_end", arguments, reverse=True)

    def on_run_end(self, **arguments: Any) -> None:
        """Call this after everything else."""
        self._call("on_run_end", arguments, reverse=True)

    def _call(self, name: str, arguments: dict[str, Any], reverse: bool = False) -> None:
        for callback in reversed(self.callbacks) if reverse else self.callbacks:
            try:
                getattr(callback, name)(**arguments)
            except Exception as error:  # a user's callback may raise anything
                warnings.warn(f"{type(callback).__name__}.{name}: {format_error(error)}", stacklevel=2)


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
    callbacks = RunCallbacks(composed)
    callbacks.on_run_start(config=composed, config_name="config")
    context = HydraContext(config_loader=None, callbacks=callbacks)  # type: ignore[arg-type]  # a job needs no loader
    job = run_job(task, composed, "hydra.run.dir", None, context)
    callbacks.on_run_end(config=composed, config_name="config", job_return=job)
    _ = job.return_value  # raises what the job raised
