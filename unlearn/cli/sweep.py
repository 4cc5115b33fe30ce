"""A multirun as a whole: how far its cells are, which of them failed, and the report over all of them."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from hydra.experimental.callback import Callback

from unlearn.cli import cells
from unlearn.config import Grid
from unlearn.console import Console

EVERY = 0.5  # seconds between two looks at the cells' notes


class Folder(Callback):
    """Remembers where the multirun of this process writes; Hydra alone knows, and tells its callbacks."""

    path: ClassVar[Path | None] = None

    def on_multirun_start(self, config: Any, **_: Any) -> None:
        """Before the first cell."""
        Folder.path = Path(config.hydra.sweep.dir)


def run(go: Callable[[], Any], grid: Grid, whole: Grid, typed: list[str]) -> int:
    """Let Hydra run the cells of `grid`, then tell how it went; returns the exit status.

    `typed` is the command line of the `whole` grid, of which `grid` is the part to run.
    """
    console = Console()
    status = 0
    with _followed(grid, console):
        try:
            go()
        except SystemExit as end:  # a launcher failed, or the user stopped it
            status = int(end.code) if isinstance(end.code, int) else 1
    if Folder.path is None or status > 1:
        return status
    failed = _tell_failures(grid, whole, typed, Folder.path, console)
    return 1 if failed else status


@contextmanager
def _followed(grid: Grid, console: Console) -> Iterator[None]:
    """The bar over all cells, whichever process runs them: it reads their notes."""
    over = threading.Event()
    with console.overall(len(grid)) as show:

        def look() -> None:
            while not over.wait(EVERY):
                show(*_counts())

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            show(*_counts())


def _counts() -> tuple[int, int, int]:
    """Cells that are done, those of them that found everything in the store, and cells that failed."""
    found = list(cells.read(Folder.path)) if Folder.path else []
    done = [cell for cell in found if cell.state == cells.DONE]
    return len(done), sum(not cell.built for cell in done), sum(cell.state == cells.FAILED for cell in found)


def _tell_failures(grid: Grid, whole: Grid, typed: list[str], folder: Path, console: Console) -> bool:
    """Which cells did not end well and why, and the commands that run just those; whether there are any."""
    known = {cell.number: cell for cell in cells.read(folder)}
    wrong = [n for n in range(len(grid)) if n not in known or known[n].state != cells.DONE]
    if not wrong:
        return False
    console.say(f"unlearn: {len(wrong)} of {len(grid)} cells failed; all others are finished")
    for n in wrong:
        cell = known.get(n)
        cause = "did not start" if cell is None else cell.cause or "ended without a word: killed, or out of memory"
        console.say(f"  cell {n} ({' '.join(grid.varied(n))}): {cause}")
    console.say("Only these again, then one report over all of them:")
    for number, block in enumerate(grid.blocks(wrong), start=1):
        again = [word for word in block.arguments(whole, typed) if not word.startswith("paths.output=")]
        console.say(f"  {shlex.join(['unlearn', *again, f'paths.output={folder}/again-{number}'])}")
    console.say(f"  {shlex.join(['unlearn-report', str(folder)])}")
    return True
