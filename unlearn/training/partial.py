"""How far an interrupted training came: its last finished epoch, in a Lightning checkpoint."""

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

OURS = "unlearn"  # what our part of the checkpoint lies under


@dataclass(frozen=True)
class Progress:
    """What earlier attempts did: `epochs` of them are there, after so many `seconds` in all."""

    epochs: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Partial:
    """Where one training keeps its last finished epoch, in a folder of its own, and the least seconds between writes.

    The first epoch that ends so late is written. Its cost is that of one file in `every` seconds, and what is lost
    to a kill is at most `every` seconds and one epoch (our choice).
    """

    path: Path
    every: float

    def read(self) -> Progress:
        """How far it came, if it ever began.

        Raises:
            StoreError: what is there cannot be used: damaged, or of other versions, whose bits might differ.
        """
        if not self.path.exists():
            return Progress()
        try:
            checkpoint = _load(self.path)
            versions, epochs, seconds = (checkpoint[OURS][name] for name in ("versions", "epochs", "seconds"))
        except Exception as error:  # the reader raises whatever a damaged file leads it to
            raise StoreError(f"a damaged checkpoint ({type(error).__name__}: {first_line(error)})") from error
        if versions != library_versions():
            raise StoreError(
                f"a checkpoint of other versions ({_listed(versions)}; here {_listed(library_versions())})"
            )
        return Progress(epochs, seconds)

    def drop(self) -> None:
        """Start anew."""
        shutil.rmtree(self.path.parent, ignore_errors=True)


def library_versions() -> dict[str, str]:
    """The versions that the content of a checkpoint hangs on."""
    return {"torch": str(torch.__version__), "pytorch-lightning": version("pytorch-lightning")}


class AtomicIO(TorchCheckpointIO):
    """Lightning's format, written beside its place, forced to disk and then moved there."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Raises OSError on a full disk, and leaves what was there before."""
        del storage_options
        content = io.BytesIO()  # torch's writer on a file would hide a full disk behind an error of its own
        torch.save(checkpoint, content)
        aside = Path(path).with_suffix(".part")
        aside.parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("wb") as file:
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)


def _load(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:  # torch itself does not look at the checksums
        bad = archive.testzip()
    if bad is not None:
        raise zipfile.BadZipFile(f"wrong checksum of {bad}")
    return TorchCheckpointIO().load_checkpoint(path, weights_only=True)


def _listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
