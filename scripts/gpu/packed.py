"""CIFAR-10 out of the one file that `pack.py` makes: `dataset=python dataset.factory=packed:cifar10`, beside this file.

The environment says where it lies (`PACKED`), so that no key holds a path; the store knows the images by their content.
"""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

Part = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]  # images [n, 3, 32, 32], labels [n]


def cifar10() -> tuple[Part, Part]:
    """The training and the test part, in the order of classes."""
    with np.load(os.environ["PACKED"]) as packed:
        train, test = ((packed[part], packed[f"{part}_labels"]) for part in ("train", "test"))
    return train, test
