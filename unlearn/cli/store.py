"""The command `unlearn-store`: list, explain, verify, export and remove artifacts."""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearn.cli.arguments import add_commands, read_configs
from unlearn.cli.boundary import guard_entry_point
from unlearn.cli.export import add_options as export_options
from unlearn.cli.export import export
from unlearn.cli.lines import (
    as_json,
    describe_answers,
    describe_artifact,
    format_age,
    format_size,
    print_listing,
)
from unlearn.core.artifact_meta import META
from unlearn.core.errors import ConfigError, pluralize
from unlearn.core.progress import Console
from unlearn.core.terminal import escape_control
from unlearn.inventory.catalogue import BEGINNING, Catalogue, Item
from unlearn.inventory.removals import read_removals

if TYPE_CHECKING:
    from unlearn.pipeline.config import RunConfig

SORTS: dict[str, Callable[[Item], Any]] = {
    "kind": lambda item: (item.kind, item.label, item.created),
    "size": lambda item: -item.bytes,
    "age": lambda item: item.created,
    "used": lambda item: item.used,
    "seconds": lambda item: -item.meta.get("seconds", 0),
}

HELP = """\
unlearn-store: list, explain, verify, export and remove the artifacts in the store.

  unlearn-store ls train                           the artifacts of a kind
  unlearn-store show 5626e5                        one artifact: spec, inputs, files, versions, hardware
  unlearn-store why strategy=top_k seed=1          which stages of that run are a miss, and which setting differs
  unlearn-store verify                             compare every file with its hash
  unlearn-store export outputs --to net.safetensors  the unlearned model of a run, for use elsewhere (or net.pt)
  unlearn-store gc --keep outputs --dry-run        remove what no report under outputs/ needs
  unlearn-store gc                                 remove only leftovers of killed processes
  unlearn-store purge --request request.txt dataset=image_folder dataset.root=photos --dry-run

Exit status 2: refused, nothing was done; 1: problems were found, or not everything could be removed; 0: success.
"""


@guard_entry_point("unlearn-store")
def main() -> None:
    """Run the command."""
    arguments, overrides = _parser().parse_known_args()
    if overrides and arguments.command not in ("why", "purge"):
        raise ConfigError([f"{arguments.command}: expected no further arguments, got {' '.join(overrides)}"])
    sys.exit(arguments.run(arguments, overrides))


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        "unlearn-store", description=HELP, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False
    )
    command = add_commands(parser, "--store", metavar="DIR", help="default: $UNLEARN_STORE, or artifacts")
    ls = command("ls", _ls, "list artifacts")
    ls.add_argument("kinds", nargs="*", metavar="KIND", help="only these kinds")
    ls.add_argument("--sort", choices=SORTS, default="kind")
    ls.add_argument("--json", action="store_true", help="JSON, with bytes, seconds, and times in seconds since 1970")
    command("show", _show, "show one artifact").add_argument("key", metavar="KEY", help="a key or its beginning")
    command("why", _why, "explain which stages of a run are a miss; takes the overrides of unlearn, also grids")
    command("verify", _verify, "compare every file with its hash, and look for every input")
    export_options(command("export", _export, "write a model for use elsewhere: a state dict of the bare net"))
    _gc_options(command("gc", _gc, "remove unneeded artifacts; without rules, only leftovers of killed processes"))
    _purge_options(command("purge", _purge, "remove artifacts derived from records; takes overrides of the data set"))
    return parser


def _gc_options(gc: ArgumentParser) -> None:
    repeated: dict[str, Any] = {"nargs": "+", "action": "extend", "default": []}
    keep = "reports, or folders of runs and multiruns: keep what these need, remove the rest"
    older = "remove only what was not built or used for so many days (default: 1, so that running jobs are safe)"
    gc.add_argument("--keep", **repeated, type=Path, metavar="PATH", help=keep)
    gc.add_argument("--keep-kind", **repeated, metavar="KIND", help="keep this kind, and its inputs")
    gc.add_argument("--drop-kind", **repeated, metavar="KIND", help="remove this kind, even if a report needs it")
    gc.add_argument("--older-than", type=float, metavar="DAYS", help=older)
    gc.add_argument("--dry-run", action="store_true", help="only print what would be removed")


