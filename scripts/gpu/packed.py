"""Reads CIFAR-10 from a file of `pack.py`: `dataset=python dataset.factory=packed:cifar10`.

The environment variable `PACKED` names the file, so that no key contains a path; keys contain a hash of the images.
"""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

Part = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]  # images [n, 3, 32, 32], labels [n]


def cifar10() -> tuple[Part, Part]:
    """Return the training and the test part, in the order of classes."""
    with np.load(os.environ["PACKED"]) as packed:
        train, test = ((packed[part], packed[f"{part}_labels"]) for part in ("train", "test"))
    return train, test
