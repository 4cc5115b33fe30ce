"""Resuming an interrupted training from a Lightning checkpoint of its last finished epoch."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from unlearn.core.errors import StoreError, first_line

OURS = "unlearn"  # the key of our own entries in the checkpoint


@dataclass(frozen=True)
class Progress:
    """The progress of earlier attempts: finished epochs, and the time they took in seconds."""

    epochs: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Partial:
    """The checkpoint of a training's last finished epoch.

    An epoch is written if the last write was at least `every` seconds ago. So at most one file is written in `every`
    seconds, and a killed training loses at most `every` seconds and one epoch (our choice).

    Args:
        path: the checkpoint, in a folder of its own.
        every: the minimum time between two writes, in seconds.
    """

    path: Path
    every: float

    def read(self) -> Progress:
        """Read the progress of earlier attempts; 0 epochs if there is no checkpoint.

        Raises:
            StoreError: the checkpoint is damaged, or was written by other library versions, whose results may differ.
        """
        if not self.path.exists():
            return Progress()
        try:
            checkpoint = _load(self.path)
            versions, epochs, seconds = (checkpoint[OURS][name] for name in ("versions", "epochs", "seconds"))
        except Exception as error:  # a damaged file may make the reader raise anything
            raise StoreError(f"a damaged checkpoint ({type(error).__name__}: {first_line(error)})") from error
        if versions != library_versions():
            here = _format_versions(library_versions())
            raise StoreError(f"a checkpoint of other versions ({_format_versions(versions)}; here {here})")
        return Progress(epochs, seconds)

    def drop(self) -> None:
        """Delete the checkpoint, so that training starts from the beginning."""
        shutil.rmtree(self.path.parent, ignore_errors=True)


def library_versions() -> dict[str, str]:
    """The library versions that the content of a checkpoint depends on."""
    return {"torch": str(torch.__version__), "pytorch-lightning": version("pytorch-lightning")}


class AtomicIO(TorchCheckpointIO):
    """Writes Lightning checkpoints atomically: to a temporary file, flushed to disk, then renamed."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            OSError: the disk is full; an earlier checkpoint stays as it was.
        """
        del storage_options
        content = io.BytesIO()  # torch's writer would report a full disk as another error
        torch.save(checkpoint, content)
        temporary = Path(path).with_suffix(".part")
        temporary.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _load(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:  # torch itself does not check the checksums
        damaged_file = archive.testzip()
    if damaged_file is not None:
        raise zipfile.BadZipFile(f"wrong checksum of {damaged_file}")
    return TorchCheckpointIO().load_checkpoint(path, weights_only=True)


def _format_versions(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
