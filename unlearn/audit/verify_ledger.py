"""Verify a ledger: its lines, its end, and that each model was made from the one before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from unlearn.audit.ledger import (
    NOTE,
    REQUEST,
    LedgerEntry,
    head_file,
    key_file,
    read_head,
    read_ledger_key,
    read_lines,
)
from unlearn.audit.ledger_chain import find_cut_end, find_problems
from unlearn.audit.record import SEAL, read_key
from unlearn.audit.store import Finding, State, make_finding
from unlearn.core.errors import pluralize

BEGINNING = 12  # characters of keys and digests in messages


def verify_ledger(ledger: Path, key_path: Path | None = None, digest: str | None = None) -> Iterator[Finding]:
    """Check a ledger.

    Args:
        ledger: the file.
        key_path: the key of its HMACs; None: the file `.key` next to it, if there is one.
        digest: the digest of an entry, kept elsewhere, that the ledger must hold; or its beginning.

    Yields:
        The findings: lines, key, end, digest, notes and models.

    Raises:
        UnlearnError: the ledger or a file next to it cannot be read.
    """
    head = read_head(ledger)  # first: another process may be writing, an entry before its head
    lines = read_lines(ledger)
    key = read_key(key_path) if key_path else read_ledger_key(ledger)
    entries = [line.entry for line in lines if line.entry]
    problems = list(find_problems(lines, key))
    yield from (Finding(State.DIFFERS, f"line {number}", problem) for number, problem in problems)
    if not problems:
        yield Finding(State.AGREES, "lines", f"{pluralize(len(lines), 'entry', 'entries')}, as written, in their order")
        if key is not None:
            yield Finding(State.AGREES, "key", "this key sealed every entry")
    if key is None:
        reason = f"no --key given, and no {key_file(ledger)}: if all lines were written again, that goes unnoticed"
        yield Finding(State.UNCHECKED, "key", reason)
    if head is None:
        yield Finding(State.UNCHECKED, "end", f"no {head_file(ledger)}: whether entries are missing cannot be seen")
    else:
        cut = find_cut_end(entries, head)
        yield make_finding(not cut, "end", f"holds entry {head.entry}, the last that was recorded", cut)
    if digest is not None:
        yield _verify_digest(entries, digest)
    yield from _verify_notes(entries)
    yield from verify_models([entry for entry in entries if entry["event"] == REQUEST])


def _verify_digest(entries: Sequence[LedgerEntry], digest: str) -> Finding:
    numbers = [entry["entry"] for entry in entries if entry[SEAL]["sha256"].startswith(digest)]
    bad = f"no entry has {digest[:BEGINNING]}: it was changed or dropped"
    return make_finding(len(numbers) == 1, "digest", f"is that of entry {numbers[0] if numbers else 0}", bad)


def _verify_notes(entries: Sequence[LedgerEntry]) -> Iterator[Finding]:
    numbers = {entry["entry"] for entry in entries}
    for note in entries:
        if note["event"] == NOTE and (note["about"] not in numbers or note["about"] >= note["entry"]):
            yield Finding(State.DIFFERS, f"entry {note['entry']}", f"is about entry {note['about']}, which is missing")


def verify_models(requests: Sequence[LedgerEntry]) -> Iterator[Finding]:
    """Check that each request went on from the model of the request before.

    Args:
        requests: the entries of requests, in their order.

    Yields:
        One finding for each place where the chain of models breaks, then one for the rest.
    """
    chain: list[LedgerEntry] = []  # the first entry of each model
    continued = 0
    for entry in requests:
        if any(earlier["model_out"]["key"] == entry["model_out"]["key"] for earlier in chain):
            continue  # another evaluation of a model that the chain has
        source = next((earlier for earlier in reversed(chain) if _is_continued(earlier, entry)), None)
        if source is None and (chain or entry["model_in"]["lineage"]):
            yield _explain_start(entry, chain)
        elif source is not None and source is not chain[-1]:
            lost = f"its model has not forgotten entry {chain[-1]['entry']}'s request"
            reason = f"goes on from entry {source['entry']}, not from the latest model: {lost}"
            yield Finding(State.DIFFERS, f"entry {entry['entry']}", reason)
        elif source is not None:
            continued += 1
        chain.append(entry)
    if continued:
        reason = f"{pluralize(continued, 'request')} went on from the model of the request before"
        yield Finding(State.AGREES, "models", reason)


def _is_continued(earlier: LedgerEntry, entry: LedgerEntry) -> bool:
    """Whether a request started from the model of an earlier one, by its key or by its file."""
    out, start = earlier["model_out"], entry["model_in"]
    files = {out["sha256"], out["file_sha256"]} - {None}
    return start["lineage"] == out["key"] or start["file_sha256"] in files or start["sha256"] in files


def _explain_start(entry: LedgerEntry, chain: Sequence[LedgerEntry]) -> Finding:
    """Explain a start from a model that is in no earlier entry."""
    field, start = f"entry {entry['entry']}", entry["model_in"]
    if start["lineage"] is not None:
        reason = f"goes on from {start['lineage'][:BEGINNING]}, a model of a request that is in no earlier entry"
        return Finding(State.DIFFERS if chain else State.UNCHECKED, field, reason)
    same = next((earlier for earlier in chain if earlier["model_in"]["sha256"] == start["sha256"]), None)
    if same is not None:
        reason = f"starts again from the model that entry {same['entry']} started from: its model has forgotten"
        return Finding(State.DIFFERS, field, f"{reason} earlier requests only if its own request repeats them")
    reason = f"starts from another model, {start['key'][:BEGINNING]}: whether it knows earlier requests is not checked"
    return Finding(State.UNCHECKED, field, reason)
