"""One's own images: folders and Python functions, in memory and streamed, and what is wrong with them."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_images
from PIL import Image

from unlearn.core.errors import DataError
from unlearn.core.types import Images, ImageSource
from unlearn.data.augmentation import Augmentation
from unlearn.data.datasets import fingerprint as fingerprints
from unlearn.data.datasets.fingerprint import digests, fingerprint
from unlearn.data.datasets.image_folder import ImageFolder
from unlearn.data.datasets.own import fit
from unlearn.data.datasets.python import PythonDataset
from unlearn.data.loaders import Loader
from unlearn.data.stream import Stream


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images", n=8)


def pixels(source: ImageSource) -> torch.Tensor:
    return torch.cat(list(source.batches(torch.split(torch.arange(len(source)), 5))))


def complaints(dataset: ImageFolder | PythonDataset) -> str:
    return "\n".join(map(str, dataset.check()))


# What is read


@pytest.mark.parametrize(("size", "channels"), [(8, 3), (8, 1), (16, 3), (5, 1)])
def test_a_folder_is_read_as_torchvision_reads_it(folder: Path, size: int, channels: int) -> None:
    from torchvision.datasets import ImageFolder as Reference
    from torchvision.transforms import v2

    contents = ImageFolder(root=str(folder), size_px=size, channels=channels).load()
    as_grey = [v2.Lambda(lambda image: image.convert("L"))] if channels == 1 else []
    steps = [*as_grey, v2.PILToTensor(), v2.Resize(size, antialias=True), v2.CenterCrop(size)]
    for part, source in (("train", contents.train), ("test", contents.test)):
        reference = Reference(folder / part, v2.Compose(steps))
        assert source.labels.tolist() == reference.targets
        assert torch.equal(pixels(source), torch.stack([image for image, _ in reference]))
        assert source.index.tolist() == list(range(len(reference)))
        assert source.shape == (channels, size, size)


def test_images_of_the_right_size_are_not_touched() -> None:
    image = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8)
    assert fit(image, 3, 8) is image
    assert torch.equal(fit(image[:1], 3, 8), image[:1].expand(3, 8, 8))


@pytest.mark.parametrize("shape", [(9, 40), (40, 9)])
def test_long_images_are_cropped_at_the_centre(shape: tuple[int, int]) -> None:
    """A long white image with a black middle, which alone is seen."""
    image = torch.full((1, *shape), 255, dtype=torch.uint8)
    image[:, shape[0] // 2 - 4 : shape[0] // 2 + 5, shape[1] // 2 - 4 : shape[1] // 2 + 5] = 0
    assert fit(image, 1, 9).float().mean() < 30


@pytest.mark.parametrize("bad", [torch.zeros(3, 8, 8), torch.zeros(4, 8, 8).byte(), torch.zeros(8).byte()])
def test_what_is_no_image_is_refused(bad: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="not bytes of one or three channels"):
        fit(bad, 3, 8)


def test_streaming_gives_the_same_bytes_batches_and_draws(folder: Path) -> None:
    held, streamed = (
        ImageFolder(root=str(folder), size_px=12, memory_limit=limit, workers=2).load().train for limit in (4096, 0)
    )
    assert isinstance(held, Images)
    assert isinstance(streamed, Stream)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    loaders = [Loader(source, 5, 0, "train", Augmentation(2, True)) for source in (held, streamed)]
    for one, other in zip(*(loader.batches(3) for loader in loaders), strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
    assert torch.equal(torch.get_rng_state(), state)  # dropout draws what it would have drawn


def test_a_stream_can_be_cut_relabelled_and_replaced(folder: Path) -> None:
    dataset = ImageFolder(root=str(folder), size_px=6, workers=0)
    held, streamed = (replace(dataset, memory_limit=limit).load().train for limit in (4096, 0))
    chosen, new = torch.tensor([2, 3, 7, 11, 20]), torch.randint(0, 256, (2, 3, 6, 6), dtype=torch.uint8)
    cut = [
        source.relabelled(torch.arange(24)).take(chosen).replaced(torch.tensor([3, 11]), new)
        for source in (held, streamed)
    ]
    assert torch.equal(pixels(cut[0]), pixels(cut[1]))
    assert torch.equal(pixels(cut[1])[[1, 3]], new)
    assert cut[0].labels.tolist() == cut[1].labels.tolist() == chosen.tolist()
    assert cut[0].index.tolist() == cut[1].index.tolist() == chosen.tolist()


def test_a_limit_takes_some_of_every_class(tmp_path: Path) -> None:
    dataset = ImageFolder(root=str(write_images(tmp_path / "more", n=60)), limit=40)
    labels = dataset.load().train.labels[dataset.records]
    assert len(dataset.records) == 40
    assert set(labels.tolist()) == {0, 1, 2}


def test_deeper_folders_are_subclasses(tmp_path: Path) -> None:
    dataset = ImageFolder(root=str(write_images(tmp_path / "nested", nested=True)))
    contents = dataset.load()
    assert dataset.subclasses == tuple(f"digit{d}/half{h}" for d in range(3) for h in range(2))
    assert contents.subclass is not None
    assert torch.equal(contents.subclass // 2, contents.train.labels)
    assert ImageFolder(root=str(write_images(tmp_path / "flat"))).subclasses == ()


def test_nested_folders_are_numbered_as_torchvision_numbers_them(tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder as Reference

    for name in ("c0/z", "c0/cat/1", "c0/cat-tabby/1", "c0/cat/deep/2", "c1/10", "c1/9", "c1/A"):
        for part in ("train", "test"):
            path = tmp_path / part / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4)).save(path)
    (tmp_path / "train" / "c1" / "folder.png").mkdir()
    dataset, reference = ImageFolder(root=str(tmp_path)), Reference(tmp_path / "train")
    names = [Path(name).relative_to(tmp_path / "train").as_posix() for name, _ in reference.samples]
    assert [dataset.find(name) for name in names] == list(range(7))


def test_records_are_found_by_any_of_their_paths(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    link = folder.with_name("link")
    link.symlink_to(folder)
    for root in (folder.name, str(folder), "link"):
        dataset = ImageFolder(root=root)
        names = ("digit1/3.png", "train/digit1/3.png", str(folder.resolve() / "train/digit1/3.png"))
        names += (f"{root}/train/digit1/3.png", str(folder.parent / root / "train/digit1/3.png"))
        assert [dataset.find(name) for name in names] == [11] * 5
    assert dataset.find("digit1/99.png") is None
    assert dataset.find("test/digit1/8.png") is None


def test_files_of_other_kinds_and_hidden_ones_are_passed_over(folder: Path) -> None:
    before = ImageFolder(root=str(folder)).train_size
    (folder / "train" / "notes.txt").write_text("x")
    (folder / "train" / "digit0" / "Thumbs.db").write_text("x")
    (folder / "train" / "digit0" / ".hidden.png").write_text("x")
    (folder / "train" / ".cache").mkdir()
    copied = shutil.copytree(folder, folder.with_name("copy"))
    assert ImageFolder(root=str(copied)).train_size == before
    assert ImageFolder(root=str(copied)).classes == 3


# What is in the key


def test_the_fingerprint_tells_contents_and_names_but_not_places(folder: Path) -> None:
    def key(root: Path) -> object:
        return ImageFolder(root=str(root)).identity()

    before = key(folder)
    assert key(shutil.copytree(folder, folder.with_name("moved"))) == before
    renamed = shutil.copytree(folder, folder.with_name("renamed"))
    (renamed / "train/digit0/0.png").rename(renamed / "train/digit0/zero.png")
    changed = shutil.copytree(folder, folder.with_name("changed"))
    shutil.copy(changed / "train/digit0/1.png", changed / "train/digit0/0.png")
    assert len({str(before), str(key(renamed)), str(key(changed))}) == 3


def test_files_are_read_once_until_they_change(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names, train = ("digit0/0.png", "digit1/1.png"), str(folder / "train")

    def forget_all() -> None:
        """As a new process."""
        fingerprint.cache_clear()
        digests.cache_clear()

    first = fingerprint(train, names)
    forget_all()
    read: list[Path] = []
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path) or b"")
    assert fingerprint(train, names) == first
    assert read == []
    forget_all()
    os.utime(folder / "train" / names[0], ns=(1, 1))
    assert fingerprint(train, names) != first
    assert len(read) == 2
    forget_all()


def test_a_cache_that_cannot_be_written_costs_only_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "_cache", lambda: Path("/proc/nowhere"))
    assert len(fingerprint(str(folder / "train"), ("digit0/0.png",))) == 64


# What is wrong


def empty(root: Path) -> None:
    shutil.rmtree(root / "train")
    (root / "train").mkdir()


def one_class(root: Path) -> None:
    for name in ("digit1", "digit2"):
        shutil.rmtree(root / "train" / name)


def empty_class(root: Path) -> None:
    (root / "train" / "digit9").mkdir()


def strange_test_class(root: Path) -> None:
    shutil.copytree(root / "test" / "digit0", root / "test" / "other")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (shutil.rmtree, ["train/<class>/<image>", "no folder"]),
        (empty, ["no class folder"]),
        (one_class, ["two or more classes", "only digit0"]),
        (empty_class, ["an image in every class folder", "digit9"]),
        (strange_test_class, ["test classes among those of train: digit0, digit1, digit2", "'other'"]),
    ],
)
def test_a_bad_folder_is_told_in_one_line(folder: Path, spoil: object, words: list[str]) -> None:
    spoil(folder)  # type: ignore[operator]
    found = complaints(ImageFolder(root=str(folder)))
    assert all(word in found for word in words), found
    assert all(line.startswith("dataset.root: expected") for line in found.splitlines())


@pytest.mark.parametrize("limit", [4096, 0])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("content", [b"", b"junk", b"\x89PNG\r\n\x1a\n"])
def test_an_unreadable_image_is_named_in_one_line(folder: Path, content: bytes, workers: int, limit: int) -> None:
    (folder / "train/digit1/2.png").write_bytes(content)
    with pytest.raises(DataError) as caught:
        pixels(ImageFolder(root=str(folder), memory_limit=limit, workers=workers).load().train)
    assert str(caught.value).startswith("dataset.root: expected a readable image, got ")
    assert "digit1/2.png" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_image_is_unreadable(folder: Path) -> None:
    path = folder / "train/digit1/2.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(
        path.with_suffix(".jpg")
    )
    whole = path.with_suffix(".jpg").read_bytes()
    path.with_suffix(".jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"digit1/2\.jpg"):
        ImageFolder(root=str(folder), workers=0).load()


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"mean": [0.5]}, "mean"),
        ({"mean": [123.7, 116.3, 103.5]}, "mean"),
        ({"mean": [-0.1, 0.5, 0.5]}, "mean"),
        ({"std": [0.5, 0.5, 0.0]}, "std"),
        ({"std": [0.5, 0.5, 58.4]}, "std"),
        ({"channels": 1, "std": [0.1, 0.1, 0.1]}, "std"),
    ],
)
def test_normalisation_needs_a_number_a_channel(settings: dict[str, object], key: str) -> None:
    assert [problem.key for problem in ImageFolder(**settings).problems("dataset")] == [f"dataset.{key}"]  # type: ignore[arg-type, union-attr]


def test_black_and_white_are_within_the_units() -> None:
    assert list(ImageFolder(mean=[0.0, 1.0, 0.5], std=[1.0, 1.0, 1e-6]).problems("dataset")) == []


# Python functions


def test_pictures_of_any_size_come_as_bytes() -> None:
    dataset = PythonDataset(factory="own_data:digits", size_px=10, workers=0)
    contents = dataset.load()
    assert (dataset.classes, dataset.train_size, dataset.test_size) == (3, 60, 30)
    assert contents.train.shape == (3, 10, 10)
    assert pixels(contents.train).dtype == torch.uint8
    streamed = replace(dataset, memory_limit=0).load().train
    assert torch.equal(pixels(streamed), pixels(contents.train))


def test_pairs_of_arrays_are_taken_as_they_are() -> None:
    from sklearn.datasets import load_digits

    contents = PythonDataset(factory="own_data:pairs", size_px=8, channels=1, workers=0).load()
    bundle = load_digits()
    expected = (bundle.images * 255 / 16).astype("uint8")
    assert torch.equal(pixels(contents.test)[:, 0], torch.from_numpy(expected[1000:]))
    assert contents.train.labels.tolist() == bundle.target[:1000].tolist()


def test_arguments_are_passed_on_and_named_in_the_pin() -> None:
    one, other = (PythonDataset(factory="own_data:digits", arguments={"n": n}) for n in (30, 40))
    assert (one.train_size, other.train_size) == (30, 40)
    assert one.pin != other.pin


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return 1", ["a training and a test part"]),
        ("raise OSError('disk')", ["OSError: disk", "line 2"]),
        ("return ([], []), ([], [])", ["images in the training and the test part"]),
        (
            "return (np.zeros((3, 8, 8), 'uint8'), [0, 0, 0]), (np.zeros((3, 8, 8), 'uint8'), [0, 0, 0])",
            ["two or more"],
        ),
        ("return (np.zeros((3, 8, 8), 'uint8'), [0, 1, 3]), (np.zeros((3, 8, 8), 'uint8'), [0, 1, 0])", ["0 to C - 1"]),
        (
            "return (np.zeros((3, 8, 8), 'uint8'), [0, 1, 1]), (np.zeros((3, 8, 8), 'uint8'), [0, 1, 2])",
            ["from 0 to 1"],
        ),
        (
            "return (np.zeros((3, 8, 8), 'uint8'), [0.5, 1, 1]), (np.zeros((3, 8, 8), 'uint8'), [0, 1, 2])",
            ["one integer"],
        ),
    ],
)
def test_a_bad_function_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, words: list[str]
) -> None:
    name = f"bad_{abs(hash(body))}"
    (tmp_path / f"{name}.py").write_text(f"def make():\n    import numpy as np; {body}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (found,) = complaints(PythonDataset(factory=f"{name}:make")).splitlines()
    assert found.startswith("dataset.factory: expected ")
    assert all(word in found for word in words), found


def test_images_of_floats_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = "(np.zeros((4, 8, 8)), [0, 1, 0, 1])"
    (tmp_path / "floats.py").write_text(f"import numpy as np\ndef make():\n    return {part}, {part}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(DataError, match=r"dataset\.factory: expected images or bytes, got ValueError: torch\.float64"):
        PythonDataset(factory="floats:make", workers=0).load()


def test_images_of_sixteen_bits_are_refused(folder: Path) -> None:
    deep = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    Image.fromarray(deep).save(folder / "train/digit1/2.png")
    with pytest.raises(DataError, match=r"digit1/2\.png': pixels of mode I;16, which do not fit into bytes"):
        ImageFolder(root=str(folder), workers=0).load()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_part_that_fails_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    source = """
