"""Adapts the SLURM launcher: a sweep waits for all of its jobs."""

from __future__ import annotations

import subprocess
from typing import Any

from hydra.experimental.callback import Callback

from unlearn.config.private_hooks import poll_slurm_queue, wait_for_all_slurm_jobs


class WaitForAllJobs(Callback):
    """Makes a sweep on SLURM wait for each of its jobs, also on a cluster without accounting, which has no `sacct`."""

    def on_multirun_start(self, config: Any, **_: Any) -> None:
        """Adapt submitit before the jobs are submitted."""
        wait_for_all_slurm_jobs()
        if subprocess.getstatusoutput("sacct --noheader --starttime=now")[0] != 0:
            poll_slurm_queue()
