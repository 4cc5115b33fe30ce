"""Append to a ledger: one process at a time, whole lines, flushed to disk before the command reports them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from unlearn.audit.ledger import (
    MAX_LINE,
    SCHEMA_VERSION,
    START,
    LedgerEntry,
    LedgerLine,
    encode_line,
    head_file,
    key_file,
    read_head,
    read_ledger_key,
    read_lines,
    refuse,
    require_regular,
)
from unlearn.audit.ledger_chain import find_cut_end, find_problems
from unlearn.audit.record import SEAL, seal, write_new_key
from unlearn.core.artifact_store import sync
from unlearn.core.errors import UnlearnError
from unlearn.report.write import write_text

PATIENCE = 60.0  # seconds to wait for another process; an entry takes milliseconds
SETTING = "ledger"  # in error messages


@dataclass
class OpenLedger:
    """A ledger that this process has locked.

    Attributes:
        path: the file.
        key: the key of its HMACs.
        entries: its entries, in their order.
        removed_bytes: size of an incomplete last line that was removed; 0 if there was none.
    """

    path: Path
    key: bytes
    entries: list[LedgerEntry] = field(default_factory=list)
    removed_bytes: int = 0

    def append(self, event: str, fields: Mapping[str, Any]) -> LedgerEntry:
        """Append an entry; it is on disk when this returns.

        Args:
            event: `request` or `note`.
            fields: the fields of this event.

        Returns:
            The entry, with its number, time, seal and the digest of the entry before.

        Raises:
            UnlearnError: the file cannot be written; it is then as before. Or only its `.head` cannot be written.
        """
        previous = self.entries[-1] if self.entries else None
        entry = {
            "schema_version": SCHEMA_VERSION,
            "entry": 1 if previous is None else previous["entry"] + 1,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "event": event,
            "previous": START if previous is None else previous[SEAL]["sha256"],
        } | dict(fields)
        entry |= {SEAL: seal(entry, self.key)}
        line = encode_line(entry)
        if len(line) > MAX_LINE:
            raise UnlearnError(f"ledger: expected an entry of at most {MAX_LINE:,} bytes, got {len(line):,}")
        _append_bytes(self.path, line)
        self.entries.append(entry)
        self.write_head()
        return entry

    def write_head(self) -> None:
        """Record the last entry in the file `.head`."""
        last = self.entries[-1]
        head = {"entry": last["entry"], "sha256": last[SEAL]["sha256"]}
        write_text(json.dumps(head) + "\n", head_file(self.path), SETTING)


@contextmanager
def open_ledger(path: Path) -> Iterator[OpenLedger]:
    """Lock a ledger and check it; a missing one is started, with a new key.

    A last line that a killed process left incomplete is removed. It is no entry: no command has reported it.

    Args:
        path: the file. `.key`, `.head` and `.lock` are added to its name for the files next to it.

    Yields:
        The ledger.

    Raises:
        UnlearnError: the ledger is damaged, in use, or cannot be written.
    """
    _require_files(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(_lock_file(path), timeout=PATIENCE):
            yield _open(path)
    except Timeout as error:
        raise refuse(f"a ledger that is free within {PATIENCE:g} s", path, "one that another process holds") from error
    except OSError as error:
        raise refuse("a ledger that can be written", path, str(error)) from error


def check_ledger(path: Path) -> None:
    """Check whether a ledger can be continued, without writing anything; a missing one can be.

    Raises:
        UnlearnError: it is damaged, or its key is missing.
    """
    _require_files(path)
    _read(path)


def _require_files(path: Path) -> None:
    """Refuse links, folders and pipes in the place of the ledger and the files next to it."""
    for file in (path, key_file(path), head_file(path), _lock_file(path)):
        require_regular(file)


def _lock_file(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _open(path: Path) -> OpenLedger:
    """Check a ledger, then repair its last line. The caller must hold the lock."""
    lines, entries, key = _read(path)
    ledger = OpenLedger(path, key or write_new_key(key_file(path), SETTING), entries)
    if lines and lines[-1].is_torn:
        ledger.removed_bytes = _repair(path, is_whole=lines[-1].entry is not None)
    if entries:
        ledger.write_head()  # a killed process may have left it behind
    return ledger


def _read(path: Path) -> tuple[list[LedgerLine], list[LedgerEntry], bytes | None]:
    """Return the lines, the entries and the key of a ledger; an incomplete last line is no problem.

    Raises:
        UnlearnError: it is damaged, or its key is missing.
    """
    head = read_head(path)  # first: another process may be writing, an entry before its head
    lines = read_lines(path) if path.exists() else []
    whole = [replace(line, problem="") if line.is_torn else line for line in lines if line.entry or not line.is_torn]
    key = read_ledger_key(path)
    if key is None and (lines or head):
        raise refuse("the key of this ledger", key_file(path), "none; restore it, or start another ledger")
    if problem := next(find_problems(whole, key), None):
        raise refuse("an intact ledger", path, f"line {problem[0]} {problem[1]}; see unlearn-ledger verify")
    entries = [line.entry for line in whole if line.entry]
    if cut := find_cut_end(entries, head):
        raise refuse("an intact ledger", path, cut)
    return lines, entries, key


def _repair(path: Path, is_whole: bool) -> int:
    """Add the line end that the last line lacks, or remove an incomplete line; returns the bytes removed."""
    if is_whole:
        _append_bytes(path, b"\n")
        return 0
    content = path.read_bytes()
    start = content.rfind(b"\n") + 1
    os.truncate(path, start)
    return len(content) - start


def _append_bytes(path: Path, content: bytes) -> None:
    """Append to a file and flush it to disk; a write that fails leaves the file as it was."""
    is_new = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        try:
            while content:
                content = content[os.write(descriptor, content) :]
            os.fsync(descriptor)
        except BaseException:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)
    if is_new:
        sync(path.parent)
