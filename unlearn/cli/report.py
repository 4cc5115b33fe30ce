"""The command `unlearn-report`: summarise the reports of any number of runs and sweeps."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from unlearn.cli.boundary import guard_entry_point

DESCRIPTION = """\
Summarise reports: write sweep.csv, sweep.md and sweep.html, and print the table. It has one row for each strategy and
setting, with mean ± standard deviation over seeds. Runs on other data, requests, models or training are kept apart.
Streams of requests get stream.csv and stream.html.
"""


@guard_entry_point("unlearn-report")
def main() -> None:
    """Run the command. Exit status 2: refused, nothing was written."""
    parser = argparse.ArgumentParser(prog="unlearn-report", description=DESCRIPTION)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a folder of runs, or a report.json")
    parser.add_argument(
        "--into",
        type=Path,
        metavar="DIR",
        help="where to write (default: the folder given; the current one if several are given)",
    )
    arguments = parser.parse_args()
    from unlearn.report.stream.write import find_streams, summarise_streams
    from unlearn.report.sweep.summary import summarise

    into, streams = arguments.into or _default_folder(arguments.paths), find_streams(arguments.paths)
    written = summarise_streams(streams, into)
    if not streams or any(any(path.rglob("report.json")) for path in arguments.paths):
        written += summarise(arguments.paths, into, sys.stdout)
    print(*written, sep="\n")


def _default_folder(paths: list[Path]) -> Path:
    if len(paths) > 1:
        return Path()
    return paths[0] if os.path.isdir(paths[0]) else paths[0].parent  # noqa: PTH112  # Path raises for closed folders


if __name__ == "__main__":
    main()
