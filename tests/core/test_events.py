"""Events: one JSON object per line, as docs/events.md says."""

from __future__ import annotations

import io
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from unlearn.core.events import EVENTS, EventLog
from unlearn.core.progress import Console

DOCS = Path(__file__).parents[2] / "docs" / "events.md"


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_stage_is_begun_progresses_and_is_built(tmp_path: Path) -> None:
    path = tmp_path / "new" / "events.jsonl"
    console = Console(io.StringIO(), events=EventLog(path))
    with console.working("train original", "abc") as tick:
        for epoch in range(1, 4):  # in less than a second: only the last one is written
            tick(epoch, 3, unit="epoch", values={"loss": math.nan, "lr": 0.1})
    console.done("train original", False, 0.12345, "abc")
    console.done("train retrained", True, 0.0, "def")
    begun, progress, built, reused = read(path)
    assert (begun["event"], begun["stage"], begun["key"]) == ("stage_begun", "train original", "abc")
    assert (progress["done"], progress["total"], progress["unit"]) == (3, 3, "epoch")
    assert progress["values"] == {"loss": None, "lr": 0.1}  # JSON has no NaN
    assert built["seconds"] == 0.123
    assert reused["event"] == "stage_reused"
    for event in (begun, progress, built, reused):
        assert set(event) == {"time", "event", *EVENTS[event["event"]]}
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", event["time"])


def test_a_failed_stage_names_only_the_type_of_its_error(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with pytest.raises(ValueError, match="cat"), Console(io.StringIO(), events=EventLog(path)).working("copies"):
        raise ValueError("cat.png cannot be read")
    assert read(path)[-1]["error"] == "ValueError"
    assert "cat" not in path.read_text()


def test_events_that_cannot_be_written_end_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    EventLog(tmp_path / "file" / "events.jsonl").write("stage_reused", stage="split", key="")


def test_the_documentation_lists_every_event_with_its_fields() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", DOCS.read_text(), re.MULTILINE)
    assert {event: tuple(re.findall(r"`(\w+)`", fields)) for event, fields in rows} == EVENTS
