"""Turn what PyTorch users have (tensors, a `Dataset`, a `DataLoader`) into images that strategies and metrics read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from unlearn.core.errors import ConfigError, DataError, Problem, format_error
from unlearn.core.types import Images

LabelledImages = tuple[Tensor, Tensor] | Dataset[Any] | DataLoader[Any]
EXPECTED = "(images, labels) as tensors, a Dataset or a DataLoader of (image, label)"


def read_images(data: LabelledImages, argument: str, device: torch.device | str = "cpu", start: int = 0) -> Images:
    """Read labelled images into memory.

    Args:
        data: images [n, c, h, w] and labels [n] as tensors, or a `Dataset` with a length or a `DataLoader` of
            (image, label). Floats reach the model as they are, so normalise them as for its training; uint8 becomes
            float32 in [0, 1].
        argument: the name of the argument, for messages.
        device: where the images are kept.
        start: the index of the first image.

    Returns:
        Images uint8 or float32 [n, c, h, w] and labels int64 [n], indexed from `start`.

    Raises:
        ConfigError: `data` is none of these, or the tensors have other shapes or types.
        DataError: the `Dataset` or `DataLoader` raised an error.
    """
    if isinstance(data, TensorDataset):
        data = (data.tensors[0], data.tensors[-1])
    images, labels = _as_pair(data, argument)
    _check(images, labels, argument)
    pixels = images if images.dtype == torch.uint8 else images.float()
    index = torch.arange(start, start + len(labels))
    return Images(pixels.detach().contiguous(), labels.detach().long(), index).to(device)


def join(first: Images, second: Images) -> Images:
    """Return the images of both, in that order."""
    return Images(*(torch.cat([getattr(part, name) for part in (first, second)]) for name in vars(first)))


def _as_pair(data: Any, argument: str) -> tuple[Tensor, Tensor]:
    if isinstance(data, tuple | list) and len(data) == 2 and all(isinstance(part, Tensor) for part in data):
        return data[0], data[1]
    batches: Iterable[Any] | None = data if isinstance(data, DataLoader) else None
    if batches is None and hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, Tensor):
        batches = ([part[None] for part in map(_as_tensor, data[i])] for i in range(len(data)))
    if batches is None:
        raise ConfigError([f"{argument}: expected {EXPECTED}, got {_describe(data)}"])
    try:
        images, labels = zip(*((_as_tensor(batch[0]), _as_tensor(batch[1])) for batch in batches), strict=True)
        return torch.cat(images), torch.cat(labels)
    except Exception as error:  # a user's data set may raise anything
        raise DataError(f"{argument}: expected {EXPECTED}, got {format_error(error)}") from error


def _as_tensor(item: Any) -> Tensor:
    """Convert a tensor, an array or an integer label.

    Raises:
        TypeError: it is something else, such as an image of Pillow.
    """
    if type(item).__module__.startswith("PIL."):
        raise TypeError("an image of Pillow; add torchvision.transforms.ToTensor() to the data set")
    return torch.as_tensor(item)


def _check(images: Tensor, labels: Tensor, argument: str) -> None:
    """Refuse tensors that are not labelled images.

    Raises:
        ConfigError: with what is wrong.
    """
    problem = None
    if images.dim() != 4:
        problem = Problem(argument, "images of shape [n, c, h, w]", list(images.shape))
    elif not images.is_floating_point() and images.dtype != torch.uint8:
        problem = Problem(argument, "images of type float or uint8", str(images.dtype))
    elif labels.dim() != 1 or labels.is_floating_point() or labels.dtype == torch.bool:
        problem = Problem(argument, "labels: integers of shape [n]", f"{labels.dtype} {list(labels.shape)}")
    elif len(images) != len(labels) or not len(labels):
        problem = Problem(argument, "as many labels as images", f"{len(images)} images and {len(labels)} labels")
    if problem is not None:
        raise ConfigError([problem])


def _describe(data: object) -> str:
    return "None" if data is None else f"a {type(data).__name__}"