def _purge_options(purge: ArgumentParser) -> None:
    reports = "look in this folder for pages and W&B copies that contain pictures (may be repeated)"
    undecided = "what to do with artifacts that may or may not be derived from them (default: keep, exit status 1)"
    purge.add_argument("--request", required=True, metavar="FILE", help="the records, in the format of forget.file")
    purge.add_argument("--reports", action="append", type=Path, default=[], metavar="DIR", help=reports)
    purge.add_argument("--undecided", choices=("keep", "remove"), default="keep", help=undecided)
    purge.add_argument("--dry-run", action="store_true", help="only print what would be removed")


def _store_folder(arguments: Namespace, runs: Sequence[RunConfig] = ()) -> Path:
    """Return the folder given by `--store`, by the runs or by the environment, in this order."""
    folder = arguments.store or (runs[0].paths.store if runs else None) or os.environ.get("UNLEARN_STORE", "artifacts")
    if not folder.strip():
        raise ConfigError(["UNLEARN_STORE: expected a folder, got a blank; unset it, or give --store"])
    return Path(folder)


def _ls(arguments: Namespace, _: list[str]) -> int:
    catalogue = Catalogue.read(_store_folder(arguments))
    unknown = sorted(set(arguments.kinds) - set(catalogue.kinds))
    if unknown:
        raise ConfigError([f"ls: expected kinds among {', '.join(catalogue.kinds)}, got {', '.join(unknown)}"])
    kinds = set(arguments.kinds or catalogue.kinds)
    items = [item for item in catalogue.items.values() if item.kind in kinds]
    items.sort(key=SORTS[arguments.sort])
    if arguments.json:
        print(json.dumps(as_json(catalogue, items), indent=1))
        return 0
    print_listing(items)
    for leftover in () if arguments.kinds else catalogue.leftovers:
        name = f"{leftover.kind} {leftover.key[:BEGINNING]}"
        print(f"left over: {name}, {format_size(leftover.bytes)}, written {format_age(leftover.used)} ago")
    return 0


def _show(arguments: Namespace, _: list[str]) -> int:
    catalogue = Catalogue.read(_store_folder(arguments))
    print(
        *describe_artifact(catalogue, catalogue.find(arguments.key).intact(), read_removals(catalogue.root)), sep="\n"
    )
    return 0


def _why(arguments: Namespace, overrides: list[str]) -> int:
    from unlearn.inventory.why import explain_stages, list_stages

    runs = read_configs(overrides)
    catalogue = Catalogue.read(_store_folder(arguments, runs))
    print(*describe_answers(explain_stages(catalogue, list_stages(runs), read_removals(catalogue.root))), sep="\n")
    return 0


def _verify(arguments: Namespace, _: list[str]) -> int:
    from unlearn.inventory.verify import find_purged_inputs, find_store_problems

    catalogue = Catalogue.read(_store_folder(arguments))
    known = read_removals(catalogue.root)
    with Console().working("verify (MB)") as tick:
        problems = list(find_store_problems(catalogue, known, tick))
    for problem in problems:
        print(escape_control(problem))
    if older := sum(bool(item.meta) and not item.has_digest for item in catalogue.items.values()):
        note = "their seconds, labels and hardware cannot be checked, everything else was: no damage"
        print(f"{pluralize(older, 'artifact')} written before {META} had a digest: {note}")
    for how, items in find_purged_inputs(catalogue, known).items():
        print(f"{pluralize(len(items), 'artifact')} made from what the {how} removed: no damage")
    total = format_size(sum(item.bytes for item in catalogue.items.values()))
    print(f"{pluralize(len(catalogue.items), 'artifact')}, {total}, {pluralize(len(problems), 'problem')}")
    return int(bool(problems))


def _export(arguments: Namespace, _: list[str]) -> int:
    return export(_store_folder(arguments), arguments)


def _gc(arguments: Namespace, _: list[str]) -> int:
    from unlearn.cli.removal import gc

    return gc(_store_folder(arguments), arguments)


def _purge(arguments: Namespace, overrides: list[str]) -> int:
    from unlearn.cli.removal import purge
    from unlearn.config.override_parser import quote

    run, *other_cells = runs = read_configs([*overrides, "forget=indices", f"forget.file={quote(arguments.request)}"])
    if other_cells:
        raise ConfigError(["purge: expected one data set, got a grid"])
    return purge(_store_folder(arguments, runs), arguments, run)


if __name__ == "__main__":
    main()
