"""The console script that holds an audit record against what can be recomputed."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from unlearn.cli.boundary import guarded
from unlearn.core.errors import UnlearnError
from unlearn.core.progress import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from unlearn.audit.record import Record
    from unlearn.audit.store import Finding
    from unlearn.data.datasets.base import Dataset

HELP = """\
unlearn-audit: what of a run's audit record (unlearn report.audit=true) can be confirmed.

  unlearn-audit verify outputs/audit.json
  unlearn-audit verify audit.json --key audit.key --indices request.txt     by whoever was told who is forgotten
  unlearn-audit verify audit.json --store artifacts                         where the models are

Exit status 2: bad input, nothing was checked; 1: something differs; 0: nothing does, but see what was not checked.
"""


@guarded("unlearn-audit")
def main() -> None:
    """Entry point."""
    arguments = _parser().parse_args()
    try:
        sys.exit(_verify(arguments))
    except UnlearnError as error:
        print(*(f"unlearn-audit: {line}" for line in printable(str(error)).splitlines()), sep="\n", file=sys.stderr)
        sys.exit(2)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        "unlearn-audit", description=HELP, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    about = "hold a record against its key, its store and its request, as far as they are given"
    verify = commands.add_parser("verify", help=about, description=about, allow_abbrev=False)
    verify.add_argument("file", type=Path, metavar="FILE", help="audit.json")
    verify.add_argument("--key", type=Path, metavar="FILE", help="default: audit.key beside the record, if it is there")
    verify.add_argument("--store", type=Path, metavar="DIR", help="default: $UNLEARN_STORE, or the run's paths.store")
    verify.add_argument("--indices", type=Path, metavar="FILE", help="who is said to be forgotten, as forget.file does")
    verify.add_argument(
        "--root", metavar="DIR", help="the images that --indices names; default: dataset.root of the run"
    )
    return parser


def _verify(arguments: Namespace) -> int:
    from unlearn.audit.record import KEY, read, read_key

    file: Path = arguments.file
    record = read(file)
    beside = file.with_name(KEY)
    path = arguments.key or (beside if beside.exists() else None)
    key = read_key(path) if path else None
    indices = _indices(arguments.indices, record, arguments.root) if arguments.indices else None
    from unlearn.audit.store import Shelf
    from unlearn.audit.verify_models import Confirmation
    from unlearn.audit.verify_numbers import Numbers

    shelf = Shelf.read(Path(arguments.store or os.environ.get("UNLEARN_STORE") or _own_store(record)))
    parts = (Confirmation(record, shelf, key, indices, file.parent), Numbers(record, shelf))
    return _tell(chain.from_iterable(part.findings() for part in parts))


def _own_store(record: Record) -> str:
    """The run's, as it was typed; the default of all runs where the record does not tell."""
    paths = record["config"].get("paths")
    return str(paths.get("store", "artifacts")) if isinstance(paths, dict) else "artifacts"


def _indices(path: Path, record: Record, root: str | None) -> list[int]:
    """Of the training part: those in the file, or those of the images that it names.

    Raises:
        UnlearnError: the file cannot be read, or names records that the data set does not have.
    """
    from unlearn.data.requests.records.read import read_records
    from unlearn.data.requests.records.resolve import find_records

    records = read_records(path, "--indices")
    indices = [entry.index for entry in records if isinstance(entry.index, int) and entry.file is None]
    if len(indices) < len(records):
        indices = find_records(path, _dataset(record, root), "--indices").index.tolist()
    if not indices:
        raise UnlearnError(f"--indices: expected indices of the training part, got none in {path}")
    return indices


def _dataset(record: Record, root: str | None) -> Dataset:
    """The data set of the run, perhaps in another folder than there.

    Raises:
        UnlearnError: the record does not tell, or the data set is not there.
    """
    from unlearn.core.plugins import option
    from unlearn.data.datasets.base import Dataset

    kind = option("unlearn.data.datasets", Dataset, str(record["choices"].get("dataset")))
    settings = record["config"].get("dataset")
    try:
        dataset = None if kind is None else kind(**settings | ({} if root is None else {"root": root}))
    except TypeError:
        dataset = None
    if not isinstance(dataset, Dataset):
        raise UnlearnError(
            "--indices: expected indices, since the record does not tell in which data, got names of files"
        )
    if wrong := list(dataset.check()):
        raise UnlearnError(
            f"--indices: expected the images that it names, got {wrong[0]}; --root DIR says where they are"
        )
    return dataset


def _tell(findings: Iterable[Finding]) -> int:
    """A line each as soon as it is known, then their count; returns the exit status."""
    from unlearn.audit.store import State

    counts = dict.fromkeys(State, 0)
    for found in findings:
        print(f"{found.state:<9}  {found.what}: {found.why}", flush=True)
        counts[found.state] += 1
    agree, differ, unchecked = counts.values()
    print(f"{agree} agree, {differ} differ, {unchecked} could not be checked")
    return int(counts[State.DIFFERS] > 0)


if __name__ == "__main__":
    main()
