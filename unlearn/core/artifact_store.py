"""The content-addressed artefact store: a folder per key, built aside, moved into place in one step."""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from unlearn.core.artifact_meta import META, MetaError, file_problems, file_sha256, read_meta, sealed
from unlearn.core.errors import DamagedError, StoreError

NOTED = 3600.0  # seconds: an artefact's use is noted by the time of its `meta.json`, at most so often
PATIENCE = 3.0  # seconds until a process that waits for another says so


@dataclass(frozen=True)
class Entry:
    """An artefact: its folder and what its `meta.json` says."""

    folder: Path
    meta: dict[str, Any]
    reused: bool

    @property
    def key(self) -> str:
        """The hash that names it."""
        return self.folder.name

    @property
    def seconds(self) -> float:
        """How long it took to build, without its inputs."""
        return float(self.meta["seconds"])

    def file(self, name: str) -> Path:
        """A file of the artefact, its content checked against the hash that was noted when it was built.

        Raises:
            StoreError: the file is missing, altered or unreadable.
        """
        path, noted = self.folder / name, self.meta["files"].get(name, {})
        try:
            whole = path.is_file() and file_sha256(path) == noted.get("sha256")
        except OSError as error:
            raise StoreError(f"paths.store: expected a readable store, got {path}: {error.strerror}") from error
        if not whole:
            raise _damaged(self.folder, name)
        return path

    def json(self, name: str) -> Any:
        """A JSON file of the artefact.

        Raises:
            StoreError: the file is missing, altered or not JSON.
        """
        try:
            return json.loads(self.file(name).read_bytes())
        except (ValueError, RecursionError) as error:
            raise _damaged(self.folder, name) from error


