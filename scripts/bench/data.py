"""Our batches against torchvision transforms, PIL and a DataLoader without workers; equal pixels first.

Random crop with padding 4, mirroring and scaling to [0, 1] of CIFAR-shaped images, and plain MNIST-shaped ones. A large
tensor is freed first, as by the first step of any training: since then glibc keeps what it has.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from PIL import Image
from table import Row, compare, run
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from unlearn.data.loader import Augmentation, Loader
from unlearn.types import Images

N, BATCH = 5000, 128
FREED = 7 * 2**20  # floats: under the 32 MB up to which glibc learns


class AsPil(Dataset[tuple[torch.Tensor, int]]):
    """The way most training scripts read a data set: an image at a time, through PIL."""

    def __init__(self, pixels: torch.Tensor, transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.arrays = [image.squeeze(-1).numpy() for image in pixels.permute(0, 2, 3, 1)]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.arrays[i])), 0


def rows() -> Iterator[Row]:
    """One row a case."""
    torch.zeros(FREED)
    augment = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    cropped = Augmentation(crop_padding=4, flip=True)
    yield case("CIFAR shape, crop + flip", (3, 32, 32), cropped, transforms.Compose(augment), 25.0)
    yield case("MNIST shape, plain", (1, 28, 28), Augmentation(), transforms.ToTensor(), 60.0)


def case(
    name: str,
    shape: tuple[int, int, int],
    augmentation: Augmentation,
    transform: Callable[[Image.Image], torch.Tensor],
    goal: float,
) -> Row:
    """Time both sides in turn."""
    pixels = torch.randint(0, 256, (N, *shape), dtype=torch.uint8)
    data = Images(pixels, torch.zeros(N, dtype=torch.int64), torch.arange(N))
    plain = AsPil(pixels, transforms.ToTensor())
    torch.testing.assert_close(plain[7][0], pixels[7].float() / 255)  # the same pixels before augmentation
    loader = Loader(data, BATCH, seed=0, role="bench", augmentation=augmentation)
    rival = DataLoader(AsPil(pixels, transform), BATCH, shuffle=True)
    pair = compare(lambda: list(map(len, loader.batches(0))), lambda: list(map(len, rival)), clock=time.process_time)
    ours, theirs, against = N / pair.ours, N / pair.rival, "torchvision, PIL, DataLoader(0)"
    return Row(name, against, ours, theirs, "images/s", pair.ratio, goal, clock="cpu")


if __name__ == "__main__":
    run(__file__, rows())
