"""Someone arrives with a trained resnet18, a folder of images and files to forget: at toy size, by command."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import unlearn
from conftest import write_images

from unlearn.config import CommandLine, preflight, quote_paths
from unlearn.core.errors import ConfigError

REQUEST = ["train/digit0/0.png", "train/digit1/3.png", "train/digit2/5.png"]
COMMAND = [
    *("checkpoint=resnet18.pt", "checkpoint.trained_on=all", "model=torchvision", "model.name=resnet18"),
    *("dataset=image_folder", "dataset.root=photos", "forget=indices", "forget.file=request.txt"),
]
TOY = ["train.epochs=1", "strategy.recipe.epochs=1", "spd_gan.steps=2", "attacks.logistic.bootstrap=100"]
TOY += ["dataset.size_px=8", "train.batch_size=16", "trainer.threads=1"]


def train_elsewhere(root: Path, file: Path) -> None:
    """As a user would, without a line of ours: torchvision's folder, transforms and net."""
    from torchvision.datasets import ImageFolder
    from torchvision.models import resnet18
    from torchvision.transforms import v2

    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    steps = [v2.ToImage(), v2.Resize(8), v2.CenterCrop(8), v2.ToDtype(torch.float32, scale=True)]
    data = ImageFolder(root / "train", v2.Compose([*steps, v2.Normalize(mean, std)]))
    torch.manual_seed(0)
    net = resnet18(num_classes=len(data.classes))
    optimizer = torch.optim.SGD(net.parameters(), 0.02, momentum=0.9)
    images, labels = torch.stack([image for image, _ in data]), torch.tensor(data.targets)
    for _ in range(30):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()
    torch.save(net.state_dict(), file)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the photos, the model and the request."""
    folder = tmp_path_factory.mktemp("desk")
    write_images(folder / "photos", n=20)
    train_elsewhere(folder / "photos", folder / "resnet18.pt")
    (folder / "request.txt").write_text("# by mail\n" + "\n".join(REQUEST) + "\n")
    return folder


@pytest.fixture(scope="module")
def answered(desk: Path) -> tuple[Path, str]:
    """The folder after one run into `outputs`, and what the console showed."""
    done = unlearn(*COMMAND, *TOY, "paths.output=outputs", cwd=desk)
    assert done.returncode == 0, done.stderr
    return desk, done.stdout


@pytest.mark.slow
def test_three_models_numbers_and_the_page(answered: tuple[Path, str]) -> None:
    desk, console = answered
    assert "(resnet18.pt) that was trained elsewhere" in " ".join(console.split())
    report: dict[str, Any] = json.loads((desk / "outputs" / "report.json").read_text())
    metrics = report["metrics"]
    assert metrics["original/retain_accuracy"] > 0.8  # read, normalised and numbered as where it was trained
    for role in ("original", "retrained", "unlearned"):
        for subset in ("forget", "retain", "test"):
            assert 0 <= metrics[f"{role}/{subset}_accuracy"] <= 1
    assert report["statistics"]["original/forget_accuracy"]["n"] == 3
    page = (desk / "outputs" / "report.html").read_text()
    assert "trained elsewhere" in page
    assert "not from a public data set" in page  # nobody's photo leaves unasked
    assert "data:image/png" not in page


@pytest.mark.slow
def test_the_deployed_net_has_the_accuracy_of_the_report(
    answered: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import safetensors.torch
    import torchvision
    from torchvision.transforms import v2

    desk, console = answered
    assert console.splitlines()[-1].endswith("outputs/unlearned.safetensors")
    to_pixels = v2.Compose([v2.ToImage(), v2.Resize(8), v2.CenterCrop(8), v2.ToDtype(torch.float32, scale=True)])
    data = torchvision.datasets.ImageFolder(desk / "photos/train", to_pixels)
    rows = [
        row
        for row, (path, _) in enumerate(data.samples)
        if Path(path).relative_to(desk / "photos").as_posix() in REQUEST
    ]
    names = {"torch": torch, "torchvision": torchvision, "safetensors": safetensors}
    names["images"] = torch.stack([data[row][0] for row in rows])
    page = (Path(__file__).parents[1] / "docs/own-model.md").read_text()
    (code,) = re.findall(r"## Deploy it.*?```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(desk)
    exec(code, names)
    accuracy = (names["logits"].argmax(1) == torch.tensor(data.targets)[rows]).double().mean().item()
    report = json.loads((desk / "outputs/report.json").read_text())
    assert accuracy == pytest.approx(report["metrics"]["unlearned/forget_accuracy"])


@pytest.mark.slow
def test_pictures_are_shown_when_asked_for(desk: Path) -> None:
    done = unlearn(*COMMAND, *TOY, "paths.output=shown", "report.images=true", cwd=desk)
    assert done.returncode == 0, done.stderr
    page = (desk / "shown" / "report.html").read_text()
    assert page.count("data:image/png") == 3 * (len(REQUEST) + 1)  # one is of holdout, moved alike


def test_checkpoint_is_short_for_the_options_it_stands_for() -> None:
    assert quote_paths(["checkpoint=a.pt", "seed=1"]) == ["checkpoint=file", "checkpoint.file=a.pt", "seed=1"]
    assert quote_paths(["-m", "checkpoint=a.pt,b.pt"]) == ["-m", "checkpoint=file", "checkpoint.file=a.pt,b.pt"]
    assert quote_paths(["checkpoint=epoch=9-step=100.ckpt"])[1] == "checkpoint.file='epoch=9-step=100.ckpt'"
    assert quote_paths(["checkpoint=runs/it's (1).pt"])[1] == r"checkpoint.file='runs/it\'s (1).pt'"
    same = ["checkpoint=none", "checkpoint=mine", "checkpoint=file", "checkpoint.file=a.pt", "a.pt"]
    assert quote_paths(same) == same


# What is wrong is told in one line before anything is computed


def wrong_architecture(desk: Path) -> list[str]:
    return ["model.name=resnet34"]


def wrong_class_count(desk: Path) -> list[str]:
    shutil.rmtree(desk / "photos/train/digit2")
    shutil.rmtree(desk / "photos/test/digit2")
    (desk / "request.txt").write_text("\n".join(REQUEST[:2]))
    return []


def foreign_records(desk: Path) -> list[str]:
    (desk / "request.txt").write_text("train/digit0/999.png\n")
    return []


def foreign_indices(desk: Path) -> list[str]:
    (desk / "request.txt").write_text("500\n")
    return []


def never_trained_on(desk: Path) -> list[str]:
    (desk / "members.txt").write_text("\n".join(f"digit1/{i}.png" for i in range(20)))
    return ["checkpoint.trained_on=members.txt"]


def empty_folder(desk: Path) -> list[str]:
    shutil.rmtree(desk / "photos")
    (desk / "photos").mkdir()
    return []


def one_class_only(desk: Path) -> list[str]:
    for name in ("digit1", "digit2"):
        shutil.rmtree(desk / "photos/train" / name)
    return []


class Touch:
    """What would leave a trace if it were unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.trace,)


