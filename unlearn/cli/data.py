"""The console script that prints how a data set is numbered."""

from __future__ import annotations

import signal
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from unlearn.cli.lines import table
from unlearn.core.errors import ConfigError, UnlearnError, as_one_line, counted

if TYPE_CHECKING:
    from unlearn.data.datasets.base import Dataset
    from unlearn.pipeline.config import RunConfig

HELP = """\
unlearn-data: how a data set is numbered, and whom a request means in it.

  unlearn-data dataset=image_folder dataset.root=photos                classes: number, name, images of each part
  unlearn-data dataset=image_folder dataset.root=photos --records      every record of the training part as well
  unlearn-data dataset=image_folder dataset.root=photos forget=indices forget.file=request.txt

Exit status 2: refused; 0: all is well.
"""


def main() -> None:
    """Entry point."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `unlearn-data --records | head` ends quietly
    parser = ArgumentParser("unlearn-data", description=HELP, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--records", action="store_true", help="list every record of the training part")
    arguments, overrides = parser.parse_known_args()
    try:
        _show(_run(overrides), arguments.records)
    except UnlearnError as error:
        print(*(f"unlearn-data: {line}" for line in str(error).splitlines()), sep="\n", file=sys.stderr)
        sys.exit(2)


def _run(overrides: list[str]) -> RunConfig:
    """The only cell of a command line.

    Raises:
        ConfigError: with all problems, or a grid.
    """
    from unlearn import config
    from unlearn.cli.run import spelled_out

    config.register()
    run, *others = config.cells(config.CommandLine.parse(spelled_out(overrides)))
    if others:
        raise ConfigError(["expected one data set, got a grid"])
    return run


def _show(run: RunConfig, records: bool) -> None:
    dataset = run.dataset
    labels = {part: _labels(dataset, part) for part in ("train", "test", "val")}
    requested = run.forget.requested(dataset).tolist()
    chosen = Counter(labels["train"][index] for index in requested)
    parts = {part: Counter(own) for part, own in labels.items() if own} | ({"requested": chosen} if requested else {})
    names = dataset.class_names or ("",) * dataset.classes
    rows = [
        (str(number), as_one_line(name), *(str(counts[number]) for counts in parts.values()))
        for number, name in enumerate(names)
    ]
    sums = ("all", "", *(str(counts.total()) for counts in parts.values()))
    table(("class", "name", *parts), [*rows, sums], ("class", *parts))
    for remark in dataset.remarks():
        print(remark)
    if records:
        print(*_records(dataset, labels["train"]), sep="\n")


def _labels(dataset: Dataset, part: str) -> list[int]:
    """The class of each record of a part: from its path where there are paths, which spares decoding it."""
    names = dataset.names(part)
    if names:
        number = {name: label for label, name in enumerate(dataset.class_names)}
        return [number[name.partition("/")[0]] for name in names]
    if part == "val":
        return []
    contents = dataset.load()
    found: list[int] = (contents.train if part == "train" else contents.test).labels.tolist()
    return found


def _records(dataset: Dataset, labels: list[int]) -> Iterator[str]:
    """Index, class and name of each record of the training part."""
    yield f"\n{counted(len(labels), 'record')} of the training part: index, class, name"
    for index, label in enumerate(labels):
        name = dataset.record_name("train", index) if dataset.names("train") else ""
        yield f"{index}  {label}  {name}".rstrip()


if __name__ == "__main__":
    main()
