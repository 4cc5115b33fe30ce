"""No place on this machine is named in what leaves it."""

from __future__ import annotations

from pathlib import Path

import pytest

from unlearn.report.publishable import publishable, publishable_report


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
        ("photos/train, a share in (0, 1), forget / retain", "photos/train, a share in (0, 1), forget / retain"),
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
