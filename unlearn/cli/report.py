"""The command `unlearn-report`: summarise the reports of any number of runs and sweeps."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from unlearn.cli.boundary import guard_entry_point

DESCRIPTION = """\
Of one run: print its table, and write its page report.html again, from its folder alone.

Of several runs: write sweep.csv, sweep.md and sweep.html, and print the table. It has one row for each strategy and
setting, with mean ± standard deviation over seeds. Runs on other data, requests, models or training are kept apart.
Streams of requests get stream.csv and stream.html.
"""


@guard_entry_point("unlearn-report")
def main() -> None:
    """Run the command. Exit status 2: refused, nothing was written."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="unlearn-report", description=DESCRIPTION, formatter_class=formatter)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a folder of runs, or a report.json")
    parser.add_argument(
        "--into",
        type=Path,
        metavar="DIR",
        help="where to write (default: the folder given; the current one if several are given)",
    )
    arguments = parser.parse_args()
    print(*_write(arguments.paths, arguments.into), sep="\n")


def _write(paths: list[Path], into: Path | None) -> list[Path]:
    """Print the table of a run or a sweep, and return the files that were written."""
    from unlearn.report.run_folder import find_run, summarise_run
    from unlearn.report.stream.write import find_streams, summarise_streams
    from unlearn.report.sweep.summary import summarise

    if streams := find_streams(paths):
        folder = into or _default_folder(paths)
        others = summarise(paths, folder, sys.stdout) if any(any(path.rglob("report.json")) for path in paths) else []
        return [*summarise_streams(streams, folder), *others]
    run = find_run(paths)
    if run is None:
        return summarise(paths, into or _default_folder(paths), sys.stdout)
    return [summarise_run(run, into, sys.stdout)]


def _default_folder(paths: list[Path]) -> Path:
    if len(paths) > 1:
        return Path()
    return paths[0] if os.path.isdir(paths[0]) else paths[0].parent  # noqa: PTH112  # Path raises for closed folders


if __name__ == "__main__":
    main()
