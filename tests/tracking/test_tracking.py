"""Loggers: the records in W&B's own file, and errors of W&B, which must not end a run."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig

from unlearn import config
from unlearn.core.errors import ConfigError, UnlearnError
from unlearn.core.types import Role, Subset
from unlearn.data.datasets.digits import Digits
from unlearn.pipeline.plan import make_plan
from unlearn.report.assemble import assemble, name_stages
from unlearn.tracking.base import Job
from unlearn.tracking.csv import Csv
from unlearn.tracking.figures import summary
from unlearn.tracking.sample import sample_predictions
from unlearn.tracking.silent import Silent
from unlearn.tracking.wandb import Wandb, identity

if TYPE_CHECKING:
    from conftest import Finished, Run

CHOICES = {"dataset": "digits", "forget": "random", "model": "cnn", "spd_gan": "marker", "strategy": "top_k"}
BLOCK, CONTINUED = 32768, (2, 3)  # of the file: records are split at the ends of blocks
KEY = "a" * 40  # looks like an API key
Report = dict[str, Any]


def records(path: Path) -> Iterator[Any]:
    """Yield W&B's records: a header of 7 bytes, then LevelDB's log format. There is no public reader."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, parts = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        _, size, kind = struct.unpack_from("<IHB", data, at)
        if at + 7 + size > len(data):  # the rest of it is still being written
            return
        parts += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind not in CONTINUED:
            record = Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def read_finished(path: Path) -> list[Any]:
    """Read all records of a finished run; `finish` does not wait for the process that writes the last block."""
    deadline = time.monotonic() + 10
    while not (rows := list(records(path))) or not rows[-1].HasField("exit"):
        assert time.monotonic() < deadline, f"{path} has no end"
        time.sleep(0.02)
    return rows


def items(updates: Any) -> dict[str, Any]:
    return {"/".join(update.nested_key) or update.key: json.loads(update.value_json) for update in updates}


@dataclass
class Tracked:
    """The records of one run."""

    folder: Path

    def __post_init__(self) -> None:
        (path,) = self.folder.glob("wandb/*run-*/*.wandb")
        self.records = read_finished(path)
        self.run = self.of("run")[-1]
        self.config = items(self.of("run")[0].config.update)
        self.history = [items(row.item) for row in self.of("history")]
        self.summary = {key: value for each in self.of("summary") for key, value in items(each.update).items()}
        self.code = self.of("exit")[-1].exit_code

    def of(self, kind: str) -> list[Any]:
        return [getattr(record, kind) for record in self.records if record.WhichOneof("record_type") == kind]

    def sent(self) -> str:
        """Everything that is sent; the paths of an artifact's files are only used for the upload."""
        kept = [str(record) for record in self.records if record.WhichOneof("record_type") != "artifact"]
        return "\n".join([*kept, *(path.read_text() for path in self.folder.glob("wandb/report/*"))])


