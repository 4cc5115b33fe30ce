"""Decodes image files and finds those that cannot be read."""

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
from unlearn.core.progress import reading, with_ticks
from unlearn.data.datasets.fingerprint import THREADS, cache_path, write_cache
from unlearn.data.datasets.own import MAX_PIXELS, fit

SHALLOW = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "La", "CMYK", "YCbCr", "LAB", "HSV"}  # 8 bits


@dataclass(frozen=True)
class DecodePicture:
    """Decodes image i of the files in a folder: uint8 [channels, size, size]."""

    folder: Path
    files: tuple[str, ...]
    size: int
    channels: int

    def __call__(self, i: int) -> Tensor:
        path = self.folder / self.files[i]
        try:
            with _open_image(path, self.size) as image:
                pixels = np.array(image.convert("RGB" if self.channels == 3 else "L"))
            return fit(torch.from_numpy(pixels).view(*pixels.shape[:2], -1).permute(2, 0, 1), self.channels, self.size)
        except _decoder_errors() as error:
            raise DataError(f"dataset.root: expected a readable image, got {str(path)!r}: {_reason(error)}") from error


@lru_cache(maxsize=8)
def find_unreadable(root: str, names: tuple[str, ...], size: int, whole: bool) -> tuple[str, ...]:
    """Find the image files that cannot be read; cached until the size or time of a file changes.

    Args:
        root: folder of the files.
        names: their paths in it.
        size: side in pixels to which images are resized.
        whole: whether to decode each file; otherwise only its header is read.

    Returns:
        A text for each such file: `name (reason)`.
    """
    folder = Path(root)
    path = cache_path(folder, names, f"{'whole' if whole else 'header'}-{size}.json")
    if path is not None and path.is_file():
        with suppress(ValueError, OSError):  # a damaged cache: check the files again
            return tuple(json.loads(path.read_bytes()))
    with reading(len(names)) as tick, ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        reasons = with_ticks(pool.map(lambda name: _find_reason(folder / name, size, whole), names), len(names), tick)
        unreadable = tuple(f"{name} ({reason})" for name, reason in zip(names, reasons, strict=True) if reason)
    if path is not None:
        write_cache(path, json.dumps(unreadable).encode())
    return unreadable


def _find_reason(path: Path, size: int, whole: bool) -> str | None:
    """The reason why a file cannot be read; None if it can."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would never end
            return "not a regular file"
        with _open_image(path, size) as image:
            if whole:
                image.load()
    except _decoder_errors() as error:
        return _reason(error)
    return None


def _open_image(path: Path, size: int) -> Any:
    """Open an image with PIL, without decoding it.

    Raises:
        OSError, ValueError, ...: it is not an image, has more than 8 bits per channel, or is too large.
    """
    from PIL import Image

    _accept_large()
    image = Image.open(path)
    short, long = sorted(image.size)
    if image.mode not in SHALLOW:
        image.close()
        raise ValueError(f"pixels of mode {image.mode}, which do not fit into bytes")
    if long * size * size > MAX_PIXELS * max(short, 1):
        image.close()
        raise ValueError(f"sides of {image.width} and {image.height} pixels, too long for its width")
    return image


@cache
def _accept_large() -> None:
    """Silence PIL's warning about images above 89 million pixels; above 179 million it raises an error."""
    import warnings

    from PIL import Image

    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    warnings.filterwarnings("ignore", message="Palette images with Transparency")


@cache
def _decoder_errors() -> tuple[type[Exception], ...]:
    """The exceptions that PIL raises for files that it cannot read."""
    import struct

    from PIL import Image

    errors = (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, KeyError, MemoryError, struct.error)
    return (*errors, OverflowError, Image.DecompressionBombError)


def _reason(error: Exception) -> str:
    """The message of PIL without the path, or of the system if the file cannot be opened."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = first_line(error)
    return "not an image" if text.startswith("cannot identify image file") else text
