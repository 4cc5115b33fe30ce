"""Three successive requests on a folder of images, by command: each goes on from the model of the one before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import own_net
import pytest
import torch
from commands import run_command, unlearn
from conftest import write_images
from safetensors import safe_open
from safetensors.torch import load_file

pytestmark = pytest.mark.slow
CLASSES, MEMBERS = 3, 80  # the net is trained on so many records of each class
REQUESTS = [[f"train/digit{c}/{i}.png" for c in range(CLASSES) for i in range(r * 20, r * 20 + 20)] for r in range(3)]
NORMALISATION = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
COMMAND = [
    *("model=python", "model.factory=own_net:build", "dataset=image_folder", "dataset.root=photos"),
    *("dataset.size_px=8", "forget=indices", "spd_gan=off", "baseline.seeds=[0]", "train.epochs=2"),
    *("strategy=finetune", "strategy.recipe.epochs=1", "metrics=accuracy", "attacks=logistic"),
    *("report.html=false", "logger=none", "attacks.logistic.bootstrap=100"),
]


def train_elsewhere(root: Path, members: list[str], file: Path) -> None:
    """Train a net with torch and torchvision alone, and save its state dict behind the prefix of data parallel."""
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    steps = [v2.ToImage(), v2.Resize(8), v2.CenterCrop(8), v2.ToDtype(torch.float32, scale=True)]
    data = ImageFolder(root / "train", v2.Compose([*steps, v2.Normalize(*NORMALISATION)]))
    rows = [row for row, (path, _) in enumerate(data.samples) if str(Path(path).relative_to(root)) in members]
    images, labels = torch.stack([data[row][0] for row in rows]), torch.tensor(data.targets)[rows]
    torch.manual_seed(0)
    net = own_net.build((3, 8, 8), CLASSES)
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()
    torch.save({f"module.{name}": tensor for name, tensor in net.state_dict().items()}, file)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos, a model, three requests and the three runs that answered them."""
    folder = tmp_path_factory.mktemp("desk")
    write_images(folder / "photos", n=110)
    members = [f"train/digit{c}/{i}.png" for c in range(CLASSES) for i in range(MEMBERS)]
    (folder / "members.txt").write_text("\n".join(members))
    train_elsewhere(folder / "photos", members, folder / "net.pt")
    again = REQUESTS[0][:2]  # asked for twice
    for number, records in enumerate((REQUESTS[0], REQUESTS[1] + again, REQUESTS[2]), start=1):
        (folder / f"request{number}.txt").write_text("\n".join(records) + "\n")
    sources = ("net.pt", "runs/1", "runs/2/unlearned.safetensors")
    for number, source in enumerate(sources, start=1):
        more = ["checkpoint.trained_on=members.txt"] if number == 1 else []
        words = (f"checkpoint={source}", f"forget.file=request{number}.txt", f"paths.output=runs/{number}", *more)
        done = unlearn(*COMMAND, *words, cwd=folder)
        assert done.returncode == 0, done.stderr
        (folder / f"console{number}.txt").write_text(done.stdout)
    return folder


def ledger_command(desk: Path, *words: str) -> str:
    done = run_command("unlearn.cli.ledger", *words, cwd=desk)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def report_of(desk: Path, number: int) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((desk / "runs" / str(number) / "report.json").read_text())
    return report


def split_of(desk: Path, number: int) -> dict[str, torch.Tensor]:
    key = report_of(desk, number)["artifacts"]["split"]["key"]
    tensors: dict[str, torch.Tensor] = load_file(desk / "artifacts" / "split" / key / "split.safetensors")
    return tensors


def test_earlier_records_are_in_no_subset_of_later_runs(desk: Path) -> None:
    first, second, third = (split_of(desk, number) for number in (1, 2, 3))
    earlier = torch.cat([first["forget"], second["forget"]]).sort().values
    assert len(earlier) == 120
    assert third["earlier"].tolist() == earlier.tolist()
    subsets = {
        name: indices for name, indices in third.items() if name in ("forget", "retain", "validation", "holdout")
    }
    assert {"forget", "retain"} <= set(subsets)
    assert not any(torch.isin(earlier, indices).any() for indices in subsets.values())
    assert len(third["forget"]) + len(third["retain"]) == CLASSES * MEMBERS - 120
    assert "earlier" not in first


def test_the_report_asks_whether_earlier_requests_are_still_forgotten(desk: Path) -> None:
    metrics, statistics = (report_of(desk, 3)[part] for part in ("metrics", "statistics"))
    for role in ("original", "retrained", "unlearned"):
        assert 0 <= metrics[f"{role}/earlier_forget_accuracy"] <= 1
        assert 0 <= metrics[f"{role}/mia_earlier_auc"] <= 1
        assert statistics[f"{role}/earlier_forget_accuracy"]["n"] == 120
    assert metrics["gap/earlier_forget_accuracy"] is not None
    before = report_of(desk, 2)["metrics"]["unlearned/earlier_forget_accuracy"]
    assert 0 <= before <= 1
    assert "unlearned/earlier_forget_accuracy" not in report_of(desk, 1)["metrics"]
    assert "earlier requests" in (desk / "console3.txt").read_text()


