"""Image files as pixels, and which of them cannot be read."""

from __future__ import annotations

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unlearn.core.errors import DataError, first_line
from unlearn.data.datasets.fingerprint import THREADS, cache_path, remember
from unlearn.data.datasets.own import MOST_PIXELS, fit

SHALLOW = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "La", "CMYK", "YCbCr", "LAB", "HSV"}  # 8 bits


@dataclass(frozen=True)
class Decode:
    """Image i of a folder's files: uint8 [channels, size, size]."""

    folder: Path
    files: tuple[str, ...]
    size: int
    channels: int

    def __call__(self, i: int) -> Tensor:
        path = self.folder / self.files[i]
        try:
            with _opened(path, self.size) as image:
                pixels = np.array(image.convert("RGB" if self.channels == 3 else "L"))
            return fit(torch.from_numpy(pixels).view(*pixels.shape[:2], -1).permute(2, 0, 1), self.channels, self.size)
        except _unreadable() as error:
            raise DataError(f"dataset.root: expected a readable image, got {str(path)!r}: {_reason(error)}") from error


@lru_cache(maxsize=8)
def unreadable(root: str, names: tuple[str, ...], size: int, whole: bool) -> tuple[str, ...]:
    """The image files that cannot be read, `name (reason)` each; remembered until a file's size or time changes.

    Args:
        root: folder of the files.
        names: their paths in it.
        size: side in pixels to which images are brought.
        whole: whether to decode all of each file; its header alone otherwise.
    """
    folder = Path(root)
    memory = cache_path(folder, names, f"{'whole' if whole else 'header'}-{size}.json")
    if memory is not None and memory.is_file():
        with suppress(ValueError, OSError):  # damaged: looked at once more
            return tuple(json.loads(memory.read_bytes()))
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        reasons = pool.map(lambda name: _why_unreadable(folder / name, size, whole), names)
        found = tuple(f"{name} ({reason})" for name, reason in zip(names, reasons, strict=True) if reason)
    if memory is not None:
        remember(memory, json.dumps(found).encode())
    return found


def _why_unreadable(path: Path, size: int, whole: bool) -> str | None:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe would wait for ever
            return "not a regular file"
        with _opened(path, size) as image:
            if whole:
                image.load()
    except _unreadable() as error:
        return _reason(error)
    return None


def _opened(path: Path, size: int) -> Any:
    """A PIL image that is not decoded yet.

    Raises:
        OSError, ValueError, ...: it is not an image that fits into bytes.
    """
    from PIL import Image

    _accept_large()
    image = Image.open(path)
    short, long = sorted(image.size)
    if image.mode not in SHALLOW:
        image.close()
        raise ValueError(f"pixels of mode {image.mode}, which do not fit into bytes")
    if long * size * size > MOST_PIXELS * max(short, 1):
        image.close()
        raise ValueError(f"sides of {image.width} and {image.height} pixels, too long for its width")
    return image


@cache
def _accept_large() -> None:
    """PIL warns of images above 89 million pixels, and refuses those above 179 million; between them all is well."""
    import warnings

    from PIL import Image

    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    warnings.filterwarnings("ignore", message="Palette images with Transparency")


@cache
def _unreadable() -> tuple[type[Exception], ...]:
    """What PIL raises on files that it cannot read."""
    import struct

    from PIL import Image

    errors = (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, KeyError, MemoryError, struct.error)
    return (*errors, OverflowError, Image.DecompressionBombError)


def _reason(error: Exception) -> str:
    """PIL's words without the path, which it repeats; those of the system for a file that cannot be opened."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = first_line(error)
    return "not an image" if text.startswith("cannot identify image file") else text
