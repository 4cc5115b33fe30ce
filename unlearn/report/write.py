"""Put a report where the user looks for it."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

from unlearn.errors import UnlearnError


def write(report: dict[str, Any], folder: Path) -> Path:
    """`report.json` in `folder`, whole or not at all; returns its path.

    Raises:
        UnlearnError: the folder cannot be written.
    """
    return write_text(json.dumps(report, indent=1, allow_nan=False), folder / "report.json")


def write_text(text: str, target: Path, key: str = "paths.output") -> Path:
    """A file in UTF-8, whole or not at all, its folder made if need be; returns its path.

    `key` is what the user set the folder by.

    Raises:
        UnlearnError: the folder cannot be written.
    """
    folder = target.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f".{target.stem}-{uuid.uuid4().hex}{target.suffix}"
        try:
            aside.write_text(text, encoding="utf-8")
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise UnlearnError(f"{key}: expected a writable folder, came {folder}: {error}") from error
    return target
