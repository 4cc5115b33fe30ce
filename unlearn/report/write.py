"""Put a report where the user looks for it."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any

from unlearn.core.errors import UnlearnError


def write(report: dict[str, Any], folder: Path) -> Path:
    """`report.json` in `folder`, whole or not at all; returns its path.

    Raises:
        UnlearnError: the folder cannot be written.
    """
    return write_text(json.dumps(report, indent=1, allow_nan=False), folder / "report.json")


def write_text(text: str, target: Path, key: str = "paths.output", mode: int = 0o666) -> Path:
    """A file in UTF-8, whole or not at all, its folder made if need be; returns its path.

    Names that are no UTF-8 on disk are written with question marks. `key` is what the user set the folder by, `mode`
    what the process's umask is taken from.

    Raises:
        UnlearnError: the folder cannot be written.
    """
    folder = target.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f".{target.stem}-{uuid.uuid4().hex}{target.suffix}"
        try:
            with os.fdopen(
                os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8", errors="replace"
            ) as file:
                file.write(text)
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise UnlearnError(f"{key}: expected a writable folder, got {folder}: {error}") from error
    return target
