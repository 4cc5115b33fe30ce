"""Published data sets that torchvision reads and downloads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from unlearn.core.errors import DataError, first_line
from unlearn.core.progress import reading
from unlearn.core.types import Images
from unlearn.core.validation import at_least, one_of, runtime
from unlearn.data.datasets.base import Contents, Dataset, Part, hold_in_memory

FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")

# The twenty superclasses of CIFAR-100 in the order of their labels, five classes each (Krizhevsky 2009, table 1).
SUPERCLASSES = {
    "aquatic mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food containers": "bottle bowl can cup plate",
    "fruit and vegetables": "apple mushroom orange pear sweet_pepper",
    "household electrical devices": "clock keyboard lamp telephone television",
    "household furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large carnivores": "bear leopard lion tiger wolf",
    "large man-made outdoor things": "bridge castle house road skyscraper",
    "large natural outdoor scenes": "cloud forest mountain plain sea",
    "large omnivores and herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium-sized mammals": "fox porcupine possum raccoon skunk",
    "non-insect invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles 1": "bicycle bus motorcycle pickup_truck train",
    "vehicles 2": "lawn_mower rocket streetcar tank tractor",
}


@dataclass(frozen=True)
class Published(Dataset):
    """A data set of `torchvision.datasets`."""

    torchvision_name: ClassVar[str]
    parts: ClassVar[tuple[dict[str, Any], dict[str, Any]]] = ({"train": True}, {"train": False})

    root: str = runtime("data")  # folder of the files
    download: bool = runtime(False)  # download missing files

    def load(self) -> Contents:
        with reading(self.train_size + self.test_size):
            train, test = (hold_in_memory(self._read(part)) for part in self.parts)
        return self.labelled(train, test)

    def labelled(self, train: Images, test: Images) -> Contents:
        """The contents with the labels that the settings select."""
        return Contents(train, test)

    def _read(self, part: dict[str, Any]) -> Part:
        from torchvision import datasets

        try:
            source = getattr(datasets, self.torchvision_name)(root=self.root, download=self.download, **part)
        except (RuntimeError, OSError, ValueError, AssertionError, EOFError) as error:  # all that torchvision raises
            raise DataError(
                f"dataset.root: expected {self.torchvision_name} under {self.root!r}, got nothing readable "
                f"({first_line(error)}): {'' if self.download else 'set dataset.download=true, or '}point dataset.root "
                f"to the folder that torchvision.datasets.{self.torchvision_name} would fill"
            ) from error
        labels = source.targets if hasattr(source, "targets") else source.labels  # SVHN has `labels`
        return self.pixels(source.data), torch.as_tensor(labels, dtype=torch.int64)

    @staticmethod
    def pixels(images: Any) -> torch.Tensor:
        """uint8 [n, c, h, w] from torchvision's grey [n, h, w] or colour [n, h, w, c]."""
        pixels = torch.as_tensor(images)
        return pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Mnist(Published):
    """60,000 + 10,000 grey 28 x 28 handwritten digits (LeCun et al. 1998)."""

    torchvision_name = "MNIST"
    shape = (1, 28, 28)
    classes = 10
    train_size = 60_000
    test_size = 10_000
    normalisation = ((0.1307,), (0.3081,))


@dataclass(frozen=True)
class FashionMnist(Published):
    """60,000 + 10,000 grey 28 x 28 images of clothes (Xiao et al. 2017)."""

    torchvision_name = "FashionMNIST"
    shape = (1, 28, 28)
    classes = 10
    train_size = 60_000
    test_size = 10_000
    normalisation = ((0.2860,), (0.3530,))
    class_names = FASHION


@dataclass(frozen=True)
class Cifar10(Published):
    """50,000 + 10,000 colour 32 x 32 photographs (Krizhevsky 2009), cropped and mirrored while training."""

    torchvision_name = "CIFAR10"
    shape = (3, 32, 32)
    classes = 10
    train_size = 50_000
    test_size = 10_000
    normalisation = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    class_names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

    crop_padding: int = at_least(0, 4)
    flip: bool = True


@dataclass(frozen=True)
class Cifar100(Published):
    """50,000 + 10,000 colour 32 x 32 photographs (Krizhevsky 2009), cropped and mirrored while training.

    `labels=coarse` uses the twenty superclasses as labels ("CIFAR-20"); `forget=subclass` then picks one of the
    hundred classes.
    """

    torchvision_name = "CIFAR100"
    shape = (3, 32, 32)
    train_size = 50_000
    test_size = 10_000
    normalisation = ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))

    labels: str = one_of("fine", "coarse")  # the 100 classes, or the 20 superclasses
    crop_padding: int = at_least(0, 4)
    flip: bool = True

    @property
    def classes(self) -> int:
        return 100 if self.labels == "fine" else len(SUPERCLASSES)

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(fine_names()) if self.labels == "fine" else tuple(SUPERCLASSES)

    @property
    def subclasses(self) -> tuple[str, ...]:
        return tuple(fine_names()) if self.labels == "coarse" else ()

    @property
    def pin(self) -> str:
        return f"cifar100-{self.labels}"

    def labelled(self, train: Images, test: Images) -> Contents:
        if self.labels == "fine":
            return Contents(train, test)
        superclass = torch.tensor(list(fine_names().values()))
        coarse_train, coarse_test = (part.relabelled(superclass[part.labels]) for part in (train, test))
        return Contents(coarse_train, coarse_test, subclass=train.labels)


def fine_names() -> dict[str, int]:
    """The classes of CIFAR-100 in alphabetical order, which is that of their labels, with the superclass."""
    superclasses = {name: label for label, names in enumerate(SUPERCLASSES.values()) for name in names.split()}
    return dict(sorted(superclasses.items()))


@dataclass(frozen=True)
class Svhn(Published):
    """73,257 + 26,032 colour 32 x 32 photographs of house numbers (Netzer et al. 2011), cropped to single digits."""

    torchvision_name = "SVHN"
    parts = ({"split": "train"}, {"split": "test"})
    shape = (3, 32, 32)
    classes = 10
    train_size = 73_257
    test_size = 26_032
    normalisation = ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970))

    @staticmethod
    def pixels(images: Any) -> torch.Tensor:
        return torch.as_tensor(images)  # channels come first
