"""Put a report where the user looks for it."""

from __future__ import annotations

import json
import os
import tempfile
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
        descriptor, aside = tempfile.mkstemp(dir=folder, prefix=".report-")
        with os.fdopen(descriptor, "w") as file:
            json.dump(report, file, indent=1, allow_nan=False)
        Path(aside).replace(target)
    except OSError as error:
        raise UnlearnError(f"paths.output: expected a writable folder, came {folder}: {error}") from error
    return target
