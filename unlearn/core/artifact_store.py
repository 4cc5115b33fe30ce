"""The content-addressed artifact store: one folder per key, built in a temporary folder and renamed into place."""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from unlearn.core.artifact_entry import Entry, find_entry
from unlearn.core.artifact_meta import META, add_digest, file_sha256
from unlearn.core.errors import DamagedError, StoreError

__all__ = ["ArtifactStore", "Entry"]

PATIENCE = 3.0  # seconds that a process waits for another before it reports that it waits


class ArtifactStore:
    """Artifacts in folders `root/<kind>/<key>`; the key is a hash of everything that determines the content.

    A lock per key keeps processes from building the same artifact twice. It is the rename into place, not the lock,
    that keeps readers from ever seeing a half-written artifact.

    Args:
        root: the folder of the store.
        rebuild_damaged: discard a damaged artifact and build it again; otherwise it raises `DamagedError`.
    """

    def __init__(self, root: Path | str, rebuild_damaged: bool = False) -> None:
        self.root = Path(root)
        self.rebuild_damaged = rebuild_damaged

    def lookup(self, kind: str, key: str) -> Entry | None:
        """Find an artifact; a damaged one is discarded if `rebuild_damaged`.

        Returns:
            The artifact, or None if the store does not have it.

        Raises:
            StoreError: the artifact is damaged and `rebuild_damaged` is false, or it cannot be read.
        """
        try:
            return self._find(kind, key)
        except DamagedError:
            if not self.rebuild_damaged:
                raise
        with self._writing(), self._lock(key):  # another process may be rebuilding it, or have done so by now
            return self._find_or_discard(kind, key)

    def _find_or_discard(self, kind: str, key: str) -> Entry | None:
        """As `_find`, but discards a damaged artifact if `rebuild_damaged`. The caller must hold the lock."""
        try:
            return self._find(kind, key)
        except DamagedError:
            if not self.rebuild_damaged:
                raise
        self._discard(self.root / kind / key)
        return None

    def _find(self, kind: str, key: str) -> Entry | None:
        return find_entry(self.root / kind / key, contents=self.rebuild_damaged)

    def get(
        self,
        kind: str,
        key: str,
        build: Callable[[Path], None],
        describe: Callable[[], dict[str, Any]],
        on_wait: Callable[[], None] = lambda: None,
    ) -> Entry:
        """Return an artifact, and build it first if the store does not have it.

        Args:
            kind: the kind of artifact, a folder of the store.
            key: the hash that names it.
            build: writes the files of the artifact into a given empty folder.
            describe: returns further fields of `meta.json`, after the build; `seconds` among them are those of
                earlier, interrupted builds and are added to the time of this one.
            on_wait: called once if another process is building the artifact and takes long.

        Raises:
            StoreError: the store cannot be written, or the artifact is damaged.
        """
        entry = self.lookup(kind, key)
        if entry:
            return entry
        with self._writing(), _acquired(self._lock(key), on_wait):
            return self._find_or_discard(kind, key) or self.put(kind, key, build, describe)

    @contextmanager
    def claim(self, kind: str, keys: Iterable[str]) -> Iterator[frozenset[str]]:
        """Lock the missing artifacts among `keys`, to build them with `put` inside the `with` block.

        It never waits: keys that another process has locked are left out, so that two processes with the same keys
        divide the work.

        Yields:
            The keys that are locked and missing from the store.

        Raises:
            StoreError: the store cannot be written.
        """
        with self._writing(), ExitStack() as locks:
            free = set()
            for key in keys:
                with suppress(Timeout):
                    locks.enter_context(self._lock(key).acquire(blocking=False))
                    free.add(key)
            yield frozenset(key for key in free if self._find_or_discard(kind, key) is None)

    def put(self, kind: str, key: str, build: Callable[[Path], None], describe: Callable[[], dict[str, Any]]) -> Entry:
        """Build an artifact while its key is locked, as in `claim`; arguments as for `get`."""
        building = self.root / "building"
        building.mkdir(parents=True, exist_ok=True)
        for abandoned in building.glob(f"{key}-*"):  # by a killed process: we hold the lock, so nobody else uses it
            shutil.rmtree(abandoned, ignore_errors=True)
        folder = building / f"{key}-{uuid.uuid4().hex}"  # mkdtemp would deny access to other users of a shared store
        folder.mkdir()
        try:
            start = time.perf_counter()
            build(folder)
            seconds, fields = time.perf_counter() - start, describe()
            seconds += fields.get("seconds", 0.0)
            meta = _write_meta(folder, fields | {"kind": kind, "key": key, "seconds": seconds})
            for path in folder.iterdir():
                path.chmod(folder.stat().st_mode & 0o666)
                sync(path)
            sync(folder)
            entry = self._move_into_place(folder, self.root / kind / key, meta)
            shutil.rmtree(self.partial(key), ignore_errors=True)
            return entry
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def partial(self, key: str) -> Path:
        """The folder in which a build may keep progress, for a later attempt to resume from.

        Only the process that holds the lock may use it. It is deleted once the artifact is complete.
        """
        return self.root / "partial" / key

    def pin(self, name: str, digest: str) -> None:
        """Record which content `name` refers to, so that keys may contain the name in place of the content.

        Args:
            name: the name of a data set.
            digest: a hash of its content.

        Raises:
            StoreError: the name is recorded with another content, or the store cannot be written.
        """
        path = self.root / "pins" / f"{name}.txt"
        with self._writing():
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary = path.with_name(f"{name}-{uuid.uuid4().hex}")
                temporary.write_text(digest)
                temporary.replace(path)
            recorded = path.read_text(errors="replace") if path.is_file() else "not a file"
        if recorded != digest:
            raise StoreError(
                f"dataset {name}: expected the data that {self.root} was filled with ({recorded[:12]}), got other "
                f"data ({digest[:12]}); use another paths.store for other data"
            )

    def remove(self, key: str, *folders: Path) -> bool:
        """Remove folders of a key, each with one rename, and the key's lock file.

        Returns:
            False if another process holds the lock: nothing is removed then.

        Raises:
            StoreError: the store cannot be written.
        """
        with self._writing(), suppress(Timeout), self._lock(key).acquire(blocking=False) as lock:
            for folder in folders:
                self._discard(folder)
            # A process that already has the file open and gets the lock next sees that the file has no name any more:
            # filelock then opens a new one, so two processes never hold the lock of one key.
            Path(lock.lock_file).unlink(missing_ok=True)
            return True
        return False

    def _discard(self, folder: Path) -> None:
        hidden = self.root / "building" / f"{folder.name.partition('-')[0]}-{uuid.uuid4().hex}"
        hidden.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # another process removed it first
            folder.rename(hidden)
            if hidden.is_dir() and not hidden.is_symlink():
                shutil.rmtree(hidden)
            else:  # a link or a file in the place of an artifact
                hidden.unlink()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            expected = "a writable folder with free space"
            raise StoreError(f"paths.store: expected {expected}, got {self.root}: {error}") from error

    def _lock(self, key: str) -> FileLock:
        locks = self.root / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        return FileLock(locks / f"{key}.lock")

    def _move_into_place(self, folder: Path, target: Path, meta: dict[str, Any]) -> Entry:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.rename(target)
            sync(target.parent)
        except OSError:  # a process without our lock was first (locks may fail on network file systems): keep its files
            entry = self._find(meta["kind"], meta["key"])
            if entry is None:
                raise
            return entry
        return Entry(target, meta, reused=False)


def _write_meta(folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    """Write the `meta.json` of the files in a folder; returns its content."""
    fields["created"] = time.time()
    fields["files"] = {p.name: {"bytes": p.stat().st_size, "sha256": file_sha256(p)} for p in folder.iterdir()}
    meta = add_digest(fields)
    (folder / META).write_text(json.dumps(meta, indent=1))
    return meta


@contextmanager
def _acquired(lock: FileLock, on_wait: Callable[[], None]) -> Iterator[None]:
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        on_wait()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def sync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
