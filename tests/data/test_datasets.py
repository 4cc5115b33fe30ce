"""Data sets: shape, bytes, normalisation, and what is said when the files are not there."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unlearn.core.errors import DataError, Problem
from unlearn.core.plugins import find_options
from unlearn.core.types import Images
from unlearn.core.validation import problems
from unlearn.data.datasets.base import Dataset
from unlearn.data.datasets.digits import Digits
from unlearn.data.datasets.published import Cifar10, Cifar100, FashionMnist, Mnist, Published, Svhn, fine_names
from unlearn.data.datasets.python import PythonDataset
from unlearn.data.population import Population

ALL = list(find_options("unlearn.data.datasets", Dataset).values())


def parts(dataset: Dataset) -> tuple[Images, Images]:
    contents = dataset.load()
    assert isinstance(contents.train, Images)
    assert isinstance(contents.test, Images)
    return contents.train, contents.test


def test_digits_are_bytes_of_the_announced_shape() -> None:
    for part, n in zip(parts(Digits()), (1437, 360), strict=True):
        assert part.images.shape == (n, 1, 8, 8)
        assert (part.images.dtype, part.labels.dtype, part.index.dtype) == (torch.uint8, torch.int64, torch.int64)
        assert part.index.tolist() == list(range(n))
        assert sorted(part.labels.unique().tolist()) == list(range(10))


def test_digits_levels_are_rounded_to_bytes() -> None:
    from sklearn.datasets import load_digits

    train, test = parts(Digits())
    levels = {round(v * 255 / 16) for v in range(17)}
    found = torch.cat([train.images, test.images])
    assert set(found.unique().tolist()) == levels
    assert (found.min(), found.max()) == (0, 255)
    bundle = load_digits()
    expected = np.round(bundle.images * 255 / 16).astype(np.uint8).reshape(-1, 64)
    assert sorted(map(bytes, found.flatten(1).numpy())) == sorted(map(bytes, expected))  # each image once


def test_digits_normalisation_is_that_of_the_training_part() -> None:
    pixels = parts(Digits())[0].images.double() / 255
    assert pixels.mean().item() == pytest.approx(Digits.normalisation[0][0], abs=0.01)
    assert pixels.std().item() == pytest.approx(Digits.normalisation[1][0], abs=0.01)


def test_limit_keeps_the_first_of_the_training_part() -> None:
    """Loading reads all, so that one store can pin it; who takes part is the population's."""
    assert len(Digits(limit=50).load().train) == 1437
    drawn = torch.cat(Population(Digits(limit=50), seed=0).draw()[:3])
    assert drawn.sort().values.tolist() == list(range(50))


@pytest.mark.parametrize(("limit", "good"), [(None, True), (20, True), (1437, True), (19, False), (1438, False)])
def test_limit_has_a_range(limit: int | None, good: bool) -> None:
    found = [problem.key for problem in Digits(limit=limit).check() if isinstance(problem, Problem)]
    assert found == ([] if good else ["dataset.limit"])


def test_something_must_be_left_to_train_on() -> None:
    assert [p.key for p in problems(Digits(validation=0.5, holdout=0.5), "dataset")] == ["dataset.holdout"]


def test_somebody_is_always_set_aside() -> None:
    assert Digits(limit=20, validation=0.01, holdout=0.01).held_out_sizes == (1, 1)
    assert Digits(limit=200).held_out_sizes == (20, 30)
    assert Mnist().held_out_sizes == (3000, 6000)


@pytest.mark.parametrize("kind", ALL)
def test_class_constants_agree(kind: type[Dataset]) -> None:
    mean, std = kind().normalisation
    assert len(mean) == len(std) == kind().shape[0]
    assert all(0 < value < 1 for value in (*mean, *std))
    assert [*problems(kind(**({"factory": "own_data:digits"} if kind is PythonDataset else {})))] == []


class Grey:
    """What torchvision's MNIST looks like from outside, with three images."""

    def __init__(self, root: str, train: bool, download: bool) -> None:
        self.seen = (root, train, download)
        n = 3 if train else 2
        self.data: Any = torch.arange(n * 28 * 28).view(n, 28, 28).to(torch.uint8)
        self.targets: Any = torch.arange(n)


class Colour(Grey):
    """CIFAR10: NumPy, channels last, labels in a list."""

    def __init__(self, root: str, train: bool, download: bool) -> None:
        super().__init__(root, train, download)
        n = len(self.targets)
        self.data = np.arange(n * 32 * 32 * 3).reshape(n, 32, 32, 3).astype(np.uint8)
        self.targets = self.targets.tolist()


