"""Adapts the SLURM launcher: a sweep waits for all of its jobs."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback

POLL_SECONDS = 60  # SLURM forgets a finished job after five minutes


class WaitForAllJobs(Callback):
    """Makes a sweep on SLURM wait for each of its jobs.

    submitit alone stops waiting at the first job that ends without a result. On a cluster without accounting there is
    no `sacct`, and submitit would wait forever for a job that died; there this asks the queue instead.
    """

    def on_multirun_start(self, config: Any, **_: Any) -> None:
        """Adapt submitit before the jobs are submitted."""
        _keep_waiting_after_a_failure()
        if subprocess.getstatusoutput("sacct --noheader --starttime=now")[0] != 0:
            _poll_the_queue()


def _keep_waiting_after_a_failure() -> None:
    from submitit.core.utils import FailedJobError, UncompletedJobError
    from submitit.slurm.slurm import SlurmJob

    job_class: Any = SlurmJob
    submitits_own = job_class.results

    def results(job: Any) -> list[Any]:
        try:
            return list(submitits_own(job))
        except (FailedJobError, UncompletedJobError):
            print(f"unlearn: job {job.job_id} ended without a result: {job.paths.stderr}", file=sys.stderr, flush=True)
            return [JobReturn(status=JobStatus.COMPLETED)]  # the sweep reads the outcome from the note of the cell

    job_class.results = results


def _poll_the_queue() -> None:
    from submitit.slurm.slurm import SlurmInfoWatcher, SlurmJob

    def make_command(watcher: Any) -> list[str] | None:
        jobs = ",".join(sorted({job.split("_")[0] for job in watcher._registered - watcher._finished}))
        query = f"echo 'JobID|State|NodeList'; squeue --noheader --states=all --format='%i|%T|%N' --jobs={jobs}"
        return ["sh", "-c", query] if jobs else None

    watcher_class: Any = SlurmInfoWatcher
    watcher_class._make_command = make_command
    SlurmJob.watcher._delay_s = POLL_SECONDS
