"""The rival of `rows.py`: training as tutorials do it.

It uses PIL images, transforms of torchvision, a DataLoader and a plain LightningModule in float32.
"""

from __future__ import annotations

import warnings
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from unlearn.core.recipe import Recipe
from unlearn.core.types import Images


class Pictures(Dataset[tuple[Tensor, int]]):
    """PIL images, cropped and mirrored at random."""

    def __init__(self, data: Images) -> None:
        self.images, self.labels = data.images.permute(0, 2, 3, 1).contiguous().numpy(), data.labels.tolist()
        steps = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
        self.transform = transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[i])), self.labels[i]


def loader_of(data: Images, batch_size: int, workers: int) -> DataLoader[tuple[Tensor, int]]:
    """Return a shuffling loader with persistent workers."""
    persistent, pin = workers > 0, torch.cuda.is_available()
    return DataLoader(
        Pictures(data), batch_size, shuffle=True, num_workers=workers, persistent_workers=persistent, pin_memory=pin
    )


class Plain(pl.LightningModule):
    """Trains with cross-entropy and SGD."""

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        super().__init__()
        self.model, self.recipe = model, recipe

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """Return the loss of one batch."""
        return F.cross_entropy(self.model(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer of the recipe."""
        return self.recipe.make_optimizer(self)


def fit(model: nn.Module, batches: Any, recipe: Recipe, device: str) -> None:
    """Train for the epochs of the recipe, without checkpoints, logger and progress bar, which would slow it down."""
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = pl.Trainer(
            accelerator="cpu" if device == "cpu" else "gpu", devices=1, max_epochs=recipe.epochs, **quiet
        )
        trainer.fit(Plain(model.train(), recipe), batches)
