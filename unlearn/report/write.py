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
    target = folder / "report.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f".report-{uuid.uuid4().hex}.json"
        aside.write_text(json.dumps(report, indent=1, allow_nan=False))
        aside.replace(target)
    except OSError as error:
        raise UnlearnError(f"paths.output: expected a writable folder, came {folder}: {error}") from error
    return target