@pytest.mark.parametrize(("kind", "fake"), [(Mnist, Grey), (FashionMnist, Grey), (Cifar10, Colour)])
def test_published_sets_come_as_bytes_channels_first(
    monkeypatch: pytest.MonkeyPatch, kind: type[Published], fake: type[Grey]
) -> None:
    monkeypatch.setattr(f"torchvision.datasets.{kind.torchvision_name}", fake)
    for part, train in zip(parts(kind(root="here")), (True, False), strict=True):
        original = fake("here", train, False)
        assert part.images.shape == (len(original.targets), *kind.shape)
        assert part.images.dtype == torch.uint8
        assert part.images.is_contiguous()
        assert part.labels.dtype == torch.int64
        assert part.labels.tolist() == list(original.targets)
        channels_last = torch.as_tensor(original.data).reshape(len(part), *kind.shape[1:], -1)
        assert torch.equal(part.images, channels_last.permute(0, 3, 1, 2))


def test_root_and_download_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Grey] = []
    monkeypatch.setattr("torchvision.datasets.MNIST", lambda **told: made.append(Grey(**told)) or made[-1])
    Mnist(root="here", download=True).load()
    assert [each.seen for each in made] == [("here", True, True), ("here", False, True)]


@pytest.mark.parametrize("kind", [Mnist, FashionMnist, Cifar10])
def test_missing_files_are_told_with_the_way_out(tmp_path: Path, kind: type[Published]) -> None:
    with pytest.raises(DataError) as caught:
        kind(root=str(tmp_path)).load()
    words = ("dataset.root", "dataset.download=true", str(tmp_path), kind.torchvision_name)
    assert all(word in str(caught.value) for word in words)


def test_a_failed_download_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(**_: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.datasets.MNIST", offline)
    with pytest.raises(DataError, match="no route to host"):
        Mnist(download=True).load()


def lay_down(folder: Path, content: bytes) -> None:
    """The four files of MNIST as torchvision keeps them, all with this content."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (raw / f"{part}-{kind}-ubyte").write_bytes(content)


def test_truncated_files_are_told(tmp_path: Path) -> None:
    lay_down(tmp_path, struct.pack(">iiii", 0x803, 60_000, 28, 28) + b"12345")
    with pytest.raises(DataError, match=r"dataset\.root"):
        Mnist(root=str(tmp_path)).load()


@pytest.mark.parametrize("content", [b"", b"junk"])
def test_files_of_junk_are_told(tmp_path: Path, content: bytes) -> None:
    lay_down(tmp_path, content)
    with pytest.raises(DataError, match=r"dataset\.root"):
        Mnist(root=str(tmp_path)).load()


class Hundred(Colour):
    """CIFAR100: fine labels only."""

    def __init__(self, root: str, train: bool, download: bool) -> None:
        super().__init__(root, train, download)
        self.targets = [98, 69, 0][: len(self.targets)]  # woman, rocket, apple


def test_the_superclasses_are_twenty_of_five() -> None:
    names = fine_names()
    assert [*names] == sorted(names)
    assert len(names) == 100
    assert torch.bincount(torch.tensor([*names.values()])).tolist() == [5] * 20
    # As the files of the data set have it, for some classes by their number.
    published = {0: 4, 1: 1, 2: 14, 8: 18, 23: 10, 42: 8, 69: 19, 98: 14, 99: 13}
    assert {number: [*names.values()][number] for number in published} == published


def test_coarse_labels_keep_the_fine_ones_as_subclasses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.CIFAR100", Hundred)
    fine, coarse = (Cifar100(root="here", labels=labels) for labels in ("fine", "coarse"))
    assert (fine.classes, coarse.classes) == (100, 20)
    assert fine.load().train.labels.tolist() == [98, 69, 0]
    assert fine.load().subclass is None
    contents = coarse.load()
    assert contents.train.labels.tolist() == [14, 19, 4]
    assert contents.test.labels.tolist() == [14, 19]
    assert contents.subclass is not None
    assert contents.subclass.tolist() == [98, 69, 0]
    assert coarse.subclasses[69] == "rocket"
    assert fine.subclasses == ()
    assert fine.pin != coarse.pin


class Numbers:
    """SVHN: channels first, `labels`, and a split by name."""

    def __init__(self, root: str, split: str, download: bool) -> None:
        n = {"train": 3, "test": 2}[split]
        self.data = np.arange(n * 3 * 32 * 32).reshape(n, 3, 32, 32).astype(np.uint8)
        self.labels = np.arange(n)


def test_svhn_is_read_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.SVHN", Numbers)
    train, test = parts(Svhn(root="here"))
    assert torch.equal(train.images, torch.from_numpy(Numbers("", "train", False).data))
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 1, 2], [0, 1])
    assert train.labels.dtype == torch.int64


@pytest.mark.parametrize("kind", [Cifar100, Svhn])
def test_files_of_the_new_sets_are_missed_likewise(tmp_path: Path, kind: type[Published]) -> None:
    with pytest.raises(DataError, match=r"dataset\.root: expected .* set dataset\.download=true"):
        kind(root=str(tmp_path)).load()
