"""The page of a run: complete, self-contained, escaped, and of the report's numbers alone."""

from __future__ import annotations

import copy
import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from specs import check, on_page

from unlearn import config
from unlearn.report.assemble import BINS, assemble
from unlearn.report.charts.bundle import vega
from unlearn.report.charts.theme import ROLES
from unlearn.report.page import render
from unlearn.report.pictures import Example, Examples, examples
from unlearn.report.table import COLUMNS, rows
from unlearn.report.verdict import verdict
from unlearn.stages.files import read_predictions

if TYPE_CHECKING:
    from conftest import Finished, Run

Report = dict[str, Any]
CHOICES = {"dataset": "digits", "strategy": "top_k", "forget": "random", "spd_gan": "marker"}
SECTIONS = ["table", "accuracy", "confidence", "curves", "examples", "generator", "timings", "provenance"]
HOSTILE = "<script>alert('x')</script>\"&{{ 7 * 7 }}"
VOID = {"meta", "link", "img", "br"}


class Outline(HTMLParser):
    """Reads a page: its tags with attributes, its text by tag, and whether every element is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.texts.append((self.open[-1], data))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]

    def text(self, *tags: str) -> str:
        return " ".join(text for tag, text in self.texts if not tags or tag in tags)


def report_of(run: Finished) -> Report:
    """As a reader gets it: from the file."""
    found: Report = json.loads(json.dumps(assemble(run.outcome, config.to_plain_dict(run.composed), CHOICES)))
    return found


@pytest.fixture(scope="module")
def report(finished: Finished) -> Report:
    return report_of(finished)


@pytest.fixture(scope="module")
def page(finished: Finished, report: Report) -> str:
    return render(report, examples(finished.config, finished.outcome))


@pytest.fixture(scope="module")
def one_seed(finished: Finished, run: Run) -> Report:
    return report_of(run(finished.store, "baseline=retrain"))


@pytest.fixture(scope="module")
def no_baseline(finished: Finished, run: Run) -> Report:
    return report_of(run(finished.store, "baseline=none", "metrics=without_baseline", "spd_gan=off"))


def test_it_has_its_parts_in_order(page: str, report: Report) -> None:
    outline = Outline(page)
    assert [section["id"] for section in outline.of("section")] == SECTIONS
    assert len(on_page(page)) == 1 + 2 + 3 + 1 + 4 + 1
    for answer in verdict(report).values():
        assert answer["answer"] in outline.text("p")
        assert all(line in outline.text("li") for line in answer["lines"])
    assert report["notes"]["spd_gan"] in outline.text("p")
    assert outline.text("h1") == "Forgetting 22 of 225 images of digits with top_k"


def test_it_needs_nothing_but_itself(page: str) -> None:
    outline = Outline(page)
    assert not [tag for tag, _ in outline.found if tag in {"iframe", "object", "base", "form"}]
    assert not [script for script in outline.of("script") if "src" in script]
    assert all((image["src"] or "").startswith("data:image/png;base64,") for image in outline.of("img"))
    assert [link["href"] for link in outline.of("link")] == ["data:,"]
    assert not re.search(r"https?:|url\(|@import|\bon\w+=", page.replace(vega(), ""))
    assert len(page) < 800_000


def test_every_chart_is_one_that_vega_lite_takes(page: str) -> None:
    first, *_ = [check(spec) for spec in on_page(page)]
    assert first["description"] == "The three models in the metrics that decide"


def test_every_metric_of_the_table_is_defined(page: str) -> None:
    outline = Outline(page)
    metrics = [text for tag, text in outline.texts if tag == "abbr"]
    assert {"gap", "floor", "forget accuracy", "attack AUC", "JS to retrained", "speed-up"} <= set(metrics)
    terms = [text for tag, text in outline.texts if tag == "dt"]
    assert {"noise floor", "AUC", "forgetting rate"} <= set(terms)
    assert "FR = (A(theta_0, D_f) - A(theta, D_f)) / A(theta_0, D_f)" in outline.text("dd")


def test_the_table_is_the_printed_one(page: str, report: Report) -> None:
    cells = [text for tag, text in Outline(page).texts if tag in {"td", "th"} or tag == "abbr"]
    expected = ["original", "retrained", "unlearned", "gap", "floor", "n"]
    for metric, name, texts in rows(report):
        n = report["statistics"].get(f"original/{metric}", {}).get("n")
        expected += [name.strip(), *(text.replace("± ", "±\u00a0") for text in texts if text), *([str(n)] if n else [])]
    assert cells == expected


@pytest.mark.parametrize("name", ["report", "one_seed", "no_baseline"])
def test_every_null_of_the_table_has_its_reason_in_print(name: str, request: pytest.FixtureRequest) -> None:
    found: Report = request.getfixturevalue(name)
    outline = Outline(render(found, Examples()))
    null = [
        found["notes"][f"{column}/{metric}"]
        for metric, _, _ in rows(found)
        for column in COLUMNS
        if f"{column}/{metric}" in found["metrics"] and found["metrics"][f"{column}/{metric}"] is None
    ]
    reasons = list(dict.fromkeys(null))
    assert [text for tag, text in outline.texts if tag == "sup"] == [str(reasons.index(reason) + 1) for reason in null]
    assert all(reason in outline.text("li") for reason in reasons)
    assert bool(null) == (name == "one_seed") or name == "report"


def test_cells_tell_every_reading(page: str, report: Report) -> None:
    tips = [cell["title"] for cell in Outline(page).of("td") if "title" in cell]
    first, second = report["statistics"]["retrained/test_accuracy"]["readings"]
    lines = [
        f"seed {r['seed']}: {r['value']:.4f} (standard error {r['standard_error']:.4f}), n 360" for r in (first, second)
    ]
    assert "\n".join(lines) in tips
    assert any(tip and "95 %" in tip for tip in tips)


def test_without_a_baseline_it_has_less(no_baseline: Report) -> None:
    page = render(no_baseline, Examples())
    outline = Outline(page)
    assert [section["id"] for section in outline.of("section")] == [
        s for s in SECTIONS if s not in ("examples", "generator")
    ]
    assert "Without a retrained model there are no gaps" in page
    assert "baseline=retrain" in outline.text("li")
    assert "The three models in the metrics that decide" not in page
    assert "No model was retrained to compare that with" in outline.text("p")


def test_one_retrained_model_has_no_band(one_seed: Report) -> None:
    page = render(one_seed, Examples())
    assert "There is no band" in page
    (band,) = (layer for layer in on_page(page)[0]["layer"] if layer["mark"]["type"] == "rect")
    assert band["data"]["values"] == []
    assert "±" not in Outline(page).text("td", "text")


def test_a_run_that_measured_nothing_has_a_page(report: Report) -> None:
    """metrics and attacks may all be switched off."""
    timed = {key: value for key, value in report["metrics"].items() if key.endswith(("/seconds", "/speedup"))}
    page = render(report | {"metrics": timed, "confidence": {}, "notes": {}}, Examples())
    assert "No accuracy was measured" in page
    assert "Not measured" in Outline(page).text("p")


def test_why_pictures_are_left_out(report: Report) -> None:
    assert "not today" in Outline(render(report, Examples(why="not today"))).text("p")


def hostile(value: Any) -> Any:
    """The same with a hostile tail on every text and every name that a user may choose."""
    if isinstance(value, dict):
        return {f"{key}{HOSTILE}": hostile(item) for key, item in value.items()}
    if isinstance(value, list):
        return [hostile(item) for item in value]
    return value + HOSTILE if isinstance(value, str) else value


def test_whatever_comes_from_users_is_escaped(report: Report) -> None:
    bad = copy.deepcopy(report)
    bad["config"], bad["hardware"], bad["versions"] = (hostile(bad[key]) for key in ("config", "hardware", "versions"))
    bad["command"] += HOSTILE
    bad["choices"] = {name: option + HOSTILE for name, option in bad["choices"].items()}
    bad["notes"] |= {"spd_gan": HOSTILE, "gap/forget_accuracy": HOSTILE}
    bad["metrics"]["gap/forget_accuracy"] = None
    bad["artifacts"] = {name + HOSTILE: part for name, part in bad["artifacts"].items()}
    page = render(bad, Examples(why=HOSTILE))
    outline = Outline(page)
    assert len(outline.of("script")) == len(on_page(page)) + 3  # colours, Vega and ours
    for tag in ("h1", "p", "li", "pre", "dt", "title"):
        assert HOSTILE in outline.text(tag), tag


def test_pictures_are_captioned(report: Report) -> None:
    shown, control = (Example(3, 17, *(f"data:image/png;base64,{name}" for name in names)) for names in ("abc", "def"))
    outline = Outline(render(report, Examples((shown,), 2.5, control=(control,), caption="PGD, ε = 0.1")))
    assert [image["src"] for image in outline.of("img")] == [f"data:image/png;base64,{name}" for name in "abcdef"]
    assert "(PGD, ε = 0.1)" in outline.text("p")
    assert "that no model was trained on" in outline.text("p")
    assert "class 3 · index 17" in outline.text("figcaption")
    assert "times 2.5 around grey" in outline.text("p")


def test_provenance_is_whole(page: str, report: Report) -> None:
    outline = Outline(page)
    assert [text for tag, text in outline.texts if tag == "code"][1:] == [
        p["key"] for p in report["artifacts"].values()
    ]
    command, resolved = (text for tag, text in outline.texts if tag == "pre")
    assert command == report["command"]
    assert json.loads(resolved) == report["config"]


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({}, "times as long"),
        ({"unlearned/speedup": 0.5}, "only 0.50 times as long"),
        ({"unlearned/speedup": None}, "No speed-up is given: other machine."),
    ],
)
def test_times_are_compared_where_they_can_be(report: Report, metrics: dict[str, Any], words: str) -> None:
    timed = {"metrics": report["metrics"] | metrics, "notes": report["notes"] | {"unlearned/speedup": "other machine"}}
    assert words in Outline(render(report | timed, Examples())).text("p")


def test_reused_stages_are_hollow(report: Report) -> None:
    parts = {name: part | {"status": "reused"} for name, part in report["artifacts"].items()}
    timings = on_page(render(report | {"artifacts": parts}, Examples()))[-1]
    assert [row["status"] for row in timings["layer"][0]["data"]["values"]] == ["reused"] * len(parts)


def test_confidence_is_counted_in_the_report(report: Report, finished: Finished) -> None:
    """Against NumPy, from the stored predictions; the first retrained model stands for both."""
    for role, subsets in report["confidence"].items():
        assert list(subsets) == ["forget", "retain", "test"]
        for subset, counts in subsets.items():
            stage = next(
                reading.stage.subject.predictions[subset]
                for reading in finished.outcome.plan.evaluations
                if reading.role == role and subset in reading.stage.subject.predictions and reading.seed == 0
            )
            found = read_predictions(finished.context.get(stage))
            logits = found.logits.double().numpy()
            odds = np.exp(logits - logits.max(1, keepdims=True))
            truth = (odds / odds.sum(1, keepdims=True))[np.arange(len(logits)), found.labels.numpy()]
            assert counts == np.histogram(truth, BINS, (0, 1))[0].tolist()
            assert sum(counts) == len(logits)
    assert set(report["confidence"]) == set(ROLES)


def test_curves_are_drawn_with_what_cannot_be_read(page: str, report: Report) -> None:
    (chart,) = (spec for spec in on_page(page) if "ROC" in spec["description"])
    models = dict.fromkeys(row["model"] for row in chart["layer"][-1]["data"]["values"])
    assert sorted(models) == ["original, seed 0", "retrained, seed 0", "retrained, seed 1", "unlearned, seed 0"]
    curves = report["curves"]["mia_logistic"]
    assert f"{curves['members']} members, {curves['non_members']} non-members" in Outline(page).text("p")


def test_a_report_without_curves_says_so(report: Report) -> None:
    old = {name: part for name, part in report.items() if name not in ("curves", "verdict")}
    assert "No curve was kept" in render(old, Examples())