class Part:
    targets = [0, 1] * 10
    def __len__(self):
        return 20
    def __getitem__(self, i):
        raise FileNotFoundError("no such photo")
def make():
    return Part(), Part()
"""
    (tmp_path / "failing.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(DataError) as caught:
        PythonDataset(factory="failing:make", workers=workers).load()
    assert "FileNotFoundError: no such photo, in failing.py line" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_are_in_the_key_of_a_function_and_must_be_as_many_as_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = """
import numpy as np
class Part(list):
    pass
def make(n):
    part = Part((np.zeros((8, 8), "uint8"), i % 2) for i in range(20))
    part.targets = [i % 2 for i in range(n)]
    return part, part
"""
    (tmp_path / "labelled.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    good, bad = (PythonDataset(factory="labelled:make", arguments={"n": n}) for n in (20, 8))
    assert list(good.check()) == []
    assert "8 labels of 20 images" in complaints(bad)
    digits = PythonDataset(factory="own_data:digits").identity()
    assert digits["labels"] != PythonDataset(factory="own_data:digits", arguments={"n": 40}).identity()["labels"]
    assert digits["source"] == PythonDataset(factory="own_data:digits", arguments={"n": 40}).identity()["source"]


@pytest.mark.parametrize("settings", [{"mean": [float("nan"), 0.0, 0.0]}, {"std": [float("inf"), 1.0, 1.0]}])
def test_normalisation_must_be_finite(settings: dict[str, list[float]]) -> None:
    (problem,) = ImageFolder(**settings).problems("dataset")  # type: ignore[arg-type]
    assert "a finite" in str(problem)
