"""What a user of `dataset=python` writes; also found by tests as `own_data:digits`."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


class Pictures:
    """A sequence of (PIL image, label) of the digits 0 to 2, in colour and of several sizes."""

    def __init__(self, start: int, stop: int) -> None:
        bundle = load_digits()
        chosen = np.flatnonzero(bundle.target < 3)[start:stop]
        self.images, self.targets = bundle.images[chosen], bundle.target[chosen]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, i: int) -> tuple[Image.Image, int]:
        grey = Image.fromarray((self.images[i] * 255 / 16).astype("uint8"))
        picture = Image.merge("RGB", (grey, grey.rotate(90), grey.rotate(180))).resize((8 + i % 5, 9 + i % 3))
        return picture, int(self.targets[i])


def digits(n: int = 60) -> tuple[Pictures, Pictures]:
    """`n` for training, 30 for the test."""
    return Pictures(0, n), Pictures(n, n + 30)


def pairs() -> Any:
    """The same kind of data as arrays: bytes [n, h, w], and labels."""
    bundle = load_digits()
    images = (bundle.images * 255 / 16).astype("uint8")
    return (images[:1000], bundle.target[:1000]), (images[1000:], bundle.target[1000:])
