"""Every experiment runs at toy size on data in the real file format; the contributor's example works as printed."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits

ROOT = Path(__file__).resolve().parents[1]
TOY = [
    *("train.epochs=1", "spd_gan.steps=3", "strategy.recipe.epochs=1"),
    *("baseline.seeds=[0]", "attacks.logistic.bootstrap=100"),
]
# `stream` writes another report: tests/test_request_stream.py runs it.
EXPERIMENTS = sorted({path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml")} - {"stream"})
OWN_DATA = ("dataset=python", "dataset.factory=own_data:pairs", "dataset.size_px=16", "dataset.workers=0")
IN_PLACE = {  # replaces data of which torchvision checks the hash, and a net that takes minutes
    "cifar10_table": (*OWN_DATA, "model=cnn"),
    "cifar10_fast": (*OWN_DATA, "model.widths=[8,8,8]"),
}


def write_mnist(root: Path, n: int) -> None:
    """Write files in the format of MNIST, filled with enlarged digits."""
    bundle = load_digits()
    images = torch.nn.functional.interpolate(torch.from_numpy(bundle.images)[:n, None], size=28)[:, 0] * 255 / 16
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        header = struct.pack(">4i", 2051, n, 28, 28)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + images.byte().numpy().tobytes())
        labels = torch.from_numpy(bundle.target[:n]).byte().numpy().tobytes()
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, n) + labels)


def unlearn(*arguments: str, cwd: Path) -> dict[str, float | None]:
    command = [sys.executable, "-m", "unlearn", *arguments, "paths.output=out"]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    metrics: dict[str, float | None] = json.loads((cwd / "out" / "report.json").read_text())["metrics"]
    return metrics


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.slow
def test_experiment_runs(experiment: str, tmp_path: Path) -> None:
    write_mnist(tmp_path / "data", 400)
    shutil.copy(ROOT / "tests" / "own_data.py", tmp_path)
    has_no_spd_gan = '/spd_gan: "off"' in (ROOT / "conf" / "experiment" / f"{experiment}.yaml").read_text()
    toy = [word for word in TOY if not (has_no_spd_gan and word.startswith("spd_gan."))]
    has_own_attacks = "/attacks: " in (ROOT / "conf" / "experiment" / f"{experiment}.yaml").read_text()
    toy = [word for word in toy if not (has_own_attacks and word.startswith("attacks."))]
    more = IN_PLACE.get(experiment, ())
    metrics = unlearn(f"+experiment={experiment}", *more, "dataset.limit=400", *toy, cwd=tmp_path)
    assert metrics["gap/forget_accuracy"] is not None
    assert metrics.get("original/forgetting_rate", 0) == 0


def test_published_data_are_read_as_torchvision_reads_them(tmp_path: Path) -> None:
    from unlearn.data.datasets.published import Mnist

    write_mnist(tmp_path, 50)
    contents = Mnist(root=str(tmp_path)).load()
    assert len(contents.train) == len(contents.test) == 50
    assert contents.train.shape == (1, 28, 28)
    assert contents.train.labels.tolist() == load_digits().target[:50].tolist()


@pytest.mark.slow
def test_the_contributors_example_works_as_printed(tmp_path: Path) -> None:
    """In a copy of the sources: the two files from docs/extending.md pass the contract, and the strategy runs."""
    for name in ("unlearn", "conf", "tests", "pyproject.toml"):
        subprocess.run(["cp", "-r", ROOT / name, tmp_path], check=True)
    text = (ROOT / "docs" / "extending.md").read_text()
    blocks = re.findall(r"`((?:unlearn|conf)/\S+)`\n\n```\w+\n(.*?)```", text, flags=re.DOTALL)
    assert [Path(name).suffix for name, _ in blocks] == [".py", ".yaml"]
    for name, content in blocks:
        (tmp_path / name).write_text(content)
    contract = [sys.executable, "-m", "pytest", "-q", "tests/strategies/test_contract.py", "-k", "sign_flip"]
    done = subprocess.run(contract, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert re.search(r"[1-9]\d* passed", done.stdout)
    metrics = unlearn("strategy=sign_flip", "strategy.part=0.5", "dataset.limit=400", *TOY[:2], cwd=tmp_path)
    assert metrics["unlearned/retain_accuracy"] is not None
    assert metrics["unlearned/retain_accuracy"] < 0.8
