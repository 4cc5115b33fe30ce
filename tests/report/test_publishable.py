"""No place on this machine is named in what leaves it."""

from __future__ import annotations

from pathlib import Path

import pytest

from unlearn.core.errors import DataError, DivergenceError
from unlearn.report.publishable import (
    publishable,
    publishable_error,
    publishable_report,
    without_classes,
    without_records,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/jane doe/photos", "…/photos"),
        ("dataset.root=/home/jane doe/photos", "dataset.root=…/photos"),
        (
            "dataset.root: expected a folder, came '/home/jane/photos'",
            "dataset.root: expected a folder, came '…/photos'",
        ),
        ("no such file: ~/jane/x.pt (and /srv/jane/y.pt)", "no such file: …/x.pt (and …/y.pt)"),
        (f"damaged: {Path.cwd()}/artifacts/train/ab", "damaged: …/artifacts/train/ab"),
        (f"{Path.home()}/x", "…/x"),
        ("came file:///home/jane/x, or ~jane/photos/x.png", "came …/x, or …/x.png"),
        ("came '/home/jane doe/a b.png', '/x'", "came '…/a b.png', '…/x'"),
        (r"came \\srv\share\x", "came …/x"),
        (r"came C:\Users\jane\x.pt", "came …/x.pt"),
        ("unlearned/forget_accuracy", "unlearned/forget_accuracy"),
        ("photos/train, a fraction in (0, 1), forget / retain", "photos/train, a fraction in (0, 1), forget / retain"),
        ("https://arxiv.org/abs/2401.04385", "https://arxiv.org/abs/2401.04385"),
    ],
)
def test_of_a_path_the_last_name_is_kept(text: str, expected: str) -> None:
    assert publishable({"a": [text, 1, None]}) == {"a": [expected, 1, None]}


def test_a_report_keeps_what_was_computed_and_drops_where() -> None:
    config = {"seed": 1, "paths": {"store": "/scratch/jane"}, "cluster": {"partition": "ours"}}
    command = "unlearn -m seed=1 paths.store=s cluster=slurm cluster.partition=ours hydra/launcher=joblib +paths.x=1"
    found = publishable_report({"metrics": {"average_gap": 0.1}, "config": config, "command": command})
    assert found == {"metrics": {"average_gap": 0.1}, "config": {"seed": 1}, "command": "unlearn -m seed=1"}


def test_no_path_of_a_list_leaves_unless_asked_for() -> None:
    config = {"forget": {"file": "requests/jane.csv"}, "checkpoint": {"trained_on": "all"}}
    told = {
        "metrics": {},
        "config": config,
        "command": "unlearn forget.file=requests/jane.csv checkpoint.trained_on=a.txt",
    }
    found = publishable_report(told)
    assert found["config"] == {"forget": {"file": "(withheld)"}, "checkpoint": {"trained_on": "all"}}
    assert "jane" not in found["command"]
    assert "a.txt" not in found["command"]
    assert publishable_report(told, lists=True)["config"] == config


RECORD = DataError("dataset.root: expected a readable image, came cat/jane_007.png: truncated")
LIST = DataError("forget.file: expected a list of records, got line 3 in requests/jane.csv")


@pytest.mark.parametrize(
    ("error", "records", "public", "told"),
    [
        (RECORD, None, False, "DataError: dataset.root"),
        (RECORD, None, True, str(RECORD)),
        (RECORD, False, True, "DataError: dataset.root"),
        (RECORD, True, False, str(RECORD)),
        (LIST, None, True, "DataError: forget.file"),
        (LIST, True, False, str(LIST)),
        (DivergenceError("unlearned: the loss was nan"), None, False, "unlearned: the loss was nan"),
        (KeyError("jane_007.png"), None, False, "KeyError"),
    ],
)
def test_a_failure_names_no_record_unless_it_may(
    error: Exception, records: bool | None, public: bool, told: str
) -> None:
    assert publishable_error(error, records, public) == told


def test_names_of_records_are_taken_out_of_texts() -> None:
    notes = {"notes": {"left": "cat/jane 7.png remains in test, and jane 7.png", "n": 3}}
    assert without_records(notes, {"cat/jane 7.png"}) == {
        "notes": {"left": "(withheld) remains in test, and (withheld)", "n": 3}
    }


def test_names_of_classes_are_taken_out_of_config_command_and_notes() -> None:
    told = {
        "config": {"forget": {"class_index": "jane doe", "share": 0.1}, "seed": 3},
        "command": "unlearn forget=class_wise 'forget.class_index=jane doe' +forget.subclass=7,ann seed=3",
        "notes": {"checkpoint": "output 3 is jane doe, output 1 is 7; janette stays", "split": "3 of ann"},
        "metrics": {"unlearned/forget_accuracy": 0.5},
    }
    found = without_classes(told, {"jane doe", "ann", "7"})
    assert found == {
        "config": {"forget": {"class_index": "(withheld)", "share": 0.1}, "seed": 3},
        "command": "unlearn forget=class_wise 'forget.class_index=(withheld)' '+forget.subclass=(withheld)' seed=3",
        "notes": {"checkpoint": "output 3 is (withheld), output 1 is 7; janette stays", "split": "3 of (withheld)"},
        "metrics": {"unlearned/forget_accuracy": 0.5},
    }
    assert without_classes(told, ()) == told | {"command": without_classes(told, ())["command"]}
    assert without_classes({"config": {"forget": {"class_index": 3}}}, {"cat"})["config"]["forget"] == {
        "class_index": 3
    }
