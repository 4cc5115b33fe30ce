"""What a folder of files holds, as hashes; remembered as long as no file's size or time changes."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from unlearn.core.errors import DataError

THREADS = 8  # reading is mostly waiting
LENGTH = 32  # bytes of a SHA-256


@lru_cache(maxsize=8)
def fingerprint(root: str, names: tuple[str, ...]) -> str:
    """SHA-256 over the names (relative to `root`) and contents of files; no path of this machine is in it.

    Raises:
        DataError: a file cannot be read.
    """
    contents = (each.hex() for each in digests(root, names))
    return _digest(f"{name}\0{content}" for name, content in zip(names, contents, strict=True))


@lru_cache(maxsize=8)
def digests(root: str, names: tuple[str, ...]) -> tuple[bytes, ...]:
    """The SHA-256 of each file's content.

    Files are read once: the hashes are kept in the user's cache folder under a hash of their names, sizes and times,
    which a process looks at once.

    Raises:
        DataError: a file cannot be read.
    """
    folder = Path(root)
    memory = cache_path(folder, names, "sha256")
    known = _recall(memory, len(names))
    if known is None:
        try:
            with ThreadPoolExecutor(THREADS) as pool:
                known = b"".join(pool.map(lambda name: _sha256(folder / name), names))
        except OSError as error:
            raise DataError(f"dataset.root: expected readable files, got {error}") from error
        if memory is not None:
            remember(memory, known)
    return tuple(known[i : i + LENGTH] for i in range(0, len(known), LENGTH))


def cache_path(folder: Path, names: tuple[str, ...], kind: str) -> Path | None:
    """Where the cache keeps what is known of these files as they are; None if one of them is not there."""
    try:
        seen = stamp(folder, names)
    except OSError:
        return None
    return _cache() / f"{_digest([str(folder.resolve()), seen])}-{kind}"


def stamp(folder: Path, names: tuple[str, ...]) -> str:
    """Hash of the names, sizes and times of files.

    Raises:
        OSError: one of them is not there.
    """
    stats = ((name, (folder / name).stat()) for name in names)
    return _digest(f"{name}\0{s.st_size}\0{s.st_mtime_ns}" for name, s in stats)


def remember(memory: Path, found: bytes) -> None:
    """Without it the files are read again next time: nothing to fail for."""
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        aside = memory.with_name(f"{memory.name}-{os.getpid()}")
        aside.write_bytes(found)
        aside.replace(memory)
    except OSError:
        pass


def _recall(memory: Path | None, count: int) -> bytes | None:
    if memory is None or not memory.is_file():
        return None
    with memory.open("rb") as file:
        known = file.read()
    return known if len(known) == count * LENGTH else None


def _sha256(path: Path) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):  # to read a pipe would wait for ever
        raise OSError(f"{path}, which is not a regular file")
    return hashlib.sha256(path.read_bytes()).digest()


def _digest(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(os.fsencode(line) + b"\n")
    return digest.hexdigest()


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unlearn" / "fingerprints"
