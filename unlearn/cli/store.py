"""The console script that looks after the store of artefacts."""

from __future__ import annotations

import json
import os
import signal
import sys
from argparse import SUPPRESS, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearn.cli.boundary import guarded
from unlearn.cli.lines import ago, explained, listing, machine_readable, shown, size
from unlearn.core.artifact_meta import META
from unlearn.core.errors import ConfigError, UnlearnError, counted
from unlearn.core.progress import Console, printable
from unlearn.inventory.catalogue import BEGINNING, Catalogue, Item
from unlearn.inventory.removals import gone

if TYPE_CHECKING:
    from unlearn.pipeline.config import RunConfig

Command = Callable[[Namespace, list[str]], int]  # gets what the parser knows and the overrides; gives the exit status
SORTS: dict[str, Callable[[Item], Any]] = {
    "kind": lambda item: (item.kind, item.label, item.created),
    "size": lambda item: -item.bytes,
    "age": lambda item: item.created,
    "used": lambda item: item.used,
    "seconds": lambda item: -item.meta.get("seconds", 0),
}

HELP = """\
unlearn-store: look after the store of artefacts.

  unlearn-store ls train                           what is there
  unlearn-store show 5626e5                        one artefact: spec, inputs, files, versions, hardware
  unlearn-store why strategy=top_k seed=1          which stages of that run are a miss, and by which setting
  unlearn-store verify                             every file against its hash
  unlearn-store gc --keep outputs --dry-run        what no report under outputs/ rests on
  unlearn-store gc                                 leftovers of killed processes alone
  unlearn-store purge --request request.txt dataset=image_folder dataset.root=photos --dry-run

Exit status 2: refused, nothing was done; 1: problems were found, or not all could be removed; 0: all is well.
"""


@guarded("unlearn-store")
def main() -> None:
    """Entry point."""
    arguments, overrides = _parser().parse_known_args()
    try:
        if overrides and arguments.command not in ("why", "purge"):
            raise ConfigError([f"{arguments.command}: expected no further arguments, got {' '.join(overrides)}"])
        sys.exit(arguments.run(arguments, overrides))
    except UnlearnError as error:
        print(*(f"unlearn-store: {line}" for line in printable(str(error)).splitlines()), sep="\n", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        "unlearn-store", description=HELP, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False
    )
    where: dict[str, Any] = {"metavar": "DIR", "help": "default: $UNLEARN_STORE, or artifacts"}
    parser.add_argument("--store", **where)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Command, help: str) -> ArgumentParser:
        made = commands.add_parser(name, help=help, description=help, allow_abbrev=False)
        made.add_argument("--store", default=SUPPRESS, **where)
        made.set_defaults(run=run)
        return made

    ls = command("ls", _ls, "what is there")
    ls.add_argument("kinds", nargs="*", metavar="KIND", help="of these kinds alone")
    ls.add_argument("--sort", choices=SORTS, default="kind")
    ls.add_argument("--json", action="store_true", help="for machines: bytes, seconds, times since 1970")
    command("show", _show, "one artefact").add_argument("key", metavar="KEY", help="or the beginning of one")
    command("why", _why, "which stages of a run are a miss, and why; overrides follow as for unlearn, grids too")
    command("verify", _verify, "every file against its hash, every input looked for")
    _gc_options(command("gc", _gc, "remove what nobody needs; without rules, leftovers of killed processes alone"))
    _purge_options(command("purge", _purge, "remove what was derived from records; overrides of the data set follow"))
    return parser


def _gc_options(gc: ArgumentParser) -> None:
    several: dict[str, Any] = {"nargs": "+", "action": "extend", "default": []}
    keep = "reports, or folders of runs and multiruns: all that these rest on stays, the rest goes"
    older = "only what was not built or used for so long goes (default: 1, to be safe beside running jobs)"
    gc.add_argument("--keep", **several, type=Path, metavar="PATH", help=keep)
    gc.add_argument("--keep-kind", **several, metavar="KIND", help="stays, with its inputs")
    gc.add_argument("--drop-kind", **several, metavar="KIND", help="goes, even if a listed report rests on it")
    gc.add_argument("--older-than", type=float, metavar="DAYS", help=older)
    gc.add_argument("--dry-run", action="store_true", help="say what would go")


