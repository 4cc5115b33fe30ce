"""Our batches against torchvision transforms, PIL and a DataLoader without workers; equal pixels first.

    python scripts/bench/data.py

prints images a second and the median ratio of interleaved repetitions, on one thread: random crop with padding 4,
mirroring and scaling to [0, 1] of CIFAR-shaped images, and plain MNIST-shaped ones.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from statistics import median

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from unlearn.data.loader import Augmentation, Loader
from unlearn.types import Images

N, BATCH, REPETITIONS = 5000, 128, 5


class AsPil(Dataset[tuple[torch.Tensor, int]]):
    """The way most training scripts read a data set: an image at a time, through PIL."""

    def __init__(self, pixels: torch.Tensor, transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.arrays = [image.squeeze(-1).numpy() for image in pixels.permute(0, 2, 3, 1)]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.arrays[i])), 0


def main() -> None:
    """Print one row per case."""
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {platform.processor() or platform.machine()}, 1 thread, n = {REPETITIONS}")
    augment = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    row("CIFAR shape, crop + flip", (3, 32, 32), Augmentation(crop_padding=4, flip=True), transforms.Compose(augment))
    row("MNIST shape, plain", (1, 28, 28), Augmentation(), transforms.ToTensor())


def row(
    name: str, shape: tuple[int, int, int], augmentation: Augmentation, transform: Callable[[Image.Image], torch.Tensor]
) -> None:
    """Time both sides in turn."""
    pixels = torch.randint(0, 256, (N, *shape), dtype=torch.uint8)
    data = Images(pixels, torch.zeros(N, dtype=torch.int64), torch.arange(N))
    plain = AsPil(pixels, transforms.ToTensor())
    torch.testing.assert_close(plain[7][0], pixels[7].float() / 255)  # the same pixels before augmentation
    loader = Loader(data, BATCH, seed=0, role="bench", augmentation=augmentation)
    rival = DataLoader(AsPil(pixels, transform), BATCH, shuffle=True)
    pairs = [(seconds(lambda: loader.batches(0)), seconds(lambda: rival)) for _ in range(REPETITIONS)]
    mine, theirs = (N / median(column) for column in zip(*pairs, strict=True))
    ratio = median(b / a for a, b in pairs)
    print(f"{name:26} ours {mine:9.0f}/s   torchvision + PIL + DataLoader(0) {theirs:7.0f}/s   ratio {ratio:.1f}")


def seconds(batches: Callable[[], object]) -> float:
    """One pass."""
    start = time.perf_counter()
    for _ in batches():  # type: ignore[attr-defined]
        pass
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