def test_requests_records_and_seconds_are_counted_over_all_runs(desk: Path) -> None:
    second, third = (report_of(desk, number)["requests"] for number in (2, 3))
    assert (second["count"], second["records"], second["earlier_records"], second["already_forgotten"]) == (
        2,
        120,
        60,
        2,
    )
    assert (third["count"], third["records"], third["earlier_records"], third["already_forgotten"]) == (3, 180, 120, 0)
    seconds = [report_of(desk, number)["metrics"]["unlearned/seconds"] for number in (1, 2, 3)]
    assert third["seconds"] == pytest.approx(sum(seconds))
    assert "requests" not in report_of(desk, 1)


def test_a_record_asked_for_twice_is_reported_in_one_line(desk: Path) -> None:
    note = report_of(desk, 2)["notes"]["already_forgotten"]
    assert note.startswith(
        "Already forgotten by an earlier request: 2 of the records of forget.file (line 61, line 62)"
    )
    assert "Already forgotten" in (desk / "console2.txt").read_text()


def test_the_console_ends_with_the_exported_weights(desk: Path) -> None:
    assert (desk / "console1.txt").read_text().splitlines()[-1].endswith("/runs/1/unlearned.safetensors")


def test_exported_weights_have_the_names_of_the_checkpoint_that_came_in(desk: Path) -> None:
    came_in = torch.load(desk / "net.pt", weights_only=True)  # noqa: TID251  # what the user's torch saved
    for number in (1, 2, 3):
        exported = load_file(desk / "runs" / str(number) / "unlearned.safetensors")
        assert {n: (t.shape, t.dtype) for n, t in exported.items()} == {
            n: (t.shape, t.dtype) for n, t in came_in.items()
        }
    with safe_open(desk / "runs/3/unlearned.safetensors", "pt") as file:
        metadata = file.metadata()
    assert (metadata["requests"], metadata["records"]) == ("3", "180")
    assert "digit" not in str(metadata)


def test_a_ledger_shows_that_each_request_went_on_from_the_model_before(desk: Path) -> None:
    for number in (1, 2, 3):
        ledger_command(desk, "add", f"runs/{number}")
    assert "2 requests went on from the model of the request before" in ledger_command(desk, "verify")
    for number in (1, 2):  # of the second, two records were forgotten by the first
        words = ("--request", f"request{number}.txt", "dataset=image_folder", "dataset.root=photos")
        listed = ledger_command(desk, "list", *words, "dataset.size_px=8")
        assert [line.split()[0] for line in listed.splitlines()[1:]] == [str(number)]
    assert "digit" not in (desk / "ledger.jsonl").read_text()


def export(desk: Path, *words: str) -> Path:
    done = run_command("unlearn.cli.store", "export", *words, cwd=desk)
    assert done.returncode == 0, done.stderr
    return desk / done.stdout.strip()


def test_the_store_exports_every_model_of_a_run_later(desk: Path) -> None:
    written = load_file(desk / "runs/2/unlearned.safetensors")
    again = load_file(export(desk, "runs/2", "--to", "later/net.safetensors"))
    assert all(torch.equal(again[name], tensor) for name, tensor in written.items())
    key = report_of(desk, 2)["artifacts"]["unlearned"]["key"]
    as_pt = torch.load(export(desk, key[:12], "--to", "net2.pt"), weights_only=True)  # noqa: TID251  # as a user does
    assert all(torch.equal(as_pt[name], tensor) for name, tensor in written.items())
    original = load_file(export(desk, "runs/2", "--role", "original", "--to", "original.safetensors"))
    first = load_file(desk / "runs/1/unlearned.safetensors")
    assert all(torch.equal(original[name], tensor) for name, tensor in first.items())
    words = ("runs/2/report.json", "--role", "retrained", "--seed", "0", "--to", "retrained.safetensors")
    assert load_file(export(desk, *words)).keys() == written.keys()


def test_exported_pt_files_are_read_again_with_their_history(desk: Path) -> None:
    from unlearn.stages.lineage import find_lineage

    export(desk, "runs/3", "--to", "third.pt")
    lineage = find_lineage(desk / "third.pt", desk / "artifacts")
    assert lineage is not None
    assert (lineage.requests, lineage.records) == (3, 180)
    assert lineage.split is not None
    away = find_lineage(desk / "third.pt", desk / "another store")
    assert away is not None
    assert (away.key, away.records, away.split) == (lineage.key, 180, None)


def test_without_its_store_an_exported_model_needs_the_lists_of_earlier_requests(desk: Path) -> None:
    words = ("checkpoint=runs/1/unlearned.safetensors", "checkpoint.trained_on=all", "forget.file=request2.txt")
    done = unlearn(*COMMAND, *words, "paths.store=elsewhere", "paths.output=refused", cwd=desk)
    assert done.returncode == 2
    assert "forget.earlier: expected lists with the 60 records that the checkpoint has forgotten" in done.stderr
