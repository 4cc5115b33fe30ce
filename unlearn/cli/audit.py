"""The command `unlearn-audit`: check an audit record against the store, the key and the request."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from unlearn.cli.boundary import guard_entry_point
from unlearn.core.errors import UnlearnError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from unlearn.audit.record import Record
    from unlearn.audit.store import Finding
    from unlearn.data.datasets.base import Dataset

HELP = """\
unlearn-audit: check the audit record of a run (unlearn report.audit=true).

  unlearn-audit verify outputs/audit.json
  unlearn-audit verify audit.json --key audit.key --indices request.txt     if you know the request
  unlearn-audit verify audit.json --store artifacts                         where the models are stored

Exit status 2: bad input, nothing was checked; 1: something differs; 0: nothing differs, but some checks may be missing.
"""


@guard_entry_point("unlearn-audit")
def main() -> None:
    """Run the command."""
    sys.exit(_verify(_parser().parse_args()))


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        "unlearn-audit", description=HELP, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    about = "check a record against its key, its store and its request, as far as they are given"
    verify = commands.add_parser("verify", help=about, description=about, allow_abbrev=False)
    verify.add_argument("file", type=Path, metavar="FILE", help="audit.json")
    verify.add_argument("--key", type=Path, metavar="FILE", help="default: audit.key next to the record, if it exists")
    verify.add_argument("--store", type=Path, metavar="DIR", help="default: $UNLEARN_STORE, or the run's paths.store")
    verify.add_argument(
        "--indices", type=Path, metavar="FILE", help="the records of the request, in the format of forget.file"
    )
    verify.add_argument(
        "--root", metavar="DIR", help="the images that --indices names; default: dataset.root of the run"
    )
    return parser


def _verify(arguments: Namespace) -> int:
    from unlearn.audit.record import KEY, read, read_key

    file: Path = arguments.file
    record = read(file)
    default_key = file.with_name(KEY)
    key_file = arguments.key or (default_key if default_key.exists() else None)
    key = read_key(key_file) if key_file else None
    indices = _read_indices(arguments.indices, record, arguments.root) if arguments.indices else None
    from unlearn.audit.store import AuditStore
    from unlearn.audit.verify_models import ModelVerifier
    from unlearn.audit.verify_numbers import NumberVerifier

    store = AuditStore.read(Path(arguments.store or os.environ.get("UNLEARN_STORE") or _store_of_run(record)))
    parts = (ModelVerifier(record, store, key, indices, file.parent), NumberVerifier(record, store))
    return print_findings(chain.from_iterable(part.verify() for part in parts))


def _store_of_run(record: Record) -> str:
    """Return `paths.store` of the run, or the default if the record does not contain it."""
    paths = record["config"].get("paths")
    return str(paths.get("store", "artifacts")) if isinstance(paths, dict) else "artifacts"


def _read_indices(path: Path, record: Record, root: str | None) -> list[int]:
    """Read the indices into the training part from a request, which lists indices or names images.

    Raises:
        UnlearnError: The file cannot be read, or names records that the data set does not have.
    """
    from unlearn.data.requests.records.read import read_records
    from unlearn.data.requests.records.resolve import find_records

    records = read_records(path, "--indices")
    indices = [entry.index for entry in records if isinstance(entry.index, int) and entry.file is None]
    if len(indices) < len(records):
        indices = find_records(path, _open_dataset(record, root), "--indices").index.tolist()
    if not indices:
        raise UnlearnError(f"--indices: expected indices of the training part, got none in {path}")
    return indices


def _open_dataset(record: Record, root: str | None) -> Dataset:
    """Open the data set of the run, in the folder `root` if given.

    Raises:
        UnlearnError: The record does not name the data set, or the data set cannot be read.
    """
    from unlearn.core.plugins import find_option
    from unlearn.data.datasets.base import Dataset

    kind = find_option("unlearn.data.datasets", Dataset, str(record["choices"].get("dataset")))
    settings = record["config"].get("dataset")
    try:
        dataset = None if kind is None else kind(**settings | ({} if root is None else {"root": root}))
    except TypeError:
        dataset = None
    if not isinstance(dataset, Dataset):
        raise UnlearnError("--indices: expected indices, since the record does not name its data set, got file names")
    if problems := list(dataset.check()):
        raise UnlearnError(
            f"--indices: expected the images that it names, got {problems[0]}; set their folder with --root DIR"
        )
    return dataset


def print_findings(findings: Iterable[Finding]) -> int:
    """Print each finding as soon as it is known, then their numbers; returns the exit status."""
    from unlearn.audit.store import State

    counts = dict.fromkeys(State, 0)
    for finding in findings:
        print(f"{finding.state:<9}  {finding.field}: {finding.reason}", flush=True)
        counts[finding.state] += 1
    agree, differ, unchecked = counts.values()
    print(f"{agree} agree, {differ} differ, {unchecked} could not be checked")
    return int(counts[State.DIFFERS] > 0)


if __name__ == "__main__":
    main()
