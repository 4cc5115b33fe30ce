"""The command `unlearn-ledger`: keep an append-only list of the deletion requests that were answered."""

from __future__ import annotations

import os
import re
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path
from typing import TYPE_CHECKING

from unlearn.cli.arguments import add_commands
from unlearn.cli.audit import print_findings
from unlearn.cli.boundary import guard_entry_point
from unlearn.core.errors import ConfigError, Problem, pluralize

if TYPE_CHECKING:
    from unlearn.audit.ledger import LedgerEntry

BEGINNING = 12  # characters of keys in the list
HELP = """\
unlearn-ledger: keep an append-only list of the deletion requests that were answered.

  unlearn-ledger add runs/1 --reference "ticket 17"          the request that a finished run answered
  unlearn-ledger note 1 --to "the applicant" "Answered by mail: the record is deleted."
  unlearn-ledger list                                        all entries
  unlearn-ledger list --request request.txt dataset=image_folder dataset.root=photos    was this request answered?
  unlearn-ledger verify                                      find changed, dropped and reordered entries

The ledger names nobody, except in what you write into --reference, --to and notes. Nothing can be removed from it.
Exit status 2: refused, nothing was written; 1: something differs, or nothing was found; 0: success.
"""


@guard_entry_point("unlearn-ledger")
def main() -> None:
    """Run the command."""
    arguments, overrides = _parser().parse_known_args()
    if overrides and not getattr(arguments, "request", None):
        raise ConfigError([f"{arguments.command}: expected no further arguments, got {' '.join(overrides)}"])
    sys.exit(arguments.run(arguments, overrides))


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        "unlearn-ledger", description=HELP, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False
    )
    ledger = "default: $UNLEARN_LEDGER, or ledger.jsonl; its key, its last digest and a lock are kept next to it"
    command = add_commands(parser, "--ledger", type=Path, metavar="FILE", help=ledger)
    store = "default: $UNLEARN_STORE, or the run's paths.store"
    add = command("add", _add, "add the request that a finished run answered; the same run is added only once")
    add.add_argument("source", type=Path, metavar="RUN", help="the folder of the run, its report or its audit record")
    add.add_argument("--store", type=Path, metavar="DIR", help=store)
    add.add_argument("--reference", metavar="TEXT", help="to find the request by, such as the number of a ticket")
    note = command("note", _note, "add what happened after a request: who was informed of what, what was purged")
    note.add_argument("entry", type=int, metavar="ENTRY", help="the number of the entry that the note is about")
    note.add_argument("text", metavar="TEXT", help="what happened")
    note.add_argument("--to", metavar="WHOM", help="who was informed")
    listing = command("list", _list, "list the entries; with --request only those that answered this request")
    listing.add_argument(
        "--request", metavar="FILE", help="the records, in the format of forget.file; takes overrides of the data set"
    )
    listing.add_argument("--store", type=Path, metavar="DIR", help="default: $UNLEARN_STORE, or artifacts")
    verify = command("verify", _verify, "check every line, the end, and that each model was made from the one before")
    verify.add_argument("--key", type=Path, metavar="FILE", help="default: the file .key next to the ledger")
    verify.add_argument("--digest", metavar="SHA256", help="a digest that add or note printed: its entry must be there")
    return parser


def _ledger(arguments: Namespace) -> Path:
    return arguments.ledger or Path(os.environ.get("UNLEARN_LEDGER") or "ledger.jsonl")


def _store(arguments: Namespace) -> Path | None:
    folder = arguments.store or os.environ.get("UNLEARN_STORE")
    return Path(folder) if folder else None


def _add(arguments: Namespace, _: list[str]) -> int:
    from unlearn.audit.ledger_entries import add_request

    added = add_request(_ledger(arguments), arguments.source, _store(arguments), arguments.reference)
    print(*added.describe(_ledger(arguments)), sep="\n")
    return 0


def _note(arguments: Namespace, _: list[str]) -> int:
    from unlearn.audit.ledger_entries import add_note

    added = add_note(_ledger(arguments), arguments.entry, arguments.text, arguments.to)
    print(*added.describe(_ledger(arguments)), sep="\n")
    return 0


def _list(arguments: Namespace, overrides: list[str]) -> int:
    from unlearn.audit.ledger import read_lines
    from unlearn.cli.lines import print_table

    titles = ("entry", "time", "event", "content", "model in", "model out", "verdict")
    lines = read_lines(_ledger(arguments))
    entries = [line.entry for line in lines if line.entry]
    if arguments.request:
        entries = _select_request(entries, arguments, overrides)
    print_table(titles, [_row(entry) for entry in entries])
    damaged = len(lines) - sum(line.entry is not None for line in lines)
    if damaged:
        print(f"{pluralize(damaged, 'line')} cannot be read: unlearn-ledger verify names them")
    return int(bool(arguments.request) and not entries)


def _select_request(entries: list[LedgerEntry], arguments: Namespace, overrides: list[str]) -> list[LedgerEntry]:
    """Return the entries that answered a request, and the notes about them."""
    from unlearn.audit.ledger_entries import find_answers
    from unlearn.cli.arguments import read_configs
    from unlearn.config.override_parser import quote

    run, *other_cells = read_configs([*overrides, "forget=indices", f"forget.file={quote(arguments.request)}"])
    if other_cells:
        raise ConfigError(["list: expected one data set, got a grid"])
    store = _store(arguments) or Path(run.paths.store)
    requested = run.forget.requested(run.dataset).tolist()
    numbers = find_answers(_ledger(arguments), entries, run.population.dataset, requested, store)
    return [entry for entry in entries if entry["entry"] in numbers or entry.get("about") in numbers]


def _verify(arguments: Namespace, _: list[str]) -> int:
    from unlearn.audit.verify_ledger import verify_ledger

    digest = arguments.digest
    if digest is not None and not re.fullmatch("[0-9a-f]{8,64}", digest):
        raise ConfigError([Problem("--digest", "8 to 64 hexadecimal digits", digest)])
    return print_findings(verify_ledger(_ledger(arguments), arguments.key, digest))


def _row(entry: LedgerEntry) -> list[str]:
    from unlearn.audit.ledger_entries import describe_entry

    models = [entry[name]["key"][:BEGINNING] if name in entry else "" for name in ("model_in", "model_out")]
    verdict = entry["verdict"]["forgotten"].replace("_", " ") if "verdict" in entry else ""
    return [str(entry["entry"]), entry["time"], entry["event"], describe_entry(entry), *models, verdict]


if __name__ == "__main__":
    main()
