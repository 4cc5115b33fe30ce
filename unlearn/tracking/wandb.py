"""Runs on a W&B dashboard."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from unlearn.core.errors import first_line
from unlearn.core.validation import one_of, positive
from unlearn.pipeline.config import Page, RunConfig
from unlearn.pipeline.plan import Outcome, Plan, make_plan
from unlearn.report.assemble import stages
from unlearn.report.inversion import recovery
from unlearn.report.page import render
from unlearn.report.pictures import examples, may_show
from unlearn.report.publishable import (
    config_without_classes,
    publishable_config,
    publishable_error,
    publishable_report,
    without_classes,
    without_records,
)
from unlearn.report.write import write, write_text
from unlearn.tracking.base import Job, Log, Logger, curves
from unlearn.tracking.figures import log_curves, summary, words
from unlearn.tracking.sample import points, sampled

NAME = r"(?=.*\S)[^/\\#?%:\x00-\x1f]{1,128}"  # of a project, as W&B takes it
FALLEN_BACK = {"offline": "kept offline, `wandb sync` sends it later", "disabled": "not tracked"}
# W&B would note host, user, folders, command line, git remote, packages and load: none of that is sent.
DISCREET = {
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "host": "",
    "silent": True,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}


@dataclass(frozen=True)
class Wandb(Logger):
    """A W&B run for each cell, under `<output>/wandb`; its job type is the strategy, which is what a group compares.

    The same cell of the same group is the same run again. The report is the product and W&B a view of it: without
    the server a run stays offline, and nothing that goes wrong here ends it.
    """

    project: str = "unlearn"
    entity: str | None = None  # null: the account's own
    mode: str = one_of("online", "offline", "disabled")
    records: bool | None = None  # send images, predictions and names of records; null: those of public data sets only
    patience: float = positive(60.0)  # seconds to wait for the server at either end of a run

    def problems(self, key: str) -> Iterator[str]:
        """Names that W&B refuses; nobody is asked to log in."""
        for name, value in (("project", self.project), ("entity", self.entity)):
            if value is not None and not re.fullmatch(NAME, value):
                yield f"{key}.{name}: expected 1 to 128 letters without / \\ # ? % :, got {value!r}"
        if self.mode == "online" and (why := _no_credentials()):
            yield f"{key}: expected WANDB_API_KEY, an earlier `wandb login`, or logger=wandb_offline, got {why}"

    @contextmanager
    def open(self, job: Job) -> Iterator[Log]:
        run = self._start(job)
        try:
            yield partial(self._log, run, job)
        except BaseException as error:
            code = error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1
            with _view():
                run.summary["error"] = publishable_error(error, self.records, job.config.dataset.public)
            _finish(run, code)
            raise
        _finish(run, 0)

    def _start(self, job: Job) -> Any:
        wandb = _wandb()
        job.folder.mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(
            root_dir=str(job.folder.resolve()),
            init_timeout=self.patience,
            finish_timeout=self.patience,
            finish_timeout_raises=True,
            **DISCREET,
        )
        init = partial(
            wandb.init,
            project=self.project,
            entity=self.entity,
            settings=settings,
            **_identity(job, bool(self.records), () if self._may_show(job) else _classes(job)),
        )
        return _without_import_hooks(_started(init, self.mode))

    def _log(self, run: Any, job: Job, outcome: Outcome, report: dict[str, Any]) -> None:
        folder = job.folder.resolve() / "wandb"
        with _view(), _staged_in(folder / "staged"):
            step = log_curves(run, curves(outcome))
            run.summary.update(summary(report) | words(report))
            told = publishable_report(report, lists=bool(self.records))
            if not self._may_show(job):
                told = without_classes(without_records(told, _names(job)), _classes(job))
            run.notes = "\n".join(text for key, text in told["notes"].items() if key not in told["metrics"])
            shown = replace(job.config, report=Page(images=self.records))
            if report["curves"]:
                run.log({"roc": _table(points(report["curves"]))}, step=step)
            if self._may_show(job):
                run.log(_tables(shown, outcome), step=step)
            _attach(run, told, shown, outcome, folder / "report")

    def _may_show(self, job: Job) -> bool:
        return may_show(job.config.dataset, self.records)


def _names(job: Job) -> frozenset[str]:
    """Of all records, as paths."""
    return frozenset(name for part in ("train", "test", "val") for name in job.config.dataset.names(part))


def _classes(job: Job) -> frozenset[str]:
    """Names of classes and subclasses."""
    dataset = job.config.dataset
    return frozenset((*dataset.class_names, *dataset.subclasses))


def _without_import_hooks(run: Any) -> Any:
    """W&B notes which packages a process imports. In a worker forked for reading images, where torchvision is first
    imported, that note ends the worker."""
    from wandb.sdk.lib.import_hooks import unregister_all_post_import_hooks

    unregister_all_post_import_hooks()
    return run


def _started(init: Callable[..., Any], mode: str) -> Any:
    """A run in that mode, or in the next one that works."""
    try:
        return init(mode=mode)
    except Exception as error:  # of the server, of wandb's own process, of the disk
        if mode == "disabled":
            raise
        then = "offline" if mode == "online" else "disabled"
        _say(f"{first_line(error)}; this run is {FALLEN_BACK[then]}")
        with suppress(Exception):
            _wandb().teardown()  # its process still holds the run that failed
        return _started(init, then)


def identity(todo: Plan, group: str | None) -> str:
    """The same for the same results of the same group: 16 hexadecimal digits."""
    keys = [group, todo.final_model.key, *sorted(reading.stage.key for reading in todo.evaluations)]
    return hashlib.sha256(json.dumps(keys).encode()).hexdigest()[:16]


def _identity(job: Job, lists: bool, classes: Collection[str]) -> dict[str, Any]:
    """Who a run is, as `wandb.init` takes it, without these names of classes. A sweep agent has named its run
    already."""
    todo, strategy = make_plan(job.config), job.choices["strategy"]
    settings = {name: value for name, value in job.composed["strategy"].items() if type(value) in (int, float)}
    shown = (settings | {"seed": job.config.seed}).items()
    return {
        "id": None if os.environ.get("WANDB_SWEEP_ID") else identity(todo, job.group),
        "resume": "allow",
        "group": job.group,
        "job_type": strategy,
        "name": " ".join([strategy, *(f"{name}={value}" for name, value in shown)]),
        "tags": [f"{group}={job.choices[group]}" for group in ("dataset", "model", "forget", "spd_gan")],
        "config": config_without_classes(publishable_config(job.composed, lists), classes)
        | {"choices": dict(job.choices), "keys": {name: stage.key for name, stage in stages(todo).items()}},
    }


def _attach(run: Any, report: dict[str, Any], shown: RunConfig, outcome: Outcome, folder: Path) -> None:
    """The report as an artifact: a copy of its own, since the pictures of the user's may not leave the machine."""
    artifact = _wandb().Artifact(f"report-{run.id}", type="report")
    page = write_text(render(report, examples(shown, outcome), recovery(shown, outcome)), folder / "report.html")
    for path in (write(report, folder), page):
        artifact.add_file(str(path), policy="immutable", skip_cache=True)
    run.log_artifact(artifact)


