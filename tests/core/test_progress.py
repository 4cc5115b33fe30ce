"""Bars on a terminal, one above the other; plain lines elsewhere."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
import time
from typing import Any

import pytest

from unlearn.core.progress import Console, reading
from unlearn.core.task import Task, format_duration
from unlearn.core.terminal import escape_control


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_cells_are_printed_as_plain_lines_without_a_terminal() -> None:
    stream = io.StringIO()
    with Console(stream).overall(4) as show:
        show(0, 0, 0)
        show(1, 0, 0)
        show(1, 0, 0)  # nothing new
        show(2, 1, 2)
    first, last = stream.getvalue().splitlines()
    assert first.startswith("cells: 1 of 4, 1 done; about 0 s left")
    assert last == "cells: 4 of 4, 2 done, 1 of them reused, 2 failed"


def test_the_bar_of_all_cells_is_shown_with_that_of_the_current_stage() -> None:
    stream = Terminal()
    with Console(stream).overall(4) as show, Console(stream).working("train original") as tick:
        Console(stream).say("resumed at epoch 3")
        tick(3, 20)
        show(2, 1, 1)
        time.sleep(0.3)  # bars are drawn ten times a second
    last = stream.getvalue()
    assert "resumed at epoch 3\n" in last
    assert "cells: 2 done, 1 of them reused, 1 failed" in last
    assert "3/4" in last
    assert "train original" in last
    assert "3/20" in last


def test_a_long_task_prints_lines_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    start = time.monotonic()
    with Console(stream).working("train original") as tick:
        tick(0, 20, unit="epoch")  # too early for a line
        for seconds in (4, 8, 40):
            monkeypatch.setattr(time, "monotonic", lambda now=start + seconds: now)
            tick(seconds / 4, 20, unit="epoch", values={"loss": 0.5, "lr": 0.1})
    first, last = stream.getvalue().splitlines()  # after two seconds, and then every thirty
    assert first == "  train original               epoch 1/20, loss 0.5, lr 0.1, 4 s/epoch, 76 s left"
    assert last == "  train original               epoch 10/20, loss 0.5, lr 0.1, 4 s/epoch, 40 s left"


@pytest.mark.parametrize(
    ("ticks", "expected"),
    [
        (
            [(2, 36, {"item": "accuracy of unlearned (seed 0)"})],
            "2/36 accuracy of unlearned (seed 0), 0.2/s, 3 min left",
        ),
        ([(11, 20, {"unit": "epoch", "begin": 10})], "epoch 11/20, 10 s/epoch, 2 min left"),  # resumed at epoch 10
        ([(1, 2, {"unit": "epoch"}), (50, 100, {"unit": "step"})], "step 50/100, 5 steps/s, 10 s left"),  # two phases
        ([(1, 2, {"values": {"loss": 0.5}}), (1.25, 2, {})], "1.2/2, loss 0.5, 0.0625/s, 12 s left"),  # within an epoch
        ([(0, 7, {})], "0/7"),
    ],
)
def test_what_a_task_reports(
    ticks: list[tuple[float, int, dict[str, Any]]], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = time.monotonic()
    task = Task("task", started=start, updated=start)
    for number, (done, total, details) in enumerate(ticks, start=1):
        monkeypatch.setattr(time, "monotonic", lambda now=start + 10 * number: now)
        task.update(done, total, **details)
    assert task.describe() == expected


def test_large_numbers_of_images_are_announced_by_commands_only(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    with reading(10_000) as tick:  # a library call: no console
        tick(5_000, 10_000)
    monkeypatch.setattr("unlearn.core.progress._consoles", [Console(stream)])
    for count in (100, 10_000):
        with reading(count) as tick:
            tick(count // 2, count)
    assert stream.getvalue() == "  reading 10,000 images\n"


def test_nothing_is_drawn_without_a_terminal_or_a_label() -> None:
    stream = io.StringIO()
    with Console(stream).working("train original") as tick:
        tick(1, 2)
    assert stream.getvalue() == ""
    terminal = Terminal()
    with Console(terminal).working(None) as tick:
        tick(1, 2)
    assert terminal.getvalue() == ""


@pytest.mark.parametrize(("seconds", "expected"), [(3.2, "3 s"), (89, "89 s"), (150, "2 min"), (9000, "2.5 h")])
def test_durations_are_rounded_for_reading(seconds: float, expected: str) -> None:
    assert format_duration(seconds) == expected


HARDENED = """
import sys
from unlearn.core.terminal import harden_output
harden_output()
print("0.5 ± 0.1 – \\udce9 字")
for _ in range(20000):
    print("x" * 20)
print("done", file=sys.stderr)
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_accepts_every_text_and_a_closed_pipe(unbuffered: str) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUNBUFFERED": unbuffered}
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(HARDENED)} | head -n 1"
    done = subprocess.run(command, shell=True, env=environment, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "0.5 +- 0.1 - ? ?\n"
    assert done.stderr == "done\n"


def test_control_and_direction_characters_are_escaped() -> None:
    assert escape_control("a\x1b[2J\r\u202eb\nc\té") == "a\\x1b[2J\\r\\u202eb\nc\té"
