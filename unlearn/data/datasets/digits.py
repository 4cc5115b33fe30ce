"""The digits data set of scikit-learn, which needs no download."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from unlearn.core.validation import fraction
from unlearn.data.datasets.base import Contents, Dataset, hold_in_memory


@dataclass(frozen=True)
class Digits(Dataset):
    """1,797 grey 8 x 8 images of handwritten digits (UCI, Alpaydin and Kaynak 1998).

    The data set has no test part: a fixed shuffle keeps 1,437 images for training and 360 for the test [ours].
    The index of a record is its position after the shuffle, not the index in scikit-learn.

    Grey levels 0-16 become bytes as round(v * 255 / 16).
    """

    shape = (1, 8, 8)
    classes = 10
    train_size = 1437
    test_size = 360
    normalisation = ((0.305,), (0.376,))

    validation: float = fraction(0.10, zero=False)
    holdout: float = fraction(0.15, zero=False)

    def load(self) -> Contents:
        from sklearn.datasets import load_digits

        bundle = load_digits()
        images = (torch.from_numpy(bundle.images) * 255 / 16).round().to(torch.uint8)[:, None]
        labels = torch.from_numpy(bundle.target).long()
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        train, test = order[: self.train_size], order[self.train_size :]
        return Contents(hold_in_memory((images[train], labels[train])), hold_in_memory((images[test], labels[test])))
