"""Write reports and other text files atomically."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any

from unlearn.core.errors import UnlearnError


def write(report: dict[str, Any], folder: Path) -> Path:
    """Write `report.json` to `folder` atomically and return its path.

    Raises:
        UnlearnError: the folder cannot be written.
    """
    return write_text(json.dumps(report, indent=1, allow_nan=False), folder / "report.json")


def write_text(text: str, target: Path, key: str = "paths.output", mode: int = 0o666) -> Path:
    """Write a UTF-8 file atomically, create its folder if necessary, and return its path.

    Characters that UTF-8 cannot encode, such as those of some file names, become question marks.

    Args:
        text: the content.
        target: path of the file.
        key: config key of the folder, for the error message.
        mode: permissions of the file before the umask is applied.

    Raises:
        UnlearnError: the folder cannot be written.
    """
    folder = target.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{target.stem}-{uuid.uuid4().hex}{target.suffix}"
        try:
            with os.fdopen(
                os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8", errors="replace"
            ) as file:
                file.write(text)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UnlearnError(f"{key}: expected a writable folder, got {folder}: {error}") from error
    return target
