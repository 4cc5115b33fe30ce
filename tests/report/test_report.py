"""The report is the product: its schema, where its numbers come from, and how its table reads."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from unlearn import config
from unlearn.core.errors import UnlearnError
from unlearn.core.types import Role, Subset
from unlearn.functional.parameter_scores import GradientStatistic, Need
from unlearn.pipeline.plan import Outcome
from unlearn.report.assemble import assemble, name_stages
from unlearn.report.figures import AVERAGED
from unlearn.report.page import render
from unlearn.report.pictures import Examples
from unlearn.report.table import show
from unlearn.report.verdict import verdict
from unlearn.report.write import write

if TYPE_CHECKING:
    from conftest import Finished, Run

Report = dict[str, Any]
SCHEMA = {
    "schema_version": int,
    "date": str,
    "request": dict,
    "classes": list,
    "weights": str,
    "audit": type(None),
    "no_pictures": type(None),
    "copies": dict,
    "metrics": dict,
    "statistics": dict,
    "notes": dict,
    "edited_parameters": int,
    "total_parameters": int,
    "judged_by": list,
    "chance": float,
    "attacks": dict,
    "curves": dict,
    "confidence": dict,
    "spd_gan": dict,
    "artifacts": dict,
    "choices": dict,
    "config": dict,
    "seeds": dict,
    "versions": dict,
    "hardware": dict,
    "command": str,
    "verdict": dict,
}
SQUARES = ("mean_square", "sum_absolute")  # per sample
FREE = {"average_gap", "average_noise_floor"}  # of no single metric


def report_of(run: Finished, outcome: Outcome | None = None) -> Report:
    return assemble(outcome or run.outcome, config.to_plain_dict(run.composed), {"strategy": "top_k"})


@pytest.fixture(scope="module")
def report(finished: Finished) -> Report:
    return report_of(finished)


@pytest.fixture(scope="module")
def one_seed(finished: Finished, run: Run) -> Report:
    return report_of(run(finished.store, "baseline=retrain"))


@pytest.fixture(scope="module")
def no_baseline(finished: Finished, run: Run) -> Report:
    return report_of(run(finished.store, "baseline=none", "metrics=without_baseline"))


def values(run: Finished, role: Role, metric: str, own: bool = True) -> list[float | None]:
    """Readings of a metric, one per model; with `own`, retrained models are not held against one another."""
    return [
        measured[metric].value
        for reading, measured in run.outcome.measurements
        if reading.role is role and metric in measured
        if not own or role is not Role.RETRAINED or reading.reference_seed in (None, reading.seed)
    ]


def test_the_schema_is_what_readers_rely_on(report: Report) -> None:
    assert report["schema_version"] == 1
    assert {key: type(value) for key, value in report.items()} == SCHEMA


def test_a_report_survives_json(report: Report, tmp_path: Path) -> None:
    path = write(report, tmp_path / "new" / "folder")
    assert path.name == "report.json"
    assert json.loads(path.read_text()) == report
    assert list(path.parent.iterdir()) == [path]


def test_a_report_replaces_the_last_one(report: Report, tmp_path: Path) -> None:
    write({"metrics": {}}, tmp_path)
    assert json.loads(write(report, tmp_path).read_text()) == report


def test_a_folder_that_cannot_be_written_is_told(report: Report, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnlearnError, match=r"paths\.output"):
        write(report, tmp_path / "file" / "folder")


def test_metrics_are_named_by_role_and_one_slash(report: Report) -> None:
    for key in report["metrics"]:
        role, slash, metric = key.partition("/")
        assert key in FREE or (slash and metric and "/" not in metric), key
        assert key in FREE or role in {"original", "retrained", "unlearned", "gap", "noise_floor"}, key
    assert not any(key.startswith("guide") for key in report["metrics"])


def test_what_is_measured_on_one_role_is_measured_on_all(report: Report) -> None:
    found: dict[str, set[str]] = {}
    for key in set(report["metrics"]) - FREE:
        role, _, metric = key.partition("/")
        found.setdefault(role, set()).add(metric)
    measured = found["original"] - {"seconds"}
    assert found["retrained"] == found["original"]
    assert found["unlearned"] == found["original"] | {"speedup"}
    assert found["gap"] == found["noise_floor"] == measured


@pytest.mark.parametrize("name", ["report", "one_seed", "no_baseline"])
def test_what_is_null_has_a_reason(name: str, request: pytest.FixtureRequest) -> None:
    found: Report = request.getfixturevalue(name)
    null = {key for key, value in found["metrics"].items() if value is None}
    assert null
    assert null == set(found["notes"]) - {"spd_gan", "attack"}
    assert all(found["notes"].values())


def test_every_number_has_its_statistics(report: Report) -> None:
    assert set(report["statistics"]) == set(report["metrics"])
    for key, behind in report["statistics"].items():
        assert set(behind) & {"readings", "keys", "over"}, key
        assert behind["std"] is None or report["metrics"][key] is not None


def test_readings_say_where_they_come_from(report: Report, finished: Finished) -> None:
    known = {folder.name for folder in finished.store.glob("evaluate/*")}
    for key, behind in report["statistics"].items():
        if key.partition("/")[0] in {"original", "retrained", "unlearned"} and "second" not in key:
            if key == "unlearned/speedup":
                continue
            assert behind["n"] > 0
            assert behind["models"] == len({reading["seed"] for reading in behind["readings"]})
            assert {reading["key"] for reading in behind["readings"]} <= known
        elif key.startswith(("gap/", "noise_floor/")):
            assert behind["n"] > 0
            assert set(behind["keys"]) <= known


def test_artifacts_name_what_is_in_the_store(report: Report, finished: Finished) -> None:
    names = {"split", "copies", "original", "spd_gan", "guide", "retrained", "retrained_1", "scores", "unlearned"}
    assert set(report["artifacts"]) == names
    for artifact in report["artifacts"].values():
        (folder,) = finished.store.glob(f"*/{artifact['key']}")
        assert json.loads((folder / "meta.json").read_text())["seconds"] == artifact["seconds"]
        assert artifact["status"] == "built"


def test_values_are_means_over_models(report: Report, finished: Finished) -> None:
    for metric in ("forget_accuracy", "test_loss", "mia_logistic_auc"):
        for role in (Role.ORIGINAL, Role.RETRAINED, Role.UNLEARNED):
            assert report["metrics"][f"{role}/{metric}"] == fmean(values(finished, role, metric))
        both = values(finished, Role.RETRAINED, metric)
        assert report["statistics"][f"retrained/{metric}"]["std"] == stdev(both)
        evaluations = report["statistics"][f"retrained/{metric}"]["readings"]
        assert [(reading["seed"], reading["value"]) for reading in evaluations] == [(0, both[0]), (1, both[1])]


@pytest.mark.parametrize("role", ["unlearned", "retrained"])
def test_every_reading_brings_the_uncertainty_of_its_samples(report: Report, role: str) -> None:
    for reading in report["statistics"][f"{role}/test_accuracy"]["readings"]:
        assert reading["n"] == 360
        spread = (reading["value"] * (1 - reading["value"]) / 359) ** 0.5
        assert reading["standard_error"] == pytest.approx(spread)
    for reading in report["statistics"][f"{role}/mia_logistic_auc"]["readings"]:
        low, high = reading["interval"]
        assert 0 <= low <= reading["value"] <= high <= 1


def test_a_model_held_against_several_counts_once(report: Report) -> None:
    behind = report["statistics"]["unlearned/js_to_retrained"]
    assert behind["models"] == 1
    assert [reading["reference_seed"] for reading in behind["readings"]] == [0, 1]
    assert report["statistics"]["noise_floor/forget_accuracy"]["pairs"] == 1


def test_gaps_are_signed(report: Report, finished: Finished) -> None:
    metrics = report["metrics"]
    for metric in AVERAGED:
        expected = metrics[f"unlearned/{metric}"] - metrics[f"retrained/{metric}"]
        assert metrics[f"gap/{metric}"] == pytest.approx(expected, abs=1e-12)


def test_the_noise_floor_is_what_retrained_models_differ_by(report: Report, finished: Finished) -> None:
    for metric in AVERAGED:
        one, other = values(finished, Role.RETRAINED, metric)
        assert report["metrics"][f"noise_floor/{metric}"] == pytest.approx(abs(one - other))


def test_a_distance_is_held_against_the_other_retrained_model(report: Report, finished: Finished) -> None:
    """JS of a retrained model to itself is 0; to the other one it is the floor."""
    assert report["metrics"]["retrained/js_to_retrained"] == pytest.approx(0, abs=1e-12)
    every = values(finished, Role.RETRAINED, "js_to_retrained", own=False)
    assert report["metrics"]["noise_floor/js_to_retrained"] == pytest.approx(
        fmean(value for value in every if value > 1e-12)
    )
    mean_distance = fmean(values(finished, Role.UNLEARNED, "js_to_retrained"))
    assert report["metrics"]["gap/js_to_retrained"] == pytest.approx(mean_distance)


@pytest.mark.parametrize(("average", "part"), [("average_gap", "gap"), ("average_noise_floor", "noise_floor")])
def test_averages_are_of_absolute_values(report: Report, average: str, part: str) -> None:
    parts = ("forget_accuracy", "retain_accuracy", "test_accuracy", "mia_logistic_auc")
    of = {
        "gap": lambda metric: report["statistics"][f"gap/{metric}"]["mean_absolute"],
        "noise_floor": lambda metric: report["metrics"][f"noise_floor/{metric}"],
    }[part]
    assert report["metrics"][average] == pytest.approx(fmean(map(of, parts)), abs=1e-12)
    assert report["statistics"][average]["over"] == [f"{part}/{metric}" for metric in parts]


def test_gap_and_floor_are_distances_of_one_kind(report: Report, finished: Finished) -> None:
    """One model to each retrained one, and retrained models to each other: not to their mean."""
    (mine,) = values(finished, Role.UNLEARNED, "forget_accuracy")
    one, two = values(finished, Role.RETRAINED, "forget_accuracy")
    behind = report["statistics"]["gap/forget_accuracy"]
    assert behind["mean_absolute"] == pytest.approx((abs(mine - one) + abs(mine - two)) / 2)
    assert report["metrics"]["noise_floor/forget_accuracy"] == pytest.approx(abs(one - two))


def test_one_retrained_model_gives_no_noise_floor(one_seed: Report) -> None:
    floors = {key: value for key, value in one_seed["metrics"].items() if key.startswith("noise_floor/")}
    assert floors
    assert set(floors.values()) == {None}
    assert "baseline.seeds" in one_seed["notes"]["noise_floor/forget_accuracy"]
    assert one_seed["metrics"]["average_noise_floor"] is None
    assert one_seed["metrics"]["average_gap"] is not None


def test_without_a_baseline_nothing_is_held_against_it(no_baseline: Report) -> None:
    assert not [key for key in no_baseline["metrics"] if key.startswith(("retrained", "gap", "noise_floor", "average"))]
    assert "unlearned/speedup" not in no_baseline["metrics"]


def timed(finished: Finished, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Report:
    """A report of the same run, with another `meta.json` of the unlearned model."""
    context, key = finished.context, finished.outcome.plan.unlearned.key
    entry = context.entries[key]
    entries = context.entries | {key: replace(entry, meta=entry.meta | change(entry.meta))}
    return report_of(finished, replace(finished.outcome, context=replace(context, entries=entries)))


def test_speed_up_counts_the_scores(finished: Finished) -> None:
    plan, get = finished.outcome.plan, finished.context.get
    report = timed(finished, lambda meta: {"seconds": 2.0})
    (score,) = plan.unlearned.scores
    cost = get(score).seconds + 2.0
    assert report["metrics"]["unlearned/seconds"] == pytest.approx(cost)
    assert report["statistics"]["unlearned/seconds"]["keys"] == [score.key, plan.unlearned.key]
    retrained = [get(model).seconds for model in plan.retrained]
    assert report["metrics"]["retrained/seconds"] == pytest.approx(fmean(retrained))
    assert report["metrics"]["unlearned/speedup"] == pytest.approx(fmean(seconds / cost for seconds in retrained))


def test_every_score_has_a_name_of_its_own(finished: Finished) -> None:
    plan = finished.outcome.plan
    (score,) = plan.unlearned.scores
    wanted = [(score.need.statistic.name, Subset.FORGET), *product(SQUARES, (Subset.TRAIN, Subset.FORGET))]
    needs = [Need(GradientStatistic(name), subset) for name, subset in wanted]
    scores = tuple(replace(score, need=need) for need in needs)
    named = name_stages(replace(plan, unlearned=replace(plan.unlearned, scores=scores)))
    assert [stage for name, stage in named.items() if name.startswith("scores")] == list(scores)
    assert {"scores", "scores_train", "scores_forget", "scores_train_4", "scores_forget_5"} <= set(named)


@pytest.mark.parametrize("other", [{"threads": 64}, {"cpu": "another"}, {"device": "a GPU"}])
def test_speed_up_is_null_on_other_hardware(finished: Finished, other: dict[str, Any]) -> None:
    report = timed(finished, lambda meta: {"hardware": meta["hardware"] | other})
    assert report["metrics"]["unlearned/speedup"] is None
    assert "different hardware" in report["notes"]["unlearned/speedup"]


def test_the_report_says_where_each_model_was_computed(finished: Finished) -> None:
    report = timed(finished, lambda meta: {"hardware": meta["hardware"] | {"device": "a GPU"}})
    assert report["artifacts"]["unlearned"]["hardware"]["device"] == "a GPU"
    assert report["artifacts"]["original"]["hardware"]["device"] == "cpu"
    assert "unlearned on a GPU" in report["notes"]["hardware"]
    assert "</code> on a GPU</dd>" in render(report, Examples())
    assert "hardware" not in timed(finished, lambda meta: {})["notes"]


def test_edited_parameters_are_counted(report: Report) -> None:
    assert report["edited_parameters"] == round(0.1 * report["total_parameters"])


def test_seeds_and_choices_are_reported(report: Report) -> None:
    assert report["seeds"] == {"split": 0, "train": 0, "unlearn": 0, "evaluate": 0, "baseline": [0, 1]}
    assert report["choices"] == {"strategy": "top_k"}
    assert report["config"]["dataset"]["limit"] == 300


def test_marked_data_are_announced(report: Report, finished: Finished, run: Run) -> None:
    assert "marked by SPD-GAN" in report["notes"]["spd_gan"]
    unmarked = report_of(run(finished.store, "spd_gan=off", "baseline=none", "metrics=without_baseline"))
    assert "spd_gan" not in unmarked["notes"]


def table(report: Report) -> str:
    stream = io.StringIO()
    show(report, stream)
    return stream.getvalue()


def test_the_table_has_its_rows_and_columns(report: Report) -> None:
    text = table(report)
    rows = ("forget accuracy", "1 - forget (UA)", "retain accuracy", "test accuracy", "forgetting rate")
    rows += ("clean forget", "memory retention", "unlearning degree", "attack AUC")
    assert all(word in text for word in (*rows, "seconds", "speed-up", "JS to retrained"))
    assert all(column in text for column in ("original", "retrained", "unlearned", "gap", "floor"))
    assert f"{report['metrics']['unlearned/test_accuracy']:.3f}" in text
    assert f"average gap to retrained models {report['metrics']['average_gap']:.3f}, between retrained models" in text
    assert "retrained models: 2" in text
    assert report["notes"]["spd_gan"].split(".")[0] in text
    assert max(map(len, text.splitlines())) <= 80


def test_gaps_without_an_interval_are_named(report: Report) -> None:
    text = " ".join(table(report).split())
    names = text.partition("gaps without an interval, since they are not means over samples: ")[2]
    assert names.startswith("forgetting rate, memory retention")
    assert report["statistics"]["gap/test_accuracy"]["interval"]


def test_unlearning_accuracy_is_printed_beside_forget_accuracy(report: Report) -> None:
    lines = table(report).splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("  forget accuracy"))
    forget, unlearning = lines[at], lines[at + 1]
    assert "1 - forget (UA)" in unlearning
    assert f"{report['metrics']['original/forget_accuracy']:.3f}" in forget
    assert f"{1 - report['metrics']['original/forget_accuracy']:.3f}" in unlearning


def test_a_table_without_a_baseline_leaves_its_columns_empty(no_baseline: Report) -> None:
    text = table(no_baseline)
    assert "retrained models: 0" in text
    assert "average gap" not in text
    assert "speed-up" not in text


def test_one_retrained_model_has_no_spread(one_seed: Report) -> None:
    assert "±" not in table(one_seed)
    assert "between retrained models" not in table(one_seed)
    assert "retrained models: 1;" in table(one_seed)


def test_zero_has_no_sign(report: Report) -> None:
    even = report | {"metrics": report["metrics"] | {"gap/forget_accuracy": 0.0}}
    assert "-0.000" not in table(even)


def test_an_attack_that_sees_no_difference_says_so(report: Report) -> None:
    low, high = report["statistics"]["gap/mia_logistic_auc"]["original"]["interval"]
    assert ("attack" in report["notes"]) == (low <= 0 <= high)
    assert ("cannot distinguish" in " ".join(table(report).split())) == (low <= 0 <= high)


def test_the_verdict_in_the_report_is_the_one_on_the_page_and_below_the_table(report: Report) -> None:
    assert report["verdict"] == verdict(report)
    text = " ".join(table(report).split())
    assert all(line in text for answer in report["verdict"].values() for line in answer["lines"])


def test_curves_are_of_every_model_and_attack_that_ranks(report: Report) -> None:
    """As many points as counts of mistakes, rising to 1, and their areas are the AUCs."""
    assert set(report["curves"]) == {"mia_logistic"}
    curves = report["curves"]["mia_logistic"]
    assert [(model["role"], model["seed"]) for model in curves["models"]] == [
        ("original", 0),
        ("retrained", 0),
        ("retrained", 1),
        ("unlearned", 0),
    ]
    assert curves["members"] + curves["non_members"] == report["statistics"]["original/mia_logistic_auc"]["n"]
    for model in curves["models"]:
        assert len(model["tpr"]) == len(curves["fpr"])
        assert model["tpr"] == sorted(model["tpr"])
        assert (curves["fpr"][0], model["tpr"][-1]) == (0, 1)
        reading = next(
            reading["value"]
            for reading in report["statistics"][f"{model['role']}/mia_logistic_auc"]["readings"]
            if reading["seed"] == model["seed"]
        )
        assert np.trapezoid(model["tpr"], curves["fpr"]) == pytest.approx(reading, abs=0.03)


def test_shadow_models_are_among_the_artifacts(finished: Finished, run: Run) -> None:
    asked = "attacks=[lira]", "attacks.lira.models=4", "attacks.lira.bootstrap=100"
    found = report_of(run(finished.store, *asked))
    assert [name for name in found["artifacts"] if name.startswith("shadow")] == [f"shadow_{n}" for n in range(4)]
    assert found["judged_by"] == ["forget_accuracy", "mia_lira_auc"]
    assert set(found["curves"]) == {"mia_lira"}
    assert "4 shadow models" in render(found, Examples())


def test_scores_name_their_model(finished: Finished) -> None:
    (score,) = finished.outcome.plan.unlearned.scores
    assert score.label == "score mean_gradient on forget of original (seed 0)"
    assert score.label in finished.console


@pytest.mark.parametrize("k", [0.5, 1.0])
def test_a_wrecked_net_reads_destroyed(finished: Finished, run: Run, k: float) -> None:
    """Noise a hundred times as large as the weights, in half of them or in all, and no repair to speak of."""
    wreck = ["strategy=random_k", "strategy.mode=add", "strategy.noise_scale=100", "strategy.recipe.lr=1e-9"]
    ruined = run(finished.store, *wreck, f"strategy.k={k}", "strategy.js_weight=0")
    answers = assemble(ruined.outcome, config.to_plain_dict(ruined.composed), {})["verdict"]
    assert answers["utility"]["finding"] == "destroyed"
    assert answers["forgotten"]["finding"] == "not_judged"
