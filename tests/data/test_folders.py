"""Image folders as people have them: numbered as torchvision numbers them, or refused in one line."""

from __future__ import annotations

import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unlearn.core.errors import DataError
from unlearn.core.validation import problems
from unlearn.data.datasets import folder
from unlearn.data.datasets.image_folder import ImageFolder
from unlearn.data.population import Population
from unlearn.data.requests.listed import Indices
from unlearn.data.requests.rules import ClassWise, Random

pytestmark = pytest.mark.filterwarnings("ignore:Palette images with Transparency")
RNG = np.random.default_rng(0)
CLASSES = ("cat", "dog", "owl")


def picture(side: int = 8) -> Image.Image:
    return Image.fromarray(RNG.integers(0, 255, (side, side, 3)).astype("uint8"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """`train` and `test` of three classes, four and two images each."""
    for part, count in (("train", 4), ("test", 2)):
        for name in CLASSES:
            folder = tmp_path / "photos" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                picture().save(folder / f"{number:04d}.png")
    return tmp_path / "photos"


def complaints(dataset: ImageFolder) -> list[str]:
    return list(map(str, dataset.check()))


def numbered_by_torchvision(part: Path) -> tuple[list[str], list[int]]:
    from torchvision.datasets import ImageFolder as Reference

    found = Reference(part)
    return [os.path.relpath(path, part) for path, _ in found.samples], found.targets


# What is read as torchvision reads it


def other_kinds(root: Path) -> None:
    picture().save(root / "train/dog/9000.gif")
    shutil.copy(root / "train/dog/0000.png", root / "train/dog/9001.jfif")
    (root / "train/dog/9002.heic").write_bytes(b"x")
    (root / "train/notes.txt").write_text("x")


def upper_suffixes(root: Path) -> None:
    (root / "train/dog/0000.png").rename(root / "train/dog/0000.PNG")
    picture().save(root / "train/dog/IMG_1.JPG")


def modes(root: Path) -> None:
    picture().convert("CMYK").save(root / "train/dog/9000.jpg")
    picture().convert("P").save(root / "train/dog/9001.png", transparency=b"\0\1\2")
    for number, mode in enumerate(("RGBA", "LA", "1", "L")):
        picture().convert(mode).save(root / f"train/dog/91{number}.png")
    picture().save(root / "train/dog/9200.webp")


def turned(root: Path) -> None:
    image = picture()
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(root / "train/dog/9000.jpg", exif=exif)


def sixteen_bit_colour(root: Path) -> None:
    lines = b"".join(b"\0" + RNG.integers(0, 255, 48).astype("uint8").tobytes() for _ in range(8))

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    (root / "train/dog/9000.png").write_bytes(content)


def tiny(root: Path) -> None:
    Image.new("RGB", (1, 1)).save(root / "train/dog/9000.png")
    Image.new("RGB", (2, 300)).save(root / "train/dog/9001.png")


def class_names_of_digits(root: Path) -> None:
    for part in ("train", "test"):
        for name, number in zip(CLASSES, ("1", "10", "2"), strict=True):
            (root / part / name).rename(root / part / number)


def strange_names(root: Path) -> None:
    for part in ("train", "test"):
        (root / part / "cat").rename(root / part / "Große Katze, süß")
    shutil.copy(root / "train/dog/0000.png", root / "train/dog/a\nb.png")
    (root / "train/dog" / os.fsdecode(b"caf\xe9.png")).write_bytes((root / "train/dog/0000.png").read_bytes())


def linked_class(root: Path) -> None:
    (root / "train/owl").rename(root / "elsewhere")
    (root / "train/owl").symlink_to("../elsewhere")


def class_missing_in_test(root: Path) -> None:
    shutil.rmtree(root / "test/owl")


def class_empty_in_test(root: Path) -> None:
    class_missing_in_test(root)
    (root / "test/owl").mkdir()


SAME = (
    other_kinds,
    upper_suffixes,
    modes,
    turned,
    sixteen_bit_colour,
    tiny,
    class_names_of_digits,
    strange_names,
    linked_class,
    class_missing_in_test,
    class_empty_in_test,
)


@pytest.mark.parametrize("change", SAME)
def test_records_have_torchvisions_numbers_and_pixels(photos: Path, change: Callable[[Path], None]) -> None:
    from torchvision.datasets.folder import default_loader

    change(photos)
    dataset = ImageFolder(root=str(photos), size_px=8, workers=0)
    assert complaints(dataset) == []
    names, labels = numbered_by_torchvision(photos / "train")
    assert list(dataset.names("train")) == names
    assert dataset.index_ambiguity is None
    train = dataset.load().train
    assert train.labels.tolist() == labels
    pixels = torch.cat(list(train.batches([torch.arange(len(train))])))
    for i, name in enumerate(names):
        image = np.array(default_loader(str(photos / "train" / name)))
        if image.shape[:2] == (8, 8):
            assert torch.equal(pixels[i], torch.from_numpy(image).permute(2, 0, 1)), name


# Where torchvision counts other files


def hidden_image(root: Path) -> None:
    shutil.copy(root / "train/cat/0000.png", root / "train/cat/.0000-draft.png")


def hidden_folder(root: Path) -> None:
    (root / "train/cat/.ipynb_checkpoints").mkdir()
    shutil.copy(root / "train/cat/0001.png", root / "train/cat/.ipynb_checkpoints/0001-checkpoint.png")


def resource_fork(root: Path) -> None:
    (root / "train/cat/._0000.png").write_bytes(b"\0\5\26\7")


def hidden_class(root: Path) -> None:
    shutil.copytree(root / "train/cat", root / "train/.trash")


@pytest.mark.parametrize("change", [hidden_image, hidden_folder, resource_fork, hidden_class])
def test_indices_are_refused_where_torchvision_counts_hidden_files(
    photos: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    change(photos)
    dataset = ImageFolder(root=str(photos), workers=0)
    assert complaints(dataset) == []
    assert list(dataset.names("train")) != numbered_by_torchvision(photos / "train")[0]
    assert dataset.train_size == 12
    request = tmp_path / "request.txt"
    request.write_text("7\n")
    with pytest.raises(DataError, match=r"names of files, not indices, since torchvision counts .* got 7 \(line 1\)"):
        Indices(str(request)).requested(dataset)
    request.write_text("train/dog/0003.png\n")
    assert Indices(str(request)).requested(dataset).tolist() == [7]
    assert any("hidden image" in remark for remark in dataset.remarks())


def test_class_numbers_are_refused_where_torchvision_counts_a_hidden_class(photos: Path) -> None:
    hidden_class(photos)
    population = Population(ImageFolder(root=str(photos), workers=0), 0)
    (problem,) = ClassWise(1).check(population)
    assert "hidden folder '.trash' as a class: use the name" in str(problem)
    assert list(ClassWise("dog").check(population)) == []


# What is refused


def broken(root: Path) -> None:
    for name in CLASSES:
        (root / f"train/{name}/0001.png").write_bytes(b"<html>404</html>")
    (root / "train/cat/0002.png").write_bytes(b"")
    picture(64).save(root / "train/dog/9000.jpg")
    (root / "train/dog/9000.jpg").write_bytes((root / "train/dog/9000.jpg").read_bytes()[:900])
    (root / "test/owl/9000.png").symlink_to("/nowhere/x.png")


def sixteen_bit_grey(root: Path) -> None:
    Image.fromarray(RNG.integers(0, 65535, (8, 8)).astype("uint16")).save(root / "train/dog/9000.png")


def floats(root: Path) -> None:
    Image.fromarray(RNG.random((8, 8)).astype("float32")).save(root / "train/dog/9000.tiff")


def bomb(root: Path) -> None:
    Image.new("1", (15_000, 13_000)).save(root / "train/dog/9000.png")


def thread(root: Path) -> None:
    Image.new("1", (1, 1_000_000)).save(root / "train/dog/9000.png")


def pipe(root: Path) -> None:
    os.mkfifo(root / "train/dog/9000.png")


def loop(root: Path) -> None:
    (root / "train/dog/loop").symlink_to("..")


def loop_through_another(root: Path) -> None:
    (root / "train/cat/to_dog").symlink_to("../dog")
    (root / "train/dog/to_cat").symlink_to("../cat")


def link_beside_what_it_leads_to(root: Path) -> None:
    (root / "train/cat/dogs").symlink_to("../dog")


def chain_of_links(root: Path) -> None:
    """Each folder holds two links to the next: 2^20 paths to the last."""
    for number in range(20):
        (root / f"pool/{number}").mkdir(parents=True)
        for name in "ab":
            (root / f"pool/{number}/{name}").symlink_to(f"../{number + 1}")
    (root / "pool/20").mkdir()
    picture().save(root / "pool/20/one.png")
    (root / "train/cat/chain").symlink_to("../../pool/0")


def class_of_the_test_alone(root: Path) -> None:
    shutil.copytree(root / "test/cat", root / "test/yak")


def class_in_another_case(root: Path) -> None:
    (root / "test/cat").rename(root / "test/Cat")


def nested(root: Path) -> None:
    inner = root / "photos"
    inner.mkdir()
    for part in ("train", "test"):
        (root / part).rename(inner / part)


def empty_class(root: Path) -> None:
    (root / "train/yak").mkdir()


def no_test(root: Path) -> None:
    shutil.rmtree(root / "test")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (broken, ["6 of 20 files unreadable", "train/cat/0001.png (not an image)", "and 1 others"]),
        (sixteen_bit_grey, ["1 of 19 files", "train/dog/9000.png (pixels of mode I;16"]),
        (floats, ["train/dog/9000.tiff (pixels of mode F"]),
        (bomb, ["train/dog/9000.png (Image size (195000000 pixels)"]),
        (thread, ["train/dog/9000.png (sides of 1 and 1000000 pixels"]),
        (pipe, ["train/dog/9000.png (not a regular file)"]),
        (loop, ["no link to a folder that contains the link", "train/dog/loop"]),
        (loop_through_another, ["no link to a folder that contains the link", "to_dog/to_cat"]),
        (link_beside_what_it_leads_to, ["no folder twice, as by links", "train/dog, which is cat/dogs"]),
        (chain_of_links, ["no folder twice, as by links", "train/cat/chain/b, which is cat/chain/a"]),
        (class_of_the_test_alone, ["test classes among those of train: cat, dog, owl", "'yak'"]),
        (class_in_another_case, ["(nearest: cat)", "'Cat'"]),
        (nested, ["which is one level deeper: set dataset.root=", "photos/photos"]),
        (empty_class, ["an image in every class folder", "train/yak"]),
        (no_test, ["without test", "dataset.test_fraction=0.2 draws a test part"]),
    ],
)
def test_a_bad_folder_is_refused_in_one_line(photos: Path, change: Callable[[Path], None], words: list[str]) -> None:
    change(photos)
    (found,) = complaints(ImageFolder(root=str(photos), workers=0))
    assert found.startswith("dataset.root: expected")
    assert all(word in found for word in words), found
    assert "\n" not in found


@pytest.mark.parametrize(
    "settings",
    [
        {"train": "test", "test": "test"},
        {"train": "train", "test": "./train/"},
        {"test": "link"},
        {"train": ".", "test": "test"},
        {"val": "test"},
    ],
)
def test_a_folder_is_not_read_as_two_parts(photos: Path, settings: dict[str, str]) -> None:
    (photos / "link").symlink_to("train")
    found = complaints(ImageFolder(root=str(photos), workers=0, **settings))  # type: ignore[arg-type]
    assert any("a folder of other images than dataset." in problem for problem in found), found


def test_a_part_is_not_the_whole_disk_nor_around_another(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder.os, "walk", lambda *_, **__: pytest.fail("listed"))
    disk, home = (complaints(ImageFolder(root=str(photos), test=test)) for test in ("/", str(Path.home())))
    assert disk[0].startswith("dataset.test: expected a folder of images for the test part, got '/, which is the disk'")
    assert home[0].endswith("which is the home folder'")
    (around,) = complaints(ImageFolder(root=str(photos), test="."))
    expected = "dataset.test: expected a folder of other images than dataset.train"
    assert around == f"{expected}, got '{photos}, which contains {photos}/train'"


def test_a_folder_of_other_files_is_not_read_to_its_end(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "MAX_OTHERS", 5)
    for number in range(200):
        (photos / f"test/{number}.txt").touch()
    (found,) = complaints(ImageFolder(root=str(photos)))
    assert found.startswith("dataset.root: expected a folder of images, got")


def test_the_store_lies_outside_of_the_images(photos: Path) -> None:
    dataset = ImageFolder(root=str(photos))
    assert dataset.find_part(str(photos / "train/cat/artifacts")) == "train"
    assert dataset.find_part(str(photos / "test")) == ""
    assert dataset.find_part(str(photos / "artifacts")) == ""


@pytest.mark.parametrize(("side", "accepted"), [(11_585, True), (11_586, False)])
def test_a_side_too_long_for_any_image_is_said_of_the_setting(photos: Path, side: int, accepted: bool) -> None:
    found = [str(problem) for problem in problems(ImageFolder(root=str(photos), size_px=side), "dataset")]
    assert bool(found) is not accepted
    assert not found or found == ["dataset.size_px: expected an integer from 4 to 11,585, got 11586"]


def test_broken_files_are_looked_at_again_once_they_change(photos: Path) -> None:
    good = (photos / "train/cat/0001.png").read_bytes()
    (photos / "train/cat/0001.png").write_bytes(b"junk")
    assert "1 of 18 files" in complaints(ImageFolder(root=str(photos), workers=0))[0]
    (photos / "train/cat/0001.png").write_bytes(good)
    from unlearn.data.datasets.pictures import find_unreadable

    find_unreadable.cache_clear()
    assert complaints(ImageFolder(root=str(photos), workers=0)) == []


# Other layouts


def test_val_stands_for_a_missing_test(photos: Path) -> None:
    (photos / "test").rename(photos / "val")
    dataset = ImageFolder(root=str(photos), workers=0)
    assert complaints(dataset) == []
    assert (dataset.test_size, dataset.folder("test")) == (6, "val")
    assert list(dataset.remarks()) == ["the test part is the folder val"]


def test_val_is_a_validation_split_of_its_own(photos: Path) -> None:
    shutil.copytree(photos / "test", photos / "val")
    for path in (photos / "val").rglob("*.png"):
        picture().save(path)
    dataset = ImageFolder(root=str(photos), val="val", workers=0, holdout=0.2)
    assert complaints(dataset) == []
    drawn = Population.of(dataset, 0, Random(count=1)).draw()
    assert drawn.validation.tolist() == list(range(6))
    assert (len(drawn.holdout), len(drawn.member)) == (2, 10)
    contents = dataset.load()
    assert contents.validation is not None
    assert contents.validation.labels.tolist() == [0, 0, 1, 1, 2, 2]
    plain = ImageFolder(root=str(photos), workers=0).identity()
    assert dataset.identity().keys() - plain.keys() == {"val"}
    assert {part: dataset.identity()[part] for part in plain} == plain


def test_a_flat_folder_gives_a_test_part_by_its_seed(photos: Path) -> None:
    one, again, other = (ImageFolder(root=str(photos / "train"), test_seed=seed, workers=0) for seed in (0, 0, 1))
    assert complaints(one) == []
    assert (one.train_size, one.test_size) == (9, 3)
    assert {name.partition("/")[0] for name in one.names("test")} == set(CLASSES)
    assert sorted([*one.names("train"), *one.names("test")]) == sorted(ImageFolder(root=str(photos)).names("train"))
    assert one.identity() == again.identity() != other.identity()
    assert one.index_ambiguity == "the test part is drawn from the same folder"
    assert any("0.2 of each class, seed 0" in remark for remark in one.remarks())


def test_links_in_a_flat_folder_are_refused_as_in_any_other(photos: Path) -> None:
    (photos / "train/cat/dogs").symlink_to("../dog")
    (found,) = complaints(ImageFolder(root=str(photos / "train"), test_fraction=0.5, train="."))
    assert found == f"dataset.root: expected no folder twice, as by links, got '{photos}/train/dog, which is cat/dogs'"


def test_a_test_part_is_drawn_on_request(photos: Path) -> None:
    no_test(photos)
    dataset = ImageFolder(root=str(photos), test_fraction=0.5, workers=0)
    assert complaints(dataset) == []
    assert (dataset.train_size, dataset.test_size) == (6, 6)


def test_a_class_without_test_images_is_said(photos: Path) -> None:
    class_missing_in_test(photos)
    assert list(ImageFolder(root=str(photos)).remarks()) == ["no image in the test part of 1 class: owl"]


def test_what_is_passed_over_is_counted(photos: Path) -> None:
    other_kinds(photos)
    (remark,) = ImageFolder(root=str(photos)).remarks()
    assert remark == "skipped in the train part: 4 other files (1 .txt, 1 .gif, 1 .jfif, 1 .heic)"