@pytest.fixture(autouse=True, scope="module")
def without_account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.MonkeyPatch]:
    """No account, no variables of W&B, and no W&B process afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("WANDB_ERROR_REPORTING", "false")
        yield patch
        import wandb

        wandb.teardown()


@pytest.fixture(scope="module")
def again(finished: Finished, run: Run) -> Finished:
    """The small run again, with every stage reused."""
    return run(finished.store)


@pytest.fixture(scope="module")
def report(again: Finished) -> Report:
    return assemble(again.outcome, config.to_plain_dict(again.composed), CHOICES)


def job_of(run: Finished, folder: Path, group: str | None = "k_noise_grid") -> Job:
    return Job(run.config, config.to_plain_dict(run.composed), CHOICES, group, folder)


def track(job: Job, run: Finished, report: Report, records: bool | None = None) -> Tracked:
    with Wandb(mode="offline", records=records).open(job) as log:
        log(run.outcome, report)
    return Tracked(job.folder)


@pytest.fixture(scope="module")
def tracked(again: Finished, report: Report, tmp_path_factory: pytest.TempPathFactory) -> Tracked:
    job, root = job_of(again, tmp_path_factory.mktemp("cell")), "/home/jane doe/photos"
    composed = job.composed | {
        "dataset": {"root": root},
        "paths": {"store": root},
        "cluster": {"address": "ray://host"},
    }
    changed = report | {
        "config": composed,
        "command": f"unlearn 'dataset.root={root}' paths.store=/scratch/jane seed=0",
    }
    return track(replace(job, composed=composed), again, changed)


def test_a_run_has_its_name_group_and_notes(tracked: Tracked, again: Finished) -> None:
    run = tracked.run
    assert (run.project, run.run_group, run.job_type) == ("unlearn", "k_noise_grid", "top_k")
    assert run.run_id == identity(make_plan(again.config), "k_noise_grid")
    assert run.display_name.startswith("top_k ")
    assert "k=0.1" in run.display_name.split()
    assert "marked by SPD-GAN" in run.notes
    assert tracked.code == 0


def test_the_id_depends_on_all_keys_and_the_group(again: Finished) -> None:
    def name(group: str | None = "a", **changes: Any) -> str:
        return identity(make_plan(replace(again.config, **changes)), group)

    others = [
        name("b"),
        name(None),
        name(strategy=replace(again.config.strategy, noise_scale=0.7)),
        name(attacks={}),
    ]
    assert name() == name("a", logger=Csv(), paths=replace(again.config.paths, output="elsewhere"))
    assert len({name(), *others}) == 5
    assert len(name()) == 16


def test_config_and_keys_of_all_stages_are_there(tracked: Tracked, again: Finished) -> None:
    assert tracked.config["strategy"]["k"] == again.config.strategy.k
    assert tracked.config["seeds"]["train"] == 0
    assert tracked.config["choices"] == CHOICES
    assert tracked.config["keys"] == {name: stage.key for name, stage in name_stages(again.outcome.plan).items()}


def test_each_reused_curve_has_its_own_axis(tracked: Tracked, again: Finished) -> None:
    axes = {metric.glob_name: metric.step_metric for metric in tracked.of("metric") if metric.step_metric}
    curves = {name: stage.curve(again.context) for name, stage in name_stages(again.outcome.plan).items()}
    trained = {name: curve for name, curve in curves.items() if curve}
    assert set(trained) == {"original", "spd_gan", "guide", "retrained", "retrained_1", "unlearned"}
    for name, curve in trained.items():
        axis = "step" if name == "spd_gan" else "epoch"
        assert axes[f"curve/{name}/*"] == f"curve/{name}/{axis}"
        start = f"curve/{name}/"
        rows = [{key.removeprefix(start): row[key] for key in row if key.startswith(start)} for row in tracked.history]
        assert [row for row in rows if row] == curve
    assert [row["_step"] for row in tracked.history] == list(range(len(tracked.history)))


def test_the_summary_is_the_report(tracked: Tracked, report: Report) -> None:
    known = {key: value for key, value in report["metrics"].items() if value is not None}
    assert len(known) < len(report["metrics"])  # nulls are left out
    assert {key: tracked.summary[key] for key in known} == known
    groups = {key.partition("/")[0] for key in tracked.summary if "/" in key and key not in known}
    assert groups == {"std", "n", "predictions", "spd_gan", "roc", "verdict", "_wandb"}
    name = "retrained/forget_accuracy"
    assert tracked.summary[f"std/{name}"] == report["statistics"][name]["std"]
    assert tracked.summary["n/forget_accuracy"] == report["statistics"][name]["n"]
    assert summary(report) == {key: tracked.summary[key] for key in summary(report)}


def test_the_report_is_an_artifact(tracked: Tracked, report: Report) -> None:
    (artifact,) = [each for each in tracked.of("artifact") if each.type == "report"]
    files = {entry.path: Path(entry.local_path) for entry in artifact.manifest.contents}
    assert set(files) == {"report.json", "report.html"}
    assert {path.parent for path in files.values()} == {tracked.folder / "wandb" / "report"}
    assert json.loads(files["report.json"].read_text())["metrics"] == report["metrics"]


def test_users_folders_and_machines_are_not_sent(tracked: Tracked) -> None:
    sent = tracked.sent()
    assert tracked.run.host == ""
    assert not tracked.of("environment")
    assert tracked.config["dataset"] == {"root": "…/photos"}
    assert not {"paths", "cluster"} & set(tracked.config)
    public = json.loads((tracked.folder / "wandb/report/report.json").read_text())
    assert public["command"] == "unlearn 'dataset.root=…/photos' seed=0"
    hidden = ("jane", "ray://", KEY, str(Path.cwd()), str(tracked.folder), sys.executable, f'"{socket.gethostname()}"')
    assert [word for word in hidden if word in sent] == []
    assert not [path for path in tracked.folder.rglob("*") if path.name in ("requirements.txt", "wandb-metadata.json")]


class Private(Digits):
    """A private data set."""

    public = False


@pytest.mark.parametrize(
    ("public", "records", "shown"), [(True, False, False), (False, None, False), (False, True, True)]
)
def test_single_records_are_sent_for_public_data_or_on_request(
    again: Finished, report: Report, tmp_path: Path, public: bool, records: bool | None, shown: bool
) -> None:
    job = job_of(again, tmp_path)
    dataset = again.config.dataset if public else Private()
    found = track(replace(job, config=replace(again.config, dataset=dataset)), again, report, records)
    assert ("predictions/nrows" in found.summary) is shown
    assert ("spd_gan/nrows" in found.summary) is shown
    assert (
        len([each for each in found.of("artifact") if each.type != "report"]) == 1 + 2 * shown
    )  # curves hold no record
    assert (tmp_path / "wandb/report/report.html").read_text().count("data:image/png") == 36 * shown


class Named(Private):
    """Its classes are named after people."""

    class_names = ("jane doe", "ann", *map(str, range(2, 10)))


@pytest.mark.parametrize("records", [None, True])
def test_names_of_classes_are_sent_on_request_only(
    again: Finished, report: Report, tmp_path: Path, records: bool | None
) -> None:
    job = job_of(again, tmp_path)
    job = replace(job, config=replace(again.config, dataset=Named()))
    job = replace(job, composed=job.composed | {"forget": {"class_index": "jane doe"}})
    notes = report["notes"] | {"checkpoint": "0.9 would be right if output 1 is jane doe"}
    command = "unlearn forget=class_wise 'forget.class_index=jane doe'"
    found = track(job, again, report | {"config": job.composed, "command": command, "notes": notes}, records)
    assert ("jane doe" in found.sent()) is bool(records)


def test_public_images_and_predictions_are_tables(tracked: Tracked) -> None:
    assert tracked.summary["spd_gan/nrows"] == 8 + 4
    (path,) = tracked.folder.glob("wandb/*run-*/files/media/table/spd_gan*.json")
    moved = json.loads(path.read_text())
    assert [row[0] for row in moved["data"]] == ["forget"] * 8 + ["holdout"] * 4
    assert {row[-1] for row in moved["data"]} == {"SPD-GAN, term shift, ε = 0.2"}
    (path,) = tracked.folder.glob("wandb/*run-*/files/media/table/predictions*.json")
    table = json.loads(path.read_text())
    assert table["columns"][:3] == ["subset", "index", "label"]
    roles, columns = ("original", "retrained", "unlearned"), ("prediction", "confidence")
    assert set(table["columns"][3:]) == {f"{role} {column}" for role in roles for column in columns}
    assert {row[0] for row in table["data"]} == {"forget", "retain", "test"}
    assert 0 < len(table["data"]) == tracked.summary["predictions/nrows"] <= 3 * 64


def test_curves_of_attacks_are_a_table(tracked: Tracked, report: Report) -> None:
    (path,) = tracked.folder.glob("wandb/*run-*/files/media/table/roc*.json")
    table = json.loads(path.read_text())
    assert table["columns"] == ["attack", "role", "seed", "fpr", "tpr"]
    (name, curves), *_ = report["curves"].items()
    first = curves["models"][0]
    mine = [row[3:] for row in table["data"] if row[:3] == [name, first["role"], first["seed"]]]
    assert mine == [list(point) for point in zip(curves["fpr"], first["tpr"], strict=True)]


def test_sampled_predictions_are_those_of_the_store(again: Finished) -> None:
    from unlearn.stages.files import read_predictions

    stage = next(
        evaluation.stage.subject.predictions[Subset.TEST]
        for evaluation, _ in again.outcome.measurements
        if evaluation.role is Role.UNLEARNED and Subset.TEST in evaluation.stage.subject.predictions
    )
    found = read_predictions(again.context.get(stage))
    at = {int(index): number for number, index in enumerate(found.index)}
    rows = [row for row in sample_predictions(again.outcome) if row["subset"] == "test"]
    for row in rows:
        logits = found.logits[at[row["index"]]].double()
        assert row["unlearned prediction"] == int(logits.argmax())
        assert row["unlearned confidence"] == pytest.approx(float(logits.softmax(0)[row["label"]]))


@pytest.mark.parametrize(("error", "code"), [(UnlearnError("no file /home/jane/x.pt"), 1), (SystemExit(143), 143)])
def test_a_failed_run_is_shown_as_failed_with_its_cause(
    again: Finished, tmp_path: Path, error: BaseException, code: int
) -> None:
    with pytest.raises(type(error)), Wandb(mode="offline").open(job_of(again, tmp_path)):
        raise error
    found = Tracked(tmp_path)
    assert found.code == code
    assert found.summary["error"] == ("no file …/x.pt" if code == 1 else "143")
    assert found.config["keys"]


def test_an_error_of_wandb_during_a_run_is_printed_in_one_line(
    again: Finished, report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import wandb

    def gone(*_: object, **__: object) -> None:
        raise ConnectionResetError("Connection lost")

    with Wandb(mode="offline").open(job_of(again, tmp_path)) as log:
        monkeypatch.setattr(wandb.run, "log", gone)
        log(again.outcome, report)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("unlearn: wandb: Connection lost")


def answering(left: Iterator[int]) -> type[BaseHTTPRequestHandler]:
    """Answers as W&B does to who starts a run, once for each of `left`; then hangs up."""
    project = {"id": "p", "name": "unlearn", "entity": {"id": "e", "name": "me"}}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if next(left, None) is None:
                return
            new = {"id": "b", "name": asked["variables"].get("name"), "config": "{}", "project": project}
            starts = "UpsertBucket" in asked["query"]
            answer = {"upsertBucket": {"bucket": new, "inserted": True}} if starts else {"model": {"bucket": None}}
            body = json.dumps({"data": answer}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    return Handler


@pytest.fixture
def server_of(without_account: pytest.MonkeyPatch, fresh: None) -> Iterator[Callable[[int], None]]:
    """`server_of(n)`: W&B is where a server answers `n` questions, and then is gone."""
    with ExitStack() as stack:

        def start(answers: int) -> None:
            server = stack.enter_context(HTTPServer(("127.0.0.1", 0), answering(iter(range(answers)))))
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            stack.callback(server.shutdown)
            patch = stack.enter_context(without_account.context())
            patch.setenv("WANDB_API_KEY", KEY)
            patch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")

        yield start


@pytest.fixture
def fresh() -> Iterator[None]:
    """wandb as in a new process, before and after: it reads its variables once."""
    import wandb

    wandb.teardown()
    yield
    wandb.teardown()


def test_without_a_server_a_run_is_kept_offline(
    again: Finished,
    report: Report,
    tmp_path: Path,
    server_of: Callable[[int], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    server_of(0)
    with Wandb(patience=1).open(job_of(again, tmp_path)) as log:
        log(again.outcome, report)
    error = capsys.readouterr().err
    assert error.count("unlearn: wandb: ") == error.count("kept offline") == error.count("\n") == 1, error
    (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert "history" in {record.WhichOneof("record_type") for record in read_finished(path)}


@pytest.mark.slow
def test_a_server_that_stops_answering_costs_only_the_patience(
    again: Finished,
    report: Report,
    tmp_path: Path,
    server_of: Callable[[int], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    server_of(2)  # the state of the run, its start, and no more
    with Wandb(patience=2).open(job_of(again, tmp_path)) as log:
        log(again.outcome, report)
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert all(line.startswith("unlearn: wandb: ") and "kept offline" not in line for line in lines), lines
    (path,) = tmp_path.glob("wandb/run-*/*.wandb")  # what `wandb sync` sends
    assert "history" in {record.WhichOneof("record_type") for record in records(path)}


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(("key", "words"), [(None, "got none"), ("short", "WANDB_API_KEY invalid")])
def test_online_without_credentials_is_refused_at_once(
    without_account: pytest.MonkeyPatch, key: str | None, words: str
) -> None:
    with without_account.context() as patch:
        if key:
            patch.setenv("WANDB_API_KEY", key)
        with pytest.raises(ConfigError) as caught:
            config.preflight(config.CommandLine(["logger=wandb"], False, None))
    (problem,) = caught.value.problems
    assert all(word in problem for word in ("logger: expected WANDB_API_KEY", "logger=wandb_offline", words))


def test_settings_follow_the_variables_of_wandb(without_account: pytest.MonkeyPatch) -> None:
    with without_account.context() as patch, initialize_config_dir(str(config.CONF), version_base="1.3"):
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_ENTITY", "me")
        set_by_variables = config.instantiate(compose("config", ["logger=wandb", "logger.project=mine"])).logger
        assert set_by_variables == Wandb(project="mine", entity="me", mode="offline")
        patch.delenv("WANDB_ENTITY")
        assert config.instantiate(compose("config", ["logger=wandb_offline"])).logger == Wandb(mode="offline")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["+experiment=demo"], "demo"),
        (["+experiment=demo", "+sweep=k_noise_grid"], "demo k_noise_grid"),
        (["hydra.mode=MULTIRUN", "hydra.sweep.dir=grids/one"], "grids/one"),
        (["hydra.mode=MULTIRUN", "hydra.sweep.dir=/home/jane/one"], "one"),
        (["hydra.mode=RUN"], None),
    ],
)
def test_a_group_is_experiment_and_sweep_or_the_folder(overrides: list[str], expected: str | None) -> None:
    before = HydraConfig.instance().cfg
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        HydraConfig.instance().set_config(compose("config", overrides, return_hydra_config=True))
    try:
        assert config.run_group() == expected
    finally:
        HydraConfig.instance().cfg = before


def test_csv_and_silent_write_only_curves(again: Finished, report: Report, tmp_path: Path) -> None:
    for logger in (Silent(), Csv()):
        assert not list(tmp_path.iterdir())
        with logger.open(job_of(again, tmp_path)) as log:
            log(again.outcome, report)
    names = {path.stem for path in (tmp_path / "curves").iterdir()}
    assert names == {"original", "spd_gan", "guide", "retrained", "retrained_1", "unlearned"}
    lines = (tmp_path / "curves" / "spd_gan.csv").read_text().splitlines()
    assert lines[0].startswith("step,")
    assert len(lines) == 1 + 10


@pytest.mark.slow
def test_cells_in_separate_processes_are_separate_runs(tmp_path: Path) -> None:
    toy = ["dataset.limit=300", "train.epochs=1", "spd_gan=off", "metrics=spd_gan_off", "strategy.recipe.epochs=1"]
    grid = ["-m", *toy, "strategy.recipe.lr=0.05,1e30", "logger=wandb_offline", "paths.output=grid"]
    command = [sys.executable, "-m", "unlearn", *grid, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1
    cells = [Tracked(tmp_path / "grid" / str(number)) for number in range(2)]
    assert [cell.code for cell in cells] == [0, 1]
    assert "learning rate 1e+30" in cells[1].summary["error"]
    assert len({cell.run.run_id for cell in cells}) == 2
    assert {cell.run.run_group for cell in cells} == {"grid"}
    assert not (tmp_path / "wandb").exists()
    assert "wandb:" not in done.stderr


def test_a_stream_is_logged_over_its_requests_without_their_names(finished: Finished, tmp_path: Path) -> None:
    entry = {"key": KEY, "so_far": {"average_gap": 0.1, "metrics": {"test_accuracy": None}}, "total_seconds": 2.0}
    models = {"original": entry, "unlearn_each": entry}
    steps = [{"request": number, "models": models, "retrained": entry} for number in (1, 2)]
    Wandb(mode="offline").log_stream(
        job_of(finished, tmp_path), {"steps": steps, "requests": [{"name": "private.txt"}]}
    )
    tracked = Tracked(tmp_path)
    assert [row["request"] for row in tracked.history] == [1, 2]
    assert tracked.history[1]["unlearn_each/average gap"] == 0.1
    assert "unlearn_each/test accuracy" not in tracked.history[1]
    assert tracked.config["keys"] == {"original": KEY, "unlearn_each": KEY}
    assert "private.txt" not in tracked.sent()
