"""What a folder of files holds, as one hash; remembered as long as no file's size or time changes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from unlearn.errors import DataError

THREADS = 8  # reading is mostly waiting


@lru_cache(maxsize=8)
def fingerprint(root: str, names: tuple[str, ...]) -> str:
    """SHA-256 over the names (relative to `root`) and contents of files; no path of this machine is in it.

    Files are read once: the result is kept in the user's cache folder under a hash of their names, sizes and times,
    which a process looks at once.

    Raises:
        DataError: a file cannot be read.
    """
    folder = Path(root)
    try:
        stats = [(folder / name).stat() for name in names]
        seen = _digest(f"{name}\0{s.st_size}\0{s.st_mtime_ns}" for name, s in zip(names, stats, strict=True))
        memory = _cache() / _digest([str(folder.resolve()), seen])
        if memory.is_file():
            return memory.read_text()
        with ThreadPoolExecutor(THREADS) as pool:
            contents = pool.map(lambda name: hashlib.sha256((folder / name).read_bytes()).hexdigest(), names)
            found = _digest(f"{name}\0{content}" for name, content in zip(names, contents, strict=True))
    except OSError as error:
        raise DataError(f"dataset.root: expected readable files, came {error}") from error
    _remember(memory, found)
    return found


def _digest(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(os.fsencode(line) + b"\n")
    return digest.hexdigest()


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unlearn" / "fingerprints"


def _remember(memory: Path, found: str) -> None:
    """Without it the files are read again next time: nothing to fail for."""
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        aside = memory.with_name(f"{memory.name}-{os.getpid()}")
        aside.write_text(found)
        aside.replace(memory)
    except OSError:
        pass
