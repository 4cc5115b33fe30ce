"""The command `unlearn-data`: print how a data set numbers its classes and records."""

from __future__ import annotations

import signal
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from unlearn.cli.arguments import read_configs
from unlearn.cli.boundary import guard_entry_point
from unlearn.cli.lines import print_table
from unlearn.core.errors import ConfigError, as_one_line, pluralize

if TYPE_CHECKING:
    from unlearn.data.datasets.base import Dataset
    from unlearn.pipeline.config import RunConfig

HELP = """\
unlearn-data: how a data set numbers its classes and records, and which records a request means.

  unlearn-data dataset=image_folder dataset.root=photos                classes: number, name, images of each part
  unlearn-data dataset=image_folder dataset.root=photos --records      every record of the training part as well
  unlearn-data dataset=image_folder dataset.root=photos forget=indices forget.file=request.txt

Exit status 2: refused; 0: success.
"""


@guard_entry_point("unlearn-data")
def main() -> None:
    """Run the command."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `unlearn-data --records | head` ends quietly
    parser = ArgumentParser("unlearn-data", description=HELP, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--records", action="store_true", help="list every record of the training part")
    arguments, overrides = parser.parse_known_args()
    run, *other_cells = read_configs(overrides)
    if other_cells:
        raise ConfigError(["expected one data set, got a grid"])
    _print_numbering(run, arguments.records)


def _print_numbering(run: RunConfig, with_records: bool) -> None:
    dataset = run.dataset
    labels = {part: _read_labels(dataset, part) for part in ("train", "test", "val")}
    counts = {part: Counter(part_labels) for part, part_labels in labels.items() if part_labels}
    if requested := run.forget.requested(dataset).tolist():
        counts["requested"] = Counter(labels["train"][index] for index in requested)
    names = dataset.class_names or ("",) * dataset.classes
    rows = [
        (str(number), as_one_line(name), *(str(counter[number]) for counter in counts.values()))
        for number, name in enumerate(names)
    ]
    totals = ("all", "", *(str(counter.total()) for counter in counts.values()))
    print_table(("class", "name", *counts), [*rows, totals], ("class", *counts))
    for remark in dataset.remarks():
        print(remark)
    if with_records:
        print(*_list_records(dataset, labels["train"]), sep="\n")


def _read_labels(dataset: Dataset, part: str) -> list[int]:
    """Return the class of each record of a part, from its path where possible: then no image is decoded."""
    names = dataset.names(part)
    if names:
        number = {name: label for label, name in enumerate(dataset.class_names)}
        return [number[name.partition("/")[0]] for name in names]
    if part == "val":
        return []
    contents = dataset.load()
    labels: list[int] = (contents.train if part == "train" else contents.test).labels.tolist()
    return labels


def _list_records(dataset: Dataset, labels: list[int]) -> Iterator[str]:
    """Yield a line for each record of the training part, with its index, class and name."""
    yield f"\n{pluralize(len(labels), 'record')} of the training part: index, class, name"
    for index, label in enumerate(labels):
        name = dataset.record_name("train", index) if dataset.names("train") else ""
        yield f"{index}  {label}  {name}".rstrip()


if __name__ == "__main__":
    main()
