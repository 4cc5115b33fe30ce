"""Hashes of the files in a folder, cached until the size or the modification time of a file changes."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from unlearn.core.errors import DataError
from unlearn.core.progress import reading, with_ticks

THREADS = 8  # more than cores: threads mostly wait for the disk
DIGEST_BYTES = 32  # of a SHA-256


@lru_cache(maxsize=8)
def fingerprint(root: str, names: tuple[str, ...]) -> str:
    """SHA-256 over the names (relative to `root`) and contents of files; it does not depend on where `root` is.

    Raises:
        DataError: a file cannot be read.
    """
    contents = (digest.hex() for digest in digests(root, names))
    return _digest(f"{name}\0{content}" for name, content in zip(names, contents, strict=True))


@lru_cache(maxsize=8)
def digests(root: str, names: tuple[str, ...]) -> tuple[bytes, ...]:
    """Compute the SHA-256 of the content of each file.

    Files are read once: the hashes are kept in the user's cache folder under a hash of the names, sizes and
    modification times, which a process checks once.

    Raises:
        DataError: a file cannot be read.
    """
    folder = Path(root)
    path = cache_path(folder, names, "sha256")
    hashes = _read_cache(path, len(names))
    if hashes is None:
        try:
            with reading(len(names)) as tick, ThreadPoolExecutor(THREADS) as pool:
                hashes = b"".join(with_ticks(pool.map(lambda name: _sha256(folder / name), names), len(names), tick))
        except OSError as error:
            raise DataError(f"dataset.root: expected readable files, got {error}") from error
        if path is not None:
            write_cache(path, hashes)
    return tuple(hashes[i : i + DIGEST_BYTES] for i in range(0, len(hashes), DIGEST_BYTES))


def cache_path(folder: Path, names: tuple[str, ...], kind: str) -> Path | None:
    """The path in the user's cache for facts about files in their present state; None if a file is missing.

    Args:
        folder: the folder of the files.
        names: their paths in it.
        kind: names the facts, such as `sha256`.
    """
    try:
        stats = hash_stats(folder, names)
    except OSError:
        return None
    return _cache() / f"{_digest([str(folder.resolve()), stats])}-{kind}"


def hash_stats(folder: Path, names: tuple[str, ...]) -> str:
    """Hash of the names, sizes and modification times of files.

    Raises:
        OSError: a file is missing.
    """
    stats = ((name, (folder / name).stat()) for name in names)
    return _digest(f"{name}\0{s.st_size}\0{s.st_mtime_ns}" for name, s in stats)


def write_cache(path: Path, content: bytes) -> None:
    """Write a file of the cache; without the permission to do so nothing is cached."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}-{os.getpid()}")
        temporary.write_bytes(content)
        temporary.replace(path)


def _read_cache(path: Path | None, count: int) -> bytes | None:
    if path is None or not path.is_file():
        return None
    with path.open("rb") as file:
        content = file.read()
    return content if len(content) == count * DIGEST_BYTES else None


def _sha256(path: Path) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe would never end
        raise OSError(f"{path}, which is not a regular file")
    return hashlib.sha256(path.read_bytes()).digest()


def _digest(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(os.fsencode(line) + b"\n")
    return digest.hexdigest()


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unlearn" / "fingerprints"
