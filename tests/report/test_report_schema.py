"""The schema of report.json: published as it is in code, true of real reports, and read as the standard says."""

from __future__ import annotations

import json
import runpy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from reports import report as handmade

from unlearn import config
from unlearn.core.json_schema import SchemaCheck
from unlearn.core.report_schema import FIELDS, SCHEMA
from unlearn.report.assemble import assemble
from unlearn.report.provenance import describe_request
from unlearn.report.publishable import publishable_report, without_classes

if TYPE_CHECKING:
    from conftest import Finished

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def report(finished: Finished) -> dict[str, Any]:
    composed = config.to_plain_dict(finished.composed)
    content: dict[str, Any] = json.loads(json.dumps(assemble(finished.outcome, composed, {"forget": "random"})))
    return content


def test_the_published_schema_is_current() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "docs" / "report_schema.py"))
    assert script["FILE"].read_text(encoding="utf-8") == script["schema_text"](), "make docs writes it"


def test_a_report_of_a_run_is_as_described(report: dict[str, Any]) -> None:
    assert set(report) <= set(FIELDS)
    assert list(SchemaCheck(SCHEMA).find_faults(report)) == []
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(report, SCHEMA)


def test_a_report_says_when_it_was_made_and_what_was_asked_for(report: dict[str, Any], finished: Finished) -> None:
    assert datetime.now(UTC) - datetime.fromisoformat(report["date"]) < timedelta(hours=1)
    request, n = report["request"], report["statistics"]["unlearned/forget_accuracy"]["n"]
    assert (request["option"], request["file"], request["forgotten"]) == ("random", None, n)
    assert len(request["forgotten_by_class"]) == finished.config.dataset.classes
    assert sum(request["forgotten_by_class"]) == n
    assert (report["weights"], report["audit"]) == ("unlearned.safetensors", None)


def test_requests_are_described_by_names_of_classes() -> None:
    request = {"option": "indices", "file": "ticket.csv", "forgotten": 3, "forgotten_by_class": [0, 2, 1]}
    told = {"request": request, "classes": ["cat", "dog", "eel"]}
    assert describe_request(told) == "indices (ticket.csv): 3 images, 2 of dog, 1 of eel"
    assert describe_request(told | {"classes": []}) == "indices (ticket.csv): 3 images, 2 of class 1, 1 of class 2"
    assert describe_request({}) == ""  # a report of an earlier version


def test_published_reports_name_neither_the_file_of_a_request_nor_classes(report: dict[str, Any]) -> None:
    private = report | {"request": report["request"] | {"file": "ticket.csv"}, "classes": ["anna", "bert"]}
    public = without_classes(publishable_report(private), ["anna", "bert"])
    assert (public["request"]["file"], public["classes"], public["weights"]) == (None, [], None)
    assert publishable_report(private, lists=True)["request"]["file"] == "ticket.csv"


@pytest.mark.parametrize("part", sorted(FIELDS))
def test_faults_are_those_that_the_standard_finds(part: str) -> None:
    check, standard = SchemaCheck(SCHEMA), jsonschema.Draft202012Validator(SCHEMA)
    for value in (None, True, 0, -1, 1.5, "", "x", [], [1], [None], {}, {"x": 1}, {"x": None}, {"x": {}}, {"x": [1]}):
        damaged = handmade() | {part: value}
        assert (next(check.find_faults(damaged), None) is None) == standard.is_valid(damaged), value
