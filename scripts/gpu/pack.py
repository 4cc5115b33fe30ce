"""Packs the images of CIFAR-10 from a folder or a tar file into one NumPy file.

    python scripts/gpu/pack.py SOURCE cifar10.npz [EACH]

SOURCE holds `train/<class>/<image>` and `test/<class>/<image>`, at any depth. Classes are numbered, and images ordered,
by name, as torchvision's ImageFolder does. The file has `train` and `test`, uint8 [n, 3, h, w], and `train_labels` and
`test_labels`, int64 [n]. With EACH, only this number of images of each class is packed. The file is written completely
or not at all.
"""

from __future__ import annotations

import io
import sys
import tarfile
from collections.abc import Iterator
from itertools import groupby, islice
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
from PIL import Image

PARTS = ("train", "test")
SUFFIXES = {".jpg", ".jpeg", ".png"}
Place = tuple[str, str, str]  # part, class, file name


def main(source: Path, target: Path, each: int | None = None) -> None:
    """Pack the images of `source` into `target`, at most `each` per class."""
    images = dict(sorted(read_files(source)))
    classes = groupby(images, key=lambda place: place[:2])
    images = {place: images[place] for _, places in classes for place in islice(places, each)}
    partial = target.with_suffix(".part")
    with partial.open("wb") as file:
        np.savez(file, **make_arrays(images))
    partial.replace(target)
    print(f"{target}: {len(images)} images, {target.stat().st_size / 2**20:.0f} MiB")


def read_files(source: Path) -> Iterator[tuple[Place, bytes]]:
    """Yield the place of every image and the content of its file."""
    if source.is_dir():
        for path in source.rglob("*"):
            if place := _place(path.relative_to(source).as_posix()):
                yield place, path.read_bytes()
        return
    with tarfile.open(source) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content and (place := _place(member.name)):
                yield place, content.read()


def _place(name: str) -> Place | None:
    path = PurePosixPath(name)
    if len(path.parts) < 3 or path.parts[-3] not in PARTS or path.suffix.lower() not in SUFFIXES:
        return None
    return path.parts[-3], path.parts[-2], path.name


def make_arrays(images: dict[Place, bytes]) -> dict[str, npt.NDArray[np.generic]]:
    """Decode the images; returns the arrays by name.

    Raises:
        ValueError: A part is empty.
    """
    number = {name: label for label, name in enumerate(sorted({name for _, name, _ in images}))}
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for part in PARTS:
        entries = [(name, content) for (its_part, name, _), content in images.items() if its_part == part]
        if not entries:
            raise ValueError(f"SOURCE: expected {part}/<class>/<image>, got none")
        arrays[part] = np.stack([_pixels(content) for _, content in entries])
        arrays[f"{part}_labels"] = np.array([number[name] for name, _ in entries])
    return arrays


def _pixels(content: bytes) -> npt.NDArray[np.uint8]:
    """Decode an image to uint8 [3, h, w]."""
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"), dtype=np.uint8).transpose(2, 0, 1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:4]))