def pickle_payload(desk: Path) -> list[str]:
    torch.save({"fc.weight": Touch(desk / "trace")}, desk / "resnet18.pt")
    return []


def damaged_checkpoint(desk: Path) -> list[str]:
    whole = (desk / "resnet18.pt").read_bytes()
    (desk / "resnet18.pt").write_bytes(whole[: len(whole) // 2])
    return []


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (wrong_architecture, ["checkpoint", "expected the tensors of this net", "layer1.2.conv1.weight"]),
        (wrong_class_count, ["checkpoint", "fc.weight [3, 512] instead of [2, 512]", "3 classes, the data set 2"]),
        (foreign_records, ["forget.file", "records of the training part", "train/digit0/999.png"]),
        (foreign_indices, ["forget.file", "indices from 0 to 59", "500"]),
        (never_trained_on, ["forget.file", "checkpoint.trained_on"]),
        (empty_folder, ["dataset.root", "train/<class>/<image>", "without train"]),
        (one_class_only, ["dataset.root", "two or more classes", "only digit0"]),
        (pickle_payload, ["checkpoint", "objects or code", "not run"]),
        (damaged_checkpoint, ["checkpoint", "a damaged one"]),
    ],
)
def test_a_bad_path_is_one_line(
    desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], list[str]], words: list[str]
) -> None:
    here = shutil.copytree(desk, tmp_path / "desk", ignore=shutil.ignore_patterns("artifacts", "outputs", "shown"))
    monkeypatch.chdir(here)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    changed = spoil(here)
    keys = {override.partition("=")[0] for override in changed}
    kept = [override for override in COMMAND if override.partition("=")[0] not in keys]
    with pytest.raises(ConfigError) as caught:
        preflight(CommandLine(quote_paths([*kept, *changed, *TOY]), False, None))
    line = caught.value.problems[0]
    assert all(word in line for word in words), line
    assert "\n" not in line
    assert not (here / "trace").exists()


@pytest.mark.parametrize("name", ["epoch=9-step=100.ckpt", "my (1).pt", "it's [2].pt", "ümlaut.pt"])
def test_a_checkpoint_may_have_any_name(desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    here = shutil.copytree(desk, tmp_path / "desk", ignore=shutil.ignore_patterns("artifacts", "outputs", "shown"))
    (here / "resnet18.pt").rename(here / name)
    monkeypatch.chdir(here)
    preflight(CommandLine(quote_paths([f"checkpoint={name}", *COMMAND[1:], *TOY]), False, None))


def test_what_a_checkpoint_was_trained_on_must_be_told(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)
    told = [override for override in COMMAND if "trained_on" not in override]
    with pytest.raises(ConfigError, match=re.escape("checkpoint.trained_on: expected a value")):
        preflight(CommandLine(quote_paths(told), False, None))


def test_an_unreadable_image_ends_the_run_in_one_line(desk: Path, tmp_path: Path) -> None:
    here = shutil.copytree(desk, tmp_path / "desk", ignore=shutil.ignore_patterns("artifacts", "outputs", "shown"))
    (here / "photos/train/digit1/7.png").write_bytes(b"no image")
    done = unlearn(*COMMAND, *TOY, cwd=here)
    assert done.returncode == 2
    *_, line = done.stderr.splitlines()
    assert (
        "dataset.root: expected readable images, got '1 of 66 files unreadable: train/digit1/7.png (not an im" in line
    )
    assert "digit1/7.png" in line
    assert "Traceback" not in done.stderr
