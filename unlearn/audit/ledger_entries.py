"""Add the entries of a ledger: a request that a finished run answered, and a note about one."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hmac import compare_digest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearn.audit.finished_run import SPLIT, FinishedRun, read_run
from unlearn.audit.ledger import NOTE, REQUEST, LedgerEntry, key_file, read_ledger_key, refuse
from unlearn.audit.ledger_file import OpenLedger, open_ledger
from unlearn.audit.record import SEAL, keyed
from unlearn.core.artifact_meta import SHA256
from unlearn.core.artifact_store import ArtifactStore
from unlearn.core.errors import UnlearnError, as_one_line, pluralize

if TYPE_CHECKING:
    from unlearn.data.datasets.base import Dataset

MAX_TEXT = 10_000  # characters of a note; as JSON at most 120,000 bytes
SAME_ANSWER = ("model_in", "model_out", "verdict")


@dataclass(frozen=True)
class Added:
    """The result of adding an entry.

    Attributes:
        entry: the entry.
        is_new: False if the ledger had it already, and nothing was written.
        removed_bytes: size of an incomplete last line that was removed first; 0 if there was none.
    """

    entry: LedgerEntry
    is_new: bool
    removed_bytes: int

    def describe(self, ledger: Path) -> Iterator[str]:
        """Yield lines for the console."""
        if self.removed_bytes:
            reason = "the command that wrote it was stopped; run it again if its entry is missing"
            yield f"removed an incomplete last line of {self.removed_bytes:,} bytes: {reason}"
        number, digest = self.entry["entry"], self.entry[SEAL]["sha256"]
        if not self.is_new:
            yield f"entry {number} of {ledger} has this run already: nothing was written (a note can add a reference)"
            return
        yield f"entry {number} of {ledger}: {describe_entry(self.entry)}"
        yield f"digest {digest}: keep a copy elsewhere, for unlearn-ledger verify --digest"


def describe_entry(entry: LedgerEntry) -> str:
    """Describe an entry in one line: the size of a request and how it was answered, or the text of a note."""
    if entry["event"] == NOTE:
        to = f", to {entry['to']}" if entry["to"] else ""
        return as_one_line(f"about entry {entry['about']}{to}: {entry['text']}")
    reference = f" ({entry['reference']})" if entry["reference"] else ""
    count = pluralize(entry["forgotten"]["count"], "record")
    return as_one_line(f"{count} of {entry['dataset']}, {entry['strategy']}{reference}")


def add_request(ledger: Path, run: Path, store: Path | None = None, reference: str | None = None) -> Added:
    """Add the request that a finished run answered. The same run is added only once.

    Args:
        ledger: the file of the ledger.
        run: folder of the run, or a file in it: its report or its audit record.
        store: folder of the store; None: `paths.store` of the run.
        reference: a text to find the request by, such as the number of a ticket.

    Raises:
        UnlearnError: the run or its models cannot be read, or the ledger is damaged or cannot be written.
    """
    _check_text("--reference", reference or "none")
    finished = read_run(run, store)
    with open_ledger(ledger) as opened:
        for entry in opened.entries:
            if _is_same_answer(entry, finished):
                return Added(entry, False, opened.removed_bytes)
        forgotten = {"count": len(finished.indices), "split": finished.split} | _commit(opened, finished)
        fields = finished.fields | {"reference": reference, "forgotten": forgotten}
        return Added(opened.append(REQUEST, fields), True, opened.removed_bytes)


def add_note(ledger: Path, about: int, text: str, to: str | None = None) -> Added:
    """Add a note about an earlier entry.

    Args:
        ledger: the file of the ledger.
        about: the number of the entry.
        text: what happened.
        to: who was informed; None: nobody.

    Raises:
        UnlearnError: there is no such entry, a text is empty or too long, or the ledger is damaged or cannot be
            written.
    """
    _check_text("TEXT", text)
    _check_text("--to", to or "nobody")
    if not ledger.exists() and not ledger.is_symlink():
        raise refuse("a ledger", ledger, "no such file")
    with open_ledger(ledger) as opened:
        if not 1 <= about <= len(opened.entries):
            raise UnlearnError(f"ENTRY: expected a number from 1 to {len(opened.entries)}, got {about}")
        return Added(opened.append(NOTE, {"about": about, "to": to, "text": text}), True, opened.removed_bytes)


def commit_to_request(key: bytes, salt: str, dataset: Any, indices: Iterable[int]) -> str:
    """Return the HMAC of a forget set: over a salt, the data set and the sorted indices into its training part.

    The salt is another in each entry, so that equal requests look different without the key.
    """
    return keyed(key, {"salt": salt, "dataset": dataset, "indices": sorted(indices)})


def find_answers(
    ledger: Path, entries: Iterable[LedgerEntry], dataset: Dataset, requested: Iterable[int], store: Path
) -> set[int]:
    """Find the entries that answer a request.

    Records that earlier requests had removed are in no forget set; the split in the store lists them.

    Args:
        ledger: the file of the ledger.
        entries: its entries.
        dataset: the data set of the request.
        requested: indices into the training part.
        store: folder of the store; without the split in it, all records of the request must be in the forget set.

    Returns:
        The numbers of the entries.

    Raises:
        UnlearnError: the key of the ledger is missing or cannot be read, or a split is damaged.
    """
    from unlearn.stages.keys import canonicalize

    key = read_ledger_key(ledger)
    if key is None:
        raise refuse("the key of this ledger", key_file(ledger), "none, without which no request can be recognised")
    asked, canonical, artifacts = set(requested), canonicalize(dataset), ArtifactStore(store)
    numbers = set()
    for entry in entries:
        if entry["event"] == REQUEST:
            forgotten = entry["forgotten"]
            indices = asked - _read_earlier(artifacts, forgotten["split"])
            hmac_sha256 = commit_to_request(key, forgotten["salt"], canonical, indices)
            if compare_digest(hmac_sha256.encode(), forgotten["hmac_sha256"].encode()):
                numbers.add(entry["entry"])
    return numbers


def _read_earlier(artifacts: ArtifactStore, key: str) -> set[int]:
    """Return the records that earlier requests had removed; none if the store lacks the split."""
    from unlearn.stages.files import read_tensors

    split = artifacts.lookup("split", key) if SHA256.fullmatch(key) else None
    earlier = None if split is None else read_tensors(split, SPLIT).get("earlier")
    return set() if earlier is None else set(earlier.tolist())


def _commit(ledger: OpenLedger, run: FinishedRun) -> dict[str, str]:
    salt = secrets.token_hex(16)
    return {"salt": salt, "hmac_sha256": commit_to_request(ledger.key, salt, run.dataset, run.indices)}


def _is_same_answer(entry: LedgerEntry, run: FinishedRun) -> bool:
    """Whether an entry is about the same request, models and verdict; a repeated run has other seconds and hashes."""
    if entry["event"] != REQUEST or entry["forgotten"]["split"] != run.split:
        return False
    return all(entry[name] == run.fields[name] for name in SAME_ANSWER)


def _check_text(option: str, text: str) -> None:
    if not text.strip() or len(text) > MAX_TEXT:
        got = f"{len(text):,} characters" if text.strip() else "an empty one"
        raise UnlearnError(f"{option}: expected a text of at most {MAX_TEXT:,} characters, got {got}")
