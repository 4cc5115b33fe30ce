"""What Hydra's launchers have to be taught when a sweep starts."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback

LOOK = 60  # at least every so many seconds: SLURM forgets a finished job after five minutes


class Patience(Callback):
    """Lets a sweep on SLURM wait for each of its jobs: submitit alone leaves at the first that died without a result.

    A cluster without accounting has no `sacct`, so that a dead job would be waited for without end; there the queue
    is asked.
    """

    def on_multirun_start(self, config: Any, **_: Any) -> None:
        """Before the jobs are submitted."""
        _wait_for_all()
        if subprocess.getstatusoutput("sacct --noheader --starttime=now")[0] != 0:
            _ask_the_queue()


def _wait_for_all() -> None:
    from submitit.core.utils import FailedJobError, UncompletedJobError
    from submitit.slurm.slurm import SlurmJob

    kind: Any = SlurmJob
    results = kind.results

    def whatever_came(job: Any) -> list[Any]:
        try:
            return list(results(job))
        except (FailedJobError, UncompletedJobError):
            print(f"unlearn: job {job.job_id} ended without a result: {job.paths.stderr}", file=sys.stderr, flush=True)
            return [JobReturn(status=JobStatus.COMPLETED)]  # as of any cell: what became of it, its note tells

    kind.results = whatever_came


def _ask_the_queue() -> None:
    from submitit.slurm.slurm import SlurmInfoWatcher, SlurmJob

    def command(watcher: Any) -> list[str] | None:
        jobs = ",".join(sorted({job.split("_")[0] for job in watcher._registered - watcher._finished}))
        ask = f"echo 'JobID|State|NodeList'; squeue --noheader --states=all --format='%i|%T|%N' --jobs={jobs}"
        return ["sh", "-c", ask] if jobs else None

    kind: Any = SlurmInfoWatcher
    kind._make_command = command
    SlurmJob.watcher._delay_s = LOOK
