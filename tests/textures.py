"""Images that a small net learns by heart long before it classifies unseen ones well: gratings under noise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

CLASSES, SIDE = 5, 16
Part = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


def gratings(train: int = 400, test: int = 400, noise: float = 45.0) -> tuple[Part, Part]:
    """A training and a test part: images uint8 [n, 3, 16, 16] and labels int64 [n].

    A class is an orientation of the stripes. Their phase, width, colour and strength are those of the image alone, so
    that neither single pixels nor colours show the class.
    """
    draws = np.random.default_rng(0)
    return _part(draws, train, noise), _part(draws, test, noise)


def _part(draws: np.random.Generator, n: int, noise: float) -> Part:
    labels = draws.permutation(np.arange(n) % CLASSES)
    angle = np.pi * labels / CLASSES + draws.normal(0, 0.08, n)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    across = np.cos(angle)[:, None, None] * columns + np.sin(angle)[:, None, None] * rows
    wavelength, phase = draws.uniform(4, 8, (n, 1, 1)), draws.uniform(0, 2 * np.pi, (n, 1, 1))
    stripes = np.sin(2 * np.pi * across / wavelength + phase)[:, None]
    colour = draws.uniform(-60, 60, (n, 3, 1, 1))
    images = 128 + colour * stripes + draws.normal(0, noise, (n, 3, SIDE, SIDE))
    return images.clip(0, 255).astype(np.uint8), labels
