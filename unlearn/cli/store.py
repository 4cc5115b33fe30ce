"""The console script that looks after the store of artefacts."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from argparse import REMAINDER, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearn.cli.lines import ago, explained, listed, row, shown, size, table
from unlearn.console import Console
from unlearn.errors import ConfigError, UnlearnError
from unlearn.inventory.catalogue import BEGINNING, Catalogue
from unlearn.inventory.removals import Removal, gone, record, remove

if TYPE_CHECKING:
    from unlearn.inventory.purge import Judgement
    from unlearn.run_config import RunConfig

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


def main() -> None:
    """Entry point."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `unlearn-store ls | head` ends quietly
    arguments, rest = _parser().parse_known_args()
    overrides = [*getattr(arguments, "overrides", []), *rest]
    try:
        if rest and not hasattr(arguments, "overrides"):
            raise ConfigError([f"{arguments.command}: expected no further arguments, came {' '.join(rest)}"])
        sys.exit(arguments.run(arguments, overrides))
    except UnlearnError as error:
        print(*(f"unlearn-store: {line}" for line in str(error).splitlines()), sep="\n", file=sys.stderr)
        sys.exit(2)