def _tables(shown: RunConfig, outcome: Outcome) -> dict[str, Any]:
    """Images that SPD-GAN moved or an attack recovered, if there are any, and a sample of predictions."""
    table = _wandb().Table
    rows = list(sampled(outcome))
    found = {"predictions": _table(rows)} if rows else {}
    moved = examples(shown, outcome)
    data = [
        [name, each.index, each.label, *map(_image, (each.clean, each.moved, each.change)), moved.caption]
        for name, part in (("forget", moved.shown), ("holdout", moved.control))
        for each in part
    ]
    if data:
        columns = ["subset", "index", "label", "x", "x'", f"x' - x, times {moved.factor:.1f}", "moved by"]
        found["spd_gan"] = table(columns=columns, data=data)
    recovered = recovery(shown, outcome).shown
    if recovered:
        data = [[each.name, each.told, _image(each.image)] for each in recovered]
        found["recovery"] = table(columns=["what", "told", "image"], data=data)
    return found


def _table(rows: Iterable[Mapping[str, Any]]) -> Any:
    """Rows that all have the same columns, and one at least."""
    known = list(rows)
    return _wandb().Table(columns=list(known[0]), data=[list(row.values()) for row in known])


def _image(uri: str) -> Any:
    """A data URI as W&B shows it."""
    import base64
    import io

    from PIL import Image

    return _wandb().Image(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def _finish(run: Any, code: int) -> None:
    with _view():
        run.finish(exit_code=code)


@contextmanager
def _view() -> Iterator[None]:
    """What goes wrong with a view is said and ends nothing, whatever it is."""
    try:
        yield
    except Exception as error:
        _say(f"{first_line(error)}; the report has it all, and `wandb sync` may send it later")


def _say(text: str) -> None:
    print(f"unlearn: wandb: {text}", file=sys.stderr, flush=True)


@contextmanager
def _staged_in(folder: Path) -> Iterator[None]:
    """What W&B copies aside until it is sent lies with the run, and not in the user's home."""
    before = os.environ.get("WANDB_DATA_DIR")
    os.environ["WANDB_DATA_DIR"] = before or str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["WANDB_DATA_DIR"]


def _no_credentials() -> str:
    """Why W&B could not log in, or nothing; nobody is asked, nothing is sent."""
    wandb = _wandb()
    wandb.setup(wandb.Settings(mode="online"))
    try:
        return "" if wandb.login(prompt=False, verify=False) else "none"
    except wandb.Error as error:
        return first_line(error)


def _wandb() -> Any:
    """The package, silent; it would also send its own crashes, with what they hold, to its makers."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    wandb.setup(wandb.Settings(silent=True))
    return wandb
