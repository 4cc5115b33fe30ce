"""Compares our batches with torchvision transforms, PIL and a DataLoader without workers, after checking equal pixels.

Random crop with padding 4, mirroring and normalisation of CIFAR-shaped images, and plain MNIST-shaped ones. Both sides
normalise, ours in the first layer of a classifier. A large tensor is freed first, as in the first step of any training:
after that, glibc keeps freed memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from PIL import Image
from table import Row, compare, run
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms import functional

from unlearn.core.types import Images
from unlearn.data.augmentation import Augmentation
from unlearn.data.loaders import Loader
from unlearn.models.base import Classifier

N, BATCH = 20_000, 128
FREED = 7 * 2**20  # floats: less than the 32 MB up to which glibc adapts its threshold
CROPPED = Augmentation(crop_padding=4, flip=True)
MEAN, STD = 0.48, 0.25  # of every channel


class AsPil(Dataset[tuple[Tensor, int]]):
    """Reads a data set as most training scripts do: one image at a time, through PIL."""

    def __init__(self, pixels: Tensor, transform: Callable[[Image.Image], Tensor]) -> None:
        self.arrays = [image.squeeze(-1).numpy() for image in pixels.permute(0, 2, 3, 1)]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.arrays[i])), 0


def rows() -> Iterator[Row]:
    """Measure each case."""
    torch.zeros(FREED)
    augment = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
    yield case("CIFAR shape, crop + flip + normalise", (3, 32, 32), CROPPED, augment, 25.0)
    yield case("MNIST shape, normalise", (1, 28, 28), Augmentation(), [], 60.0)


def case(
    name: str,
    shape: tuple[int, int, int],
    augmentation: Augmentation,
    augment: list[Callable[[Image.Image], Image.Image]],
    goal: float,
) -> Row:
    """Check for equal pixels, then time both sides in turn."""
    pixels = torch.randint(0, 256, (N, *shape), dtype=torch.uint8)
    data = Images(pixels, torch.zeros(N, dtype=torch.int64), torch.arange(N))
    normalised = Classifier(nn.Identity(), (MEAN,) * shape[0], (STD,) * shape[0])
    floats = [transforms.ToTensor(), transforms.Normalize(normalised.mean.flatten(), normalised.std.flatten())]
    check(pixels[:BATCH], augmentation, normalised, transforms.Compose(floats))
    loader = Loader(data, BATCH, seed=0, role="bench", augmentation=augmentation)
    rival = DataLoader(AsPil(pixels, transforms.Compose([*augment, *floats])), BATCH, shuffle=True)
    pair = compare(
        lambda: [len(normalised(batch.images)) for batch in loader.batches(0)],
        lambda: [len(images) for images, _ in rival],
        clock=time.process_time,
    )
    ours, theirs, against = N / pair.ours, N / pair.rival, "torchvision, PIL, DataLoader(0)"
    return Row(name, against, ours, theirs, "images/s", pair.ratio, goal, clock="cpu", note="after a free of 28 MB")


def check(
    pixels: Tensor, augmentation: Augmentation, normalised: nn.Module, floats: Callable[[Image.Image], Tensor]
) -> None:
    """Check that torchvision gives the same pixels with the same crops and flips.

    Raises:
        AssertionError: Pixels differ by more than 1e-6.
    """
    drawn = augmentation.draw(len(pixels), torch.Generator().manual_seed(0))
    ours, height, width = normalised(augmentation(pixels, drawn).float().div_(255)), *pixels.shape[2:]
    for image, mine, (row, column, mirrored) in zip(AsPil(pixels, lambda i: i), ours, drawn.t().tolist(), strict=True):
        padded = functional.pad(image[0], [augmentation.crop_padding])
        cropped = functional.crop(padded, row, column, height, width)
        theirs = floats(functional.hflip(cropped) if mirrored else cropped)
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)


if __name__ == "__main__":
    run(__file__, rows())