class ArtifactStore:
    """Artefacts under `root/<kind>/<key>`; the key says everything that determines the content.

    A lock saves processes from building the same thing twice; that nothing half-written is ever seen rests on the
    rename alone. Damaged artefacts are reported, and rebuilt only if `rebuild_damaged`.
    """

    def __init__(self, root: Path | str, rebuild_damaged: bool = False) -> None:
        self.root = Path(root)
        self.rebuild_damaged = rebuild_damaged

    def lookup(self, kind: str, key: str) -> Entry | None:
        """The artefact, if it is there; a damaged one is thrown away if `rebuild_damaged`.

        Raises:
            StoreError: it is damaged and shall not be rebuilt, or it cannot be read.
        """
        try:
            return self._find(kind, key)
        except DamagedError:
            if not self.rebuild_damaged:
                raise
        with self._writing(), self._lock(key):  # another process may be rebuilding it, or have done so by now
            return self._find_whole(kind, key)

    def _find_whole(self, kind: str, key: str) -> Entry | None:
        """As `_find`; a damaged one is thrown away if `rebuild_damaged`. It is for the one who holds the lock."""
        try:
            return self._find(kind, key)
        except DamagedError:
            if not self.rebuild_damaged:
                raise
        self._discard(self.root / kind / key)
        return None

    def _find(self, kind: str, key: str) -> Entry | None:
        """The artefact, if it is there. Its `meta.json` and sizes are checked now, contents when they are read or, if
        `rebuild_damaged`, now as well."""
        folder = self.root / kind / key
        if not os.path.lexists(folder):
            return None
        try:
            meta = read_meta(folder)
            wrong = next(file_problems(folder, meta, contents=self.rebuild_damaged), None)
        except MetaError as error:
            raise _damaged(folder, f"{META}: {error}") from error
        except PermissionError as error:
            raise StoreError(f"paths.store: expected a readable store, got {folder}: {error.strerror}") from error
        except OSError as error:
            raise _damaged(folder, META) from error
        if wrong:
            raise _damaged(folder, wrong)
        _note_use(folder / META)
        return Entry(folder, meta, reused=True)

    def get(
        self,
        kind: str,
        key: str,
        build: Callable[[Path], None],
        describe: Callable[[], dict[str, Any]],
        waiting: Callable[[], None] = lambda: None,
    ) -> Entry:
        """The artefact, built by `build(folder)` if it is not there.

        `describe` adds to its `meta.json`; `seconds` there are those of earlier attempts. `waiting` is called once
        if another process takes long to build it.

        Raises:
            StoreError: the store cannot be written, or the artefact is damaged.
        """
        found = self.lookup(kind, key)
        if found:
            return found
        with self._writing(), _held(self._lock(key), waiting):
            return self._find_whole(kind, key) or self._build(kind, key, build, describe)

    @contextmanager
    def claim(self, kind: str, keys: Iterable[str]) -> Iterator[frozenset[str]]:
        """Those of `keys` that are not there and that nobody else is building, nor will meanwhile: `put` them.

        It waits for nobody, so two who claim the same share it out.

        Raises:
            StoreError: the store cannot be written.
        """
        with self._writing(), ExitStack() as locks:
            free = set()
            for key in keys:
                with suppress(Timeout):
                    locks.enter_context(self._lock(key).acquire(blocking=False))
                    free.add(key)
            yield frozenset(key for key in free if self._find_whole(kind, key) is None)

    def put(self, kind: str, key: str, build: Callable[[Path], None], describe: Callable[[], dict[str, Any]]) -> Entry:
        """What `get` builds, of a key that is claimed."""
        return self._build(kind, key, build, describe)

    def partial(self, key: str) -> Path:
        """The folder where the build of an artefact may keep what a later attempt can go on from.

        It is for the one who holds the lock, and goes once the artefact is there.
        """
        return self.root / "partial" / key

    def pin(self, name: str, digest: str) -> None:
        """Remember the content that `name` stands for; keys may then use the name alone.

        Raises:
            StoreError: the name stood for another content before.
        """
        path = self.root / "pins" / f"{name}.txt"
        try:
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                aside = path.with_name(f"{name}-{uuid.uuid4().hex}")
                aside.write_text(digest)
                aside.replace(path)
            known = path.read_text(errors="replace") if path.is_file() else "not a file"
        except OSError as error:
            raise StoreError(f"paths.store: expected a writable folder, got {self.root}: {error}") from error
        if known != digest:
            raise StoreError(
                f"dataset {name}: expected the data that {self.root} was filled with ({known[:12]}), got other "
                f"data ({digest[:12]}); use another paths.store for other data"
            )

    def remove(self, key: str, *folders: Path) -> bool:
        """Take folders of that key out of the store, each out of sight in one step, and the key's lock file.

        Returns False, and removes nothing, while another process holds the lock.

        Raises:
            StoreError: the store cannot be written.
        """
        try:
            with self._lock(key).acquire(blocking=False) as lock:
                for folder in folders:
                    self._discard(folder)
                # Who has the file open already and gets its lock next sees that it has no name any more: filelock
                # opens it anew, so that two never hold the lock of one key.
                Path(lock.lock_file).unlink(missing_ok=True)
        except Timeout:
            return False
        except OSError as error:
            raise StoreError(f"paths.store: expected a writable folder, got {self.root}: {error}") from error
        return True

    def _discard(self, folder: Path) -> None:
        aside = self.root / "building" / f"{folder.name.partition('-')[0]}-{uuid.uuid4().hex}"
        aside.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # somebody else did it
            folder.rename(aside)
            if aside.is_dir() and not aside.is_symlink():
                shutil.rmtree(aside)
            else:  # a link or a file in an artefact's place
                aside.unlink()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"paths.store: expected a writable folder with free space, got {self.root}: {error}"
            ) from error

    def _lock(self, key: str) -> FileLock:
        locks = self.root / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        return FileLock(locks / f"{key}.lock")

    def _build(
        self, kind: str, key: str, build: Callable[[Path], None], describe: Callable[[], dict[str, Any]]
    ) -> Entry:
        aside = self.root / "building"
        aside.mkdir(parents=True, exist_ok=True)
        for left_over in aside.glob(f"{key}-*"):  # of a killed builder: we hold the lock, nobody else is at it
            shutil.rmtree(left_over, ignore_errors=True)
        folder = aside / f"{key}-{uuid.uuid4().hex}"  # mkdtemp would shut out all other users of a shared store
        folder.mkdir()
        try:
            start = time.perf_counter()
            build(folder)
            seconds, told = time.perf_counter() - start, describe()
            seconds += told.get("seconds", 0.0)
            meta = told | {"kind": kind, "key": key, "seconds": seconds, "created": time.time()}
            meta["files"] = {p.name: {"bytes": p.stat().st_size, "sha256": file_sha256(p)} for p in folder.iterdir()}
            meta = sealed(meta)
            (folder / META).write_text(json.dumps(meta, indent=1))
            for path in folder.iterdir():
                path.chmod(folder.stat().st_mode & 0o666)
                _sync(path)
            _sync(folder)
            entry = self._place(folder, self.root / kind / key, meta)
            shutil.rmtree(self.partial(key), ignore_errors=True)
            return entry
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _place(self, folder: Path, target: Path, meta: dict[str, Any]) -> Entry:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.rename(target)
            _sync(target.parent)
        except OSError:  # somebody without our lock was first (locks may fail on network file systems): theirs stands
            found = self._find(meta["kind"], meta["key"])
            if found is None:
                raise
            return found
        return Entry(target, meta, reused=False)


@contextmanager
def _held(lock: FileLock, waiting: Callable[[], None]) -> Iterator[None]:
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        waiting()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _sync(path: Path) -> None:
    """Force a file, or a folder's list of names, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _note_use(meta: Path) -> None:
    """So that what is used is told from what is not; without it, in somebody else's store, nothing is lost."""
    with suppress(OSError):
        if time.time() - meta.stat().st_mtime > NOTED:
            os.utime(meta)


def _damaged(folder: Path, what: str) -> DamagedError:
    return DamagedError(
        f"paths.store: expected the artefact {folder} as it was written, got a damaged {what}; "
        f"remove that folder, or run again with rebuild_damaged=true"
    )
