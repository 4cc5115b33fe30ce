"""Reports that somebody damaged or forged: read or refused in words, and never obeyed by a terminal or a browser."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from reports import report, write
from verdicts import report as measured

from unlearn.report.note import FAILED, NOTE, Note
from unlearn.report.sweep.read import ReportError
from unlearn.report.sweep.summary import summarise


@pytest.mark.parametrize(
    ("part", "value", "told"),
    [
        ("metrics", {"a/b": "fast"}, 'metrics.a/b: expected a finite number or null, got "fast"'),
        ("metrics", {"a/b": float("nan")}, "metrics.a/b: expected a finite number or null, got NaN"),
        ("metrics", {"a/b": 10**400}, "metrics.a/b: expected a finite number or null, got 1000"),
        ("metrics", {"a/b": True}, "metrics.a/b: expected a finite number or null, got true"),
        ("metrics", [1], "metrics: expected an object, got a list of 1"),
        (
            "statistics",
            {"a/b": {"interval": [1]}},
            "statistics.a/b.interval: expected a list of 2 or null, got a list of 1",
        ),
        ("artifacts", {"original": {}}, "artifacts.original.key: expected a text, got nothing"),
        ("seeds", {"split": "x"}, 'seeds.split: expected an integer, got "x"'),
        ("seeds", {"baseline": [0, None]}, "seeds.baseline.1: expected an integer, got null"),
        ("choices", {"strategy": []}, "choices.strategy: expected a text, got []"),
        ("config", {"a": json.loads("[" * 90 + "]" * 90)}, "expected at most 50 levels of nesting, got more"),
        ("command", None, "command: expected a text, got null"),
        ("verdict", [], "verdict: expected an object, got []"),
        ("verdict", {"utility": 3}, "verdict.utility: expected an object, got 3"),
        ("verdict", {"forgotten": {"finding": [1]}}, "verdict.forgotten.finding: expected a text, got a list of 1"),
        ("statistics", {"average_gap": {"over": 5}}, "statistics.average_gap.over: expected a list or a text, got 5"),
        ("weights", "http://x", "weights: expected one of unlearned.safetensors, unlearned.pt, null, got"),
        (
            "statistics",
            {"a/b": {"readings": []}},
            "statistics.a/b.readings: expected a list of 1 or more, got []",
        ),
        (
            "statistics",
            {"retrained/forget_accuracy": {"readings": [{"value": None}]}},
            "statistics.retrained/forget_accuracy.readings: expected a number in each, got null",
        ),
    ],
)
def test_the_part_that_is_wrong_is_named(part: str, value: Any, told: str, tmp_path: Path) -> None:
    write(tmp_path, report() | {part: value})
    with pytest.raises(ReportError) as caught:
        summarise([tmp_path], tmp_path, io.StringIO())
    assert told in str(caught.value)
    assert "0/report.json" in str(caught.value)
    assert not (tmp_path / "sweep.md").exists()


def test_reports_that_lack_what_they_refer_to_are_refused(tmp_path: Path) -> None:
    forged = report()
    del forged["statistics"]["retrained/forget_accuracy"]
    with pytest.raises(ReportError, match="missing or contradictory parts"):
        summarise([write(tmp_path, forged)], tmp_path, io.StringIO())


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    write(tmp_path, report())
    (tmp_path / "1").mkdir()
    os.mkfifo(tmp_path / "1" / "report.json")
    os.mkfifo(tmp_path / "1" / NOTE)
    assert len(summarise([tmp_path], tmp_path, io.StringIO())) == 3


HOSTILE = "x\x1b[2J<img src=y>|![a](http://b)`"


def test_names_move_no_cursor_and_make_no_markup(tmp_path: Path) -> None:
    forged = report(strategy=HOSTILE)
    write(tmp_path, forged, report(seed=1, k=f"={HOSTILE}"))
    Note(2, [f"strategy={HOSTILE}"], FAILED, HOSTILE).write(tmp_path / "2")
    terminal = io.StringIO()
    summarise([tmp_path], tmp_path, terminal)
    page, table = (tmp_path / "sweep.html").read_text(), (tmp_path / "sweep.md").read_text()
    assert "\x1b" not in terminal.getvalue() + page + table + (tmp_path / "sweep.csv").read_text()
    assert "<img" not in page
    outside = "".join(table.replace("\\`", "").split("`")[::2])  # not in code, which shows all as it is
    assert "<img" not in outside
    assert "](http" not in outside
    rows = list(csv.DictReader((tmp_path / "sweep.csv").read_text().splitlines()))
    assert not [cell for row in rows for cell in row.values() if cell.startswith("=")]


def test_the_verdicts_counted_are_those_of_the_numbers(tmp_path: Path) -> None:
    numbers = measured(1.0, [0.40, 0.41, 0.39], 0.9)
    found = report() | {name: numbers[name] for name in ("judged_by", "chance")}
    for part in ("metrics", "statistics", "seeds"):
        found[part] = found[part] | numbers[part]
    found["verdict"] = {"forgotten": {"finding": "forgotten"}, "utility": {"finding": "kept"}}
    summarise([write(tmp_path, found)], tmp_path, io.StringIO())
    text = (tmp_path / "sweep.md").read_text()
    assert "Of 1 runs: 1 not forgotten; utility 1 unmeasured." in text
    assert "1 forgotten" not in text
    assert "kept" not in text


def test_numbers_that_no_verdict_can_be_read_off_are_refused(tmp_path: Path) -> None:
    numbers = measured(1.0, [0.40, 0.41], 0.9)
    numbers["statistics"]["gap/forget_accuracy"]["original"] = None
    found = report() | {"judged_by": ["forget_accuracy"]}
    found |= {part: found[part] | numbers[part] for part in ("metrics", "statistics", "seeds")}
    with pytest.raises(ReportError, match="missing or contradictory parts"):
        summarise([write(tmp_path, found)], tmp_path, io.StringIO())
