"""An artifact in the store: how its files are found, checked and read."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearn.core.artifact_meta import META, MetaError, file_sha256, find_file_problems, read_meta
from unlearn.core.errors import DamagedError, StoreError

TOUCH_INTERVAL = 3600.0  # seconds: the modification time of `meta.json` records the last use, to this precision


@dataclass(frozen=True)
class Entry:
    """An artifact in the store: its folder and the content of its `meta.json`."""

    folder: Path
    meta: dict[str, Any]
    reused: bool

    @property
    def key(self) -> str:
        """The hash that names the artifact."""
        return self.folder.name

    @property
    def seconds(self) -> float:
        """Time that the build took, in seconds, without the builds of its inputs."""
        return float(self.meta["seconds"])

    def file(self, name: str) -> Path:
        """Check a file of the artifact against its recorded hash.

        Returns:
            The path of the file.

        Raises:
            StoreError: the file is missing, altered or unreadable.
        """
        path, record = self.folder / name, self.meta["files"].get(name, {})
        try:
            is_intact = path.is_file() and file_sha256(path) == record.get("sha256")
        except OSError as error:
            raise _unreadable(path, error) from error
        if not is_intact:
            raise _damaged(self.folder, name)
        return path

    def json(self, name: str) -> Any:
        """Check and parse a JSON file of the artifact.

        Raises:
            StoreError: the file is missing, altered or not JSON.
        """
        try:
            return json.loads(self.file(name).read_bytes())
        except (ValueError, RecursionError) as error:
            raise _damaged(self.folder, name) from error


def find_entry(folder: Path, contents: bool) -> Entry | None:
    """Find the artifact in a folder, and record its use.

    Its `meta.json` and the sizes of its files are checked.

    Args:
        folder: the artifact's folder, `<kind>/<key>`.
        contents: also check the content of all files now; otherwise that of a file is checked when the file is read.

    Returns:
        The artifact, or None if there is no such folder.

    Raises:
        StoreError: the artifact is damaged (`DamagedError`) or unreadable.
    """
    if not os.path.lexists(folder):
        return None
    try:
        meta = read_meta(folder)
        problem = next(find_file_problems(folder, meta, contents), None)
    except MetaError as error:
        raise _damaged(folder, f"{META}: {error}") from error
    except PermissionError as error:
        raise _unreadable(folder, error) from error
    except OSError as error:
        raise _damaged(folder, META) from error
    if problem:
        raise _damaged(folder, problem)
    _record_use(folder / META)
    return Entry(folder, meta, reused=True)


def _record_use(meta: Path) -> None:
    """Set the modification time of `meta.json` to now, so that `gc` can tell used artifacts from unused ones.

    Without the permission to do so, as in the store of another user, it does nothing.
    """
    with suppress(OSError):
        if time.time() - meta.stat().st_mtime > TOUCH_INTERVAL:
            os.utime(meta)


def _damaged(folder: Path, part: str) -> DamagedError:
    return DamagedError(
        f"paths.store: expected the artifact {folder} as it was written, got a damaged {part}; "
        f"remove that folder, or run again with rebuild_damaged=true"
    )


def _unreadable(path: Path, error: OSError) -> StoreError:
    return StoreError(f"paths.store: expected a readable store, got {path}: {error.strerror}")
