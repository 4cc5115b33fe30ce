"""A stream of requests: its plan, the models of successive runs, its report, and what can be done with it later."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import torch
from commands import run_command, unlearn

from unlearn import config
from unlearn.core.artifact_store import ArtifactStore
from unlearn.core.errors import ConfigError
from unlearn.core.progress import Console
from unlearn.core.types import Role
from unlearn.inventory.catalogue import Catalogue
from unlearn.inventory.members import Members
from unlearn.inventory.purge import plan_purge
from unlearn.pipeline.stream import StreamOutcome, run_stream
from unlearn.pipeline.stream_plan import PolicyStep, Step
from unlearn.report.stream.assemble import assemble_stream
from unlearn.report.stream.lines import read_lines
from unlearn.report.stream.page import render_stream
from unlearn.stages.base import BuildContext
from unlearn.stages.continued import Continued
from unlearn.stages.export import export_weights
from unlearn.stages.lineage import find_lineage
from unlearn.stages.unlearn import Unlearn

if TYPE_CHECKING:
    from conftest import Compose, Run

RUN = (
    *("dataset.limit=300", "model.width=4", "model.hidden=16", "train.epochs=2", "train.batch_size=16"),
    *("strategy=finetune", "strategy.recipe.epochs=1"),
)
SMALL = (
    *("+experiment=stream", *RUN, "attacks.logistic.splits=2", "attacks.logistic.bootstrap=100"),
    *("requests.count=3", "requests.size=5", "requests.every=2"),
)


class Stream(NamedTuple):
    outcome: StreamOutcome
    report: dict[str, Any]

    def step(self, number: int) -> Step:
        return self.outcome.steps[number - 1].step

    def answer(self, number: int, policy: str) -> PolicyStep:
        return next(answer for answer in self.step(number).answers if answer.policy.name == policy)


Replay = Callable[..., Stream]


@pytest.fixture(scope="module")
def replay(composed: Compose, tmp_path_factory: pytest.TempPathFactory) -> Replay:
    """`replay(*overrides)`: a small stream; all of this file share a store."""
    store = tmp_path_factory.mktemp("store")

    def go(*overrides: str) -> Stream:
        chosen = {override.partition("=")[0] for override in overrides}
        small = [word for word in SMALL if word.partition("=")[0].partition(".")[0] not in chosen]
        found = composed(*small, f"paths.store={store}", *overrides)
        run = config.instantiate(found)
        context = BuildContext(ArtifactStore(store), run.trainer, Console(io.StringIO()))
        outcome = run_stream(run, context)
        choices = {"strategy": "finetune", "dataset": "digits", "model": "cnn"}
        return Stream(outcome, assemble_stream(outcome, run, config.to_plain_dict(found), choices))

    return go


@pytest.fixture(scope="module")
def stream(replay: Replay) -> Stream:
    return replay()


def test_each_policy_answers_when_it_should(stream: Stream) -> None:
    original = stream.outcome.plan.original
    assert stream.answer(1, "unlearn_every").model is original
    assert [stream.answer(n, "unlearn_every").waiting for n in (1, 2, 3)] == [1, 0, 1]
    assert stream.answer(3, "unlearn_every").model is stream.answer(2, "unlearn_every").model
    assert [stream.answer(n, "retrain_each").model for n in (1, 2, 3)] == [
        stream.step(n).retrained[0] for n in (1, 2, 3)
    ]
    assert stream.answer(3, "retrain_every").model is stream.step(2).retrained[0]
    second = stream.answer(2, "unlearn_each").model
    assert isinstance(second, Unlearn)
    assert isinstance(second.original, Continued)
    assert second.original.previous is stream.answer(1, "unlearn_each").model


def test_retained_records_are_those_of_no_request_so_far(stream: Stream) -> None:
    context = stream.outcome.context
    members = set(stream.outcome.plan.original.samples.load(context).index.tolist())
    gone = set[int]()
    for number in (1, 2, 3):
        gone |= set(stream.step(number).request.records)
        unlearned = stream.answer(number, "unlearn_each").model
        assert isinstance(unlearned, Unlearn)
        for samples in (stream.step(number).retrained[0].samples, unlearned.retain):
            assert set(samples.load(context).index.tolist()) == members - gone
        assert set(unlearned.validation.load(context).index.tolist()).isdisjoint(members)
    assert len(gone) == 15


def test_the_models_are_those_of_successive_runs(stream: Stream, run: Run, tmp_path: Path) -> None:
    plain = (*RUN, "spd_gan=off", "baseline=none", "metrics=accuracy", "attacks=none", "forget=indices")
    for number in (1, 2):
        (tmp_path / f"{number}.txt").write_text("\n".join(map(str, stream.step(number).request.records)))
    first = run(tmp_path, *plain, f"forget.file={tmp_path}/1.txt", f"paths.store={tmp_path}")
    seed = stream.answer(2, "unlearn_each").model.seed
    more = ("checkpoint=file", f"checkpoint.file={first.outcome.plan.unlearned.key}", f"seeds.unlearn={seed}")
    second = run(tmp_path, *plain, f"forget.file={tmp_path}/2.txt", f"paths.store={tmp_path}", *more)
    for number, finished in ((1, first), (2, second)):
        ours = stream.answer(number, "unlearn_each").model.load(stream.outcome.context).state_dict()
        theirs = finished.outcome.plan.unlearned.load(finished.context).state_dict()
        assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


def test_a_second_replay_builds_nothing_and_a_longer_one_continues(replay: Replay, stream: Stream) -> None:
    again = replay()
    assert all(entry.reused for entry in again.outcome.context.entries.values())
    longer = replay("requests.count=4", "requests.policies=[unlearn_each]")
    assert longer.outcome.steps[2].step.answers[0].model.key == stream.answer(3, "unlearn_each").model.key
    built = {entry.folder.parent.name for entry in longer.outcome.context.entries.values() if not entry.reused}
    assert {"train", "unlearn"} <= built


def test_the_report_has_this_request_earlier_ones_and_all_so_far(stream: Stream) -> None:
    steps = stream.report["steps"]
    assert "earlier_forget_accuracy" not in steps[0]["models"]["unlearn_each"]["request"]["metrics"]
    for number, step in enumerate(steps[1:], start=2):
        for entry in (*step["models"].values(), step["retrained"]):
            this, so_far = entry["request"]["metrics"], entry["so_far"]["metrics"]
            parts = this["forget_accuracy"] + (number - 1) * this["earlier_forget_accuracy"]
            assert so_far["forget_accuracy"] == pytest.approx(parts / number)
            assert 0 <= this["mia_earlier_auc"] <= 1
    assert steps[2]["models"]["original"]["so_far"]["metrics"]["layer_distance_to_original"] == 0
    assert steps[2]["models"]["unlearn_each"]["so_far"]["metrics"]["layer_distance_to_original"] > 0


def test_a_retrained_model_is_compared_with_those_of_other_seeds(stream: Stream) -> None:
    for step in stream.report["steps"]:
        served, others = step["models"]["retrain_each"]["so_far"], step["retrained"]["so_far"]
        assert served["average_gap"] == pytest.approx(others["average_noise_floor"])
        assert served["metrics"]["layer_distance_to_retrained"] > 0.5


def test_with_one_retrained_model_the_policy_that_serves_it_has_no_gap(replay: Replay) -> None:
    report = replay("baseline.seeds=[0]", "requests.count=2").report
    assert report["steps"][0]["models"]["retrain_each"]["so_far"]["average_gap"] is None
    assert report["steps"][0]["models"]["unlearn_each"]["so_far"]["average_gap"] is not None
    assert report["notes"][0].endswith("with one baseline seed, there is none.")
    assert "seconds over requests" in render_stream([report], read_lines([report]))


def test_seconds_are_those_of_the_stages_of_each_request(stream: Stream) -> None:
    get = stream.outcome.context.get
    unlearned = [stream.answer(number, "unlearn_each").model for number in (1, 2, 3)]
    entries = [step["models"]["unlearn_each"] for step in stream.report["steps"]]
    assert [entry["seconds"] for entry in entries] == [get(model).seconds for model in unlearned]  # type: ignore[arg-type]
    assert entries[2]["total_seconds"] == pytest.approx(sum(entry["seconds"] for entry in entries))
    assert stream.report["steps"][0]["models"]["unlearn_every"]["seconds"] == 0
    assert stream.report["steps"][2]["retrained"]["total_seconds"] > 0


def test_the_last_model_knows_its_history_and_can_go_on(stream: Stream, composed: Compose, tmp_path: Path) -> None:
    context, model = stream.outcome.context, stream.answer(3, "unlearn_each").model
    path = export_weights(context.get(model), tmp_path / "last.safetensors", Role.UNLEARNED)  # type: ignore[arg-type]
    lineage = find_lineage(path, context.store.root)
    assert lineage is not None
    assert (lineage.requests, lineage.records) == (3, 15)
    plain = (*RUN, "spd_gan=off", "attacks=logistic", f"paths.store={context.store.root}")
    later = config.instantiate(composed(*plain, "checkpoint=file", f"checkpoint.file={path}"))
    gone = {index for number in (1, 2, 3) for index in stream.step(number).request.records}
    assert set(later.population.kept_out.tolist()) == gone


def test_a_purge_keeps_the_models_that_forgot_a_record(stream: Stream, replay: Replay) -> None:
    store, first = stream.outcome.context.store.root, stream.step(1)
    dataset = first.retrained[0].samples.population.dataset
    catalogue = Catalogue.read(store)
    purge = plan_purge(catalogue, Members(catalogue, dataset, torch.tensor(first.request.records[:1])), False)
    going, staying = {removal.folder.name for removal in purge.going}, {item.key for item, _ in purge.stays}
    assert {stream.outcome.plan.original.key} <= going
    assert {stream.answer(number, "unlearn_each").model.key for number in (1, 2, 3)} <= staying
    assert {model.key for number in (1, 2, 3) for model in stream.step(number).retrained} <= staying
    assert purge.undecided == ()


def test_a_purge_removes_what_goes_on_from_a_model_that_forgot_nothing(replay: Replay) -> None:
    idle = replay("strategy=identity", "requests.count=2", "requests.policies=[unlearn_each]")
    first = idle.step(1)
    catalogue = Catalogue.read(idle.outcome.context.store.root)
    dataset = first.retrained[0].samples.population.dataset
    purge = plan_purge(catalogue, Members(catalogue, dataset, torch.tensor(first.request.records[:1])), False)
    going = {removal.folder.name for removal in purge.going}
    assert {idle.answer(number, "unlearn_each").model.key for number in (1, 2)} <= going


def test_the_library_refuses_a_stream() -> None:
    from unlearn.api.run import run as run_once

    with pytest.raises(ConfigError, match=r"requests: expected none \(use the command for a stream\), got 'drawn'"):
        run_once(*SMALL)


@pytest.mark.slow
def test_a_multirun_over_strategies_ends_with_one_page(tmp_path: Path) -> None:
    words = (*(word for word in SMALL if word != "strategy=finetune"), "requests.count=2", "report.weights=pt")
    words = tuple(word for word in words if word != "requests.count=3")
    done = unlearn(
        "-m", "strategy=finetune,top_k", "requests.policies=[unlearn_each]", *words, "paths.output=out", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out" / "0").iterdir()} >= {
        "stream.json",
        "stream.html",
        "unlearn_each.pt",
    }
    page = (tmp_path / "out" / "stream.html").read_text()
    again = run_command("unlearn.cli.report", "out", "--into", "again", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again" / "stream.html").read_text() == page
    assert "with finetune and top_k, 2 runs" in page
    assert "unlearn_each top_k: average gap" in page
