"""The only place that builds a Lightning Trainer, with everything off that we do not use."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from unlearn.checks import at_least, one_of


@dataclass(frozen=True)
class TrainerSettings:
    """How work is run; only `deterministic` is part of what is computed."""

    accelerator: str = one_of("auto", "cpu", "gpu")
    deterministic: bool = True  # refuse operations that do not repeat bit for bit
    threads: int | None = at_least(1, 1)  # on the CPU; null: one per core. One repeats on any machine, shares well
    detect_anomaly: bool = False  # name the operation that made a NaN; slow

    @property
    def device(self) -> str:
        """`cuda` or `cpu`, what `auto` stands for included."""
        gpu = self.accelerator == "gpu" or (self.accelerator == "auto" and torch.cuda.is_available())
        return "cuda" if gpu else "cpu"


def fit(
    module: Any,
    batches: Iterable[Any],
    settings: TrainerSettings,
    epochs: int = 1,
    clip: float | None = None,
) -> None:
    """Run a LightningModule over `batches` for a number of epochs, on one device, quietly."""
    import pytorch_lightning as pl

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    trainer = pl.Trainer(
        accelerator=settings.device if settings.device == "cpu" else "gpu",
        devices=1,
        max_epochs=epochs,
        gradient_clip_val=clip,
        deterministic=settings.deterministic,
        detect_anomaly=settings.detect_anomaly,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="pytorch_lightning")
        warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated")  # Lightning 2.6 on torch >= 2.12
        trainer.fit(module, train_dataloaders=batches)