def _purge_options(purge: ArgumentParser) -> None:
    reports = "look here for what holds pictures: pages, copies for W&B (may be repeated)"
    undecided = "what becomes of artefacts of which it is not known (default: they stay, exit status 1)"
    purge.add_argument("--request", required=True, metavar="FILE", help="records, as forget.file lists them")
    purge.add_argument("--reports", action="append", type=Path, default=[], metavar="DIR", help=reports)
    purge.add_argument("--undecided", choices=("keep", "remove"), default="keep", help=undecided)
    purge.add_argument("--dry-run", action="store_true", help="say what would go")


def _store(arguments: Namespace, runs: Sequence[RunConfig] = ()) -> Path:
    told = arguments.store or (runs[0].paths.store if runs else None)
    place = told or os.environ.get("UNLEARN_STORE", "artifacts")
    if not place.strip():
        raise ConfigError(["UNLEARN_STORE: expected a folder, got a blank; unset it, or give --store"])
    return Path(place)


def _ls(arguments: Namespace, _: list[str]) -> int:
    catalogue = Catalogue.read(_store(arguments))
    strange = sorted(set(arguments.kinds) - set(catalogue.kinds))
    if strange:
        raise ConfigError([f"ls: expected kinds among {', '.join(catalogue.kinds)}, got {', '.join(strange)}"])
    wanted = set(arguments.kinds or catalogue.kinds)
    items = [item for item in catalogue.items.values() if item.kind in wanted]
    items.sort(key=SORTS[arguments.sort])
    if arguments.json:
        print(json.dumps(machine_readable(catalogue, items), indent=1))
        return 0
    listing(items)
    for each in () if arguments.kinds else catalogue.leftovers:
        print(f"left over: {each.kind} {each.key[:BEGINNING]}, {size(each.bytes)}, written {ago(each.used)} ago")
    return 0


def _show(arguments: Namespace, _: list[str]) -> int:
    catalogue = Catalogue.read(_store(arguments))
    print(*shown(catalogue, catalogue.find(arguments.key).intact(), gone(catalogue.root)), sep="\n")
    return 0


def _why(arguments: Namespace, overrides: list[str]) -> int:
    from unlearn.inventory.why import stages, why

    runs = _runs(overrides)
    catalogue = Catalogue.read(_store(arguments, runs))
    print(*explained(why(catalogue, stages(runs), gone(catalogue.root))), sep="\n")
    return 0


def _runs(overrides: list[str]) -> list[RunConfig]:
    from unlearn import config
    from unlearn.cli.run import spelled_out

    config.register()
    return config.cells(config.CommandLine.parse(spelled_out(overrides)))


def _verify(arguments: Namespace, _: list[str]) -> int:
    from unlearn.inventory.verify import purged, verify

    catalogue = Catalogue.read(_store(arguments))
    known = gone(catalogue.root)
    with Console().working("verify (MB)") as tick:
        problems = list(verify(catalogue, known, tick))
    for problem in problems:
        print(printable(problem))
    if older := sum(bool(item.meta) and not item.has_digest for item in catalogue.items.values()):
        what = "their seconds, labels and hardware cannot be checked, all else was: no damage"
        print(f"{counted(older, 'artefact')} written before {META} carried a digest: {what}")
    for how, items in purged(catalogue, known).items():
        print(f"{counted(len(items), 'artefact')} made from what the {how} removed: no damage")
    whole = size(sum(item.bytes for item in catalogue.items.values()))
    print(f"{counted(len(catalogue.items), 'artefact')}, {whole}, {counted(len(problems), 'problem')}")
    return int(bool(problems))


def _gc(arguments: Namespace, _: list[str]) -> int:
    from unlearn.cli.removal import gc

    return gc(_store(arguments), arguments)


def _purge(arguments: Namespace, overrides: list[str]) -> int:
    from unlearn.cli.removal import purge
    from unlearn.config.words import quoted

    run, *others = runs = _runs([*overrides, "forget=indices", f"forget.file={quoted(arguments.request)}"])
    if others:
        raise ConfigError(["purge: expected one data set, got a grid"])
    return purge(_store(arguments, runs), arguments, run)


if __name__ == "__main__":
    main()
