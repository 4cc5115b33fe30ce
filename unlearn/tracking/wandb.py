"""Log runs to a W&B dashboard."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from unlearn.core.validation import one_of, positive
from unlearn.pipeline.config import Page
from unlearn.pipeline.plan import Outcome, Plan, make_plan
from unlearn.report.assemble import name_stages
from unlearn.report.pictures import may_show
from unlearn.report.publishable import (
    config_without_classes,
    publishable_config,
    publishable_error,
    publishable_report,
    without_classes,
    without_records,
)
from unlearn.tracking.base import Job, Log, Logger, curves
from unlearn.tracking.figures import log_curves, request_rows, summary, verdict_words
from unlearn.tracking.sample import roc_points
from unlearn.tracking.wandb_client import (
    PRIVATE_SETTINGS,
    find_credentials_problem,
    finish_run,
    import_wandb,
    staged_in,
    start_run,
    warn_on_error,
    without_import_hooks,
)
from unlearn.tracking.wandb_report import build_table, build_tables, log_report

PROJECT_NAME = r"(?=.*\S)[^/\\#?%:\x00-\x1f]{1,128}"  # a name that W&B accepts


@dataclass(frozen=True)
class Wandb(Logger):
    """Logs each run to W&B, with its files under `<output>/wandb`; the job type is the strategy.

    The same run of the same group has the same W&B id. Without the server a run is kept offline. No error of W&B ends
    a run.
    """

    project: str = "unlearn"  # name of the project
    entity: str | None = None  # null: the account's own
    mode: str = one_of("online", "offline", "disabled")  # offline: `wandb sync` uploads the run later
    records: bool | None = None  # send images, predictions and names of records; null: those of public data sets only
    patience: float = positive(60.0)  # seconds to wait for the server at either end of a run

    def problems(self, key: str) -> Iterator[str]:
        """Check the names, and that credentials exist if the mode is online; does not prompt the user."""
        for name, value in (("project", self.project), ("entity", self.entity)):
            if value is not None and not re.fullmatch(PROJECT_NAME, value):
                yield f"{key}.{name}: expected 1 to 128 characters without / \\ # ? % :, got {value!r}"
        if self.mode == "online" and (got := find_credentials_problem()):
            yield f"{key}: expected WANDB_API_KEY, an earlier `wandb login`, or logger=wandb_offline, got {got}"

    @contextmanager
    def open(self, job: Job) -> Iterator[Log]:
        plan = make_plan(job.config)
        run = self._start(job, identity(plan, job.group), {name: s.key for name, s in name_stages(plan).items()})
        try:
            yield partial(self._log, run, job)
        except BaseException as error:
            code = error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1
            with warn_on_error():
                run.summary["error"] = publishable_error(error, self.records, job.config.dataset.public)
            finish_run(run, code)
            raise
        finish_run(run, 0)

    def log_stream(self, job: Job, report: Mapping[str, Any]) -> None:
        """Log the numbers after every request, over the number of the request; no names of requests are sent."""
        with warn_on_error():
            keys = {name: model["key"] for name, model in report["steps"][-1]["models"].items()}
            run = self._start(job, _hash(["stream", job.group, keys]), keys)
            run.define_metric("*", step_metric="request")
            for row in request_rows(report):
                run.log(row)
            finish_run(run, 0)

    def _start(self, job: Job, name: str, keys: Mapping[str, str]) -> Any:
        wandb = import_wandb()
        job.folder.mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(
            root_dir=str(job.folder.resolve()),
            init_timeout=self.patience,
            finish_timeout=self.patience,
            finish_timeout_raises=True,
            **PRIVATE_SETTINGS,
        )
        init = partial(
            wandb.init,
            project=self.project,
            entity=self.entity,
            settings=settings,
            # a sweep agent sets the id
            id=None if os.environ.get("WANDB_SWEEP_ID") else name,
            **_init_arguments(job, keys, bool(self.records), () if self._may_show(job) else _class_names(job)),
        )
        return without_import_hooks(start_run(init, self.mode))

    def _log(self, run: Any, job: Job, outcome: Outcome, report: dict[str, Any]) -> None:
        folder = job.folder.resolve() / "wandb"
        with warn_on_error(), staged_in(folder / "staged"):
            step = log_curves(run, curves(outcome))
            run.summary.update(summary(report) | verdict_words(report))
            public = publishable_report(report, lists=bool(self.records))
            if not self._may_show(job):
                public = without_classes(without_records(public, _record_names(job)), _class_names(job))
            run.notes = "\n".join(text for key, text in public["notes"].items() if key not in public["metrics"])
            config = replace(job.config, report=Page(images=self.records))
            if report["curves"]:
                run.log({"roc": build_table(roc_points(report["curves"]))}, step=step)
            if self._may_show(job):
                run.log(build_tables(config, outcome), step=step)
            log_report(run, public, config, outcome, folder / "report")

    def _may_show(self, job: Job) -> bool:
        return may_show(job.config.dataset, self.records)


def _record_names(job: Job) -> frozenset[str]:
    """The paths of all records."""
    return frozenset(name for part in ("train", "test", "val") for name in job.config.dataset.names(part))


def _class_names(job: Job) -> frozenset[str]:
    """The names of classes and subclasses."""
    dataset = job.config.dataset
    return frozenset((*dataset.class_names, *dataset.subclasses))


def identity(plan: Plan, group: str | None) -> str:
    """Return the W&B id of a run, 16 hexadecimal digits; equal for equal results in the same group."""
    return _hash([group, plan.final_model.key, *sorted(evaluation.stage.key for evaluation in plan.evaluations)])


def _hash(keys: Any) -> str:
    return hashlib.sha256(json.dumps(keys).encode()).hexdigest()[:16]


def _init_arguments(job: Job, keys: Mapping[str, str], lists: bool, classes: Collection[str]) -> dict[str, Any]:
    """Return the arguments of `wandb.init` that describe a run.

    Args:
        job: the run.
        keys: of its artifacts, by name.
        lists: whether to keep the paths of files that list records.
        classes: names of classes to withhold.
    """
    strategy = job.choices["strategy"]
    settings = {name: value for name, value in job.composed["strategy"].items() if type(value) in (int, float)}
    in_name = (settings | {"seed": job.config.seed}).items()
    return {
        "resume": "allow",
        "group": job.group,
        "job_type": strategy,
        "name": " ".join([strategy, *(f"{name}={value}" for name, value in in_name)]),
        "tags": [f"{group}={job.choices[group]}" for group in ("dataset", "model", "forget", "spd_gan")],
        "config": config_without_classes(publishable_config(job.composed, lists), classes)
        | {"choices": dict(job.choices), "keys": dict(keys)},
    }
