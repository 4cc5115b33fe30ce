"""Check that the lines of a ledger are those that were written, all of them, in their order."""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Sequence

from unlearn.audit.ledger import START, Head, LedgerEntry, LedgerLine
from unlearn.audit.record import SEAL, seal


def find_problems(lines: Sequence[LedgerLine], key: bytes | None) -> Iterator[tuple[int, str]]:
    """Find the lines that are damaged, changed, dropped or out of order.

    Args:
        lines: all lines of a ledger.
        key: the key of its HMACs; without it, entries that were replaced with all that follow go unnoticed.

    Yields:
        The number of a line, and its problem.
    """
    present = {line.entry["entry"] for line in lines if line.entry}
    expected, digest = 1, START
    for line in lines:
        if line.problem:
            yield line.number, line.problem
        if line.entry is None:
            expected, digest = expected + 1, ""  # the next line cannot be compared with it
            continue
        number, previous = line.entry["entry"], line.entry["previous"]
        if number != expected:
            reason = "entries are out of order" if expected in present else f"entry {expected} was dropped before it"
            yield line.number, f"holds entry {number}, expected entry {expected}: {reason}"
        elif digest and previous != digest:
            reason = f"it, or line {line.number - 1}, was replaced" if expected > 1 else "entries before it are missing"
            yield line.number, f"does not hold the digest of the line before: {reason}"
        if key is not None and not is_sealed_with(key, line.entry):
            yield line.number, "was not sealed with the key of this ledger"
        expected, digest = number + 1, line.entry[SEAL]["sha256"]


def is_sealed_with(key: bytes, entry: LedgerEntry) -> bool:
    """Whether an entry was written by a holder of the key."""
    computed, recorded = seal(entry, key)["hmac_sha256"], entry[SEAL]["hmac_sha256"]
    return hmac.compare_digest(computed.encode(), recorded.encode())


def find_cut_end(entries: Sequence[LedgerEntry], head: Head | None) -> str:
    """Say which entry is missing at the end, although it was written; empty if none is."""
    if head is None or any(entry["entry"] == head.entry and _digest(entry) == head.sha256 for entry in entries):
        return ""
    last = entries[-1]["entry"] if entries else 0
    if last >= head.entry:
        return f"entry {head.entry} is not the one that was written, {head.sha256[:12]}"
    return f"it ends with entry {last}, but entry {head.entry}, {head.sha256[:12]}, was written: its end was cut"


def _digest(entry: LedgerEntry) -> str:
    return str(entry[SEAL]["sha256"])
