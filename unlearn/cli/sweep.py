"""A multirun as a whole: how far its cells are, which of them failed, and the report over all of them."""

from __future__ import annotations

import logging
import shlex
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

from filelock import FileLock, Timeout
from hydra.experimental.callback import Callback
from hydra.plugins.sweeper import Sweeper

from unlearn.config import Grid
from unlearn.core.errors import UnlearnError
from unlearn.core.progress import Console
from unlearn.report.note import DONE, FAILED, NOTE, Note

EVERY = 0.5  # seconds between two looks at the cells' notes


class Folder(Callback):
    """Remembers where the multirun of this process writes; Hydra alone knows, and tells its callbacks."""

    path: ClassVar[Path | None] = None
    lock: ClassVar[FileLock | None] = None  # held while the sweep runs: two would take each other's cells for theirs

    def on_multirun_start(self, config: Any, **_: Any) -> None:
        """Before the first cell: notes of an earlier sweep into the same folder go."""
        Folder.path = Path(config.hydra.sweep.dir)
        Folder.lock = FileLock(Folder.path / ".lock")
        try:
            Folder.path.mkdir(parents=True, exist_ok=True)
            Folder.lock.acquire(timeout=0)
            for path in Folder.path.glob(f"*/{NOTE}"):
                path.unlink()
        except Timeout:
            print(
                f"unlearn: paths.output: expected a folder of its own, got {Folder.path}, into which another "
                "sweep is running",
                file=sys.stderr,
            )
            raise SystemExit(2) from None
        except OSError:  # Hydra is about to meet the same, and is heard
            return


def run(go: Callable[[], int], grid: Grid, whole: Grid, typed: list[str]) -> int:
    """Let Hydra run the cells of `grid`, then tell how it went; returns the exit status.

    `typed` is the command line of the `whole` grid, of which `grid` is the part to run.
    """
    console = Console()
    if grid.trials:
        _hush_optuna()
    # Hydra would compose every cell twice, a quarter of a second each time: the checks before have done the first.
    Sweeper.validate_batch_is_legal = lambda self, batch: None  # type: ignore[method-assign]
    with _followed(grid, console):
        status = go()
    if Folder.path is None or status > 1 or not _notes(Folder.path):  # stopped, or not even begun
        return status
    failed = _tell_failures(grid, whole, typed, Folder.path, console)
    if grid is whole:  # else until=baseline, which reports nothing
        _report(Folder.path)
    if grid.trials:
        _tell_best(grid, typed, Folder.path, console)
    return 1 if failed else status


def _hush_optuna() -> None:
    """Of its storage and of itself only warnings: what it found is told at the end."""
    import optuna

    logging.getLogger("alembic").setLevel(logging.WARNING)
    optuna.logging.set_verbosity(logging.WARNING)


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
    found = _notes(Folder.path) if Folder.path else []
    done = [note for note in found if note.state == DONE]
    return len(done), sum(not note.built for note in done), sum(note.state == FAILED for note in found)


def _notes(folder: Path) -> list[Note]:
    """Of the cells that have begun; what cannot be read is left out, and its cell counts as not begun."""
    found = []
    for path in folder.glob(f"*/{NOTE}"):
        with suppress(OSError, ValueError):
            found.append(Note.read(path))
    return found


def _tell_failures(grid: Grid, whole: Grid, typed: list[str], folder: Path, console: Console) -> bool:
    """Which cells did not end well and why, and the commands that run just those; whether there are any."""
    known = {note.number: note for note in _notes(folder)}
    wrong = [n for n in range(len(grid)) if n not in known or known[n].state != DONE]
    if not wrong:
        return False
    console.say(
        f"unlearn: {len(wrong)} of {len(grid)} cells failed{'; all others are finished' * (len(wrong) < len(grid))}"
    )
    for n in wrong:
        note = known.get(n)
        cause = "did not start" if note is None else note.cause or "ended without a word: killed, or out of memory"
        told = note.overrides if note and grid.trials else grid.varied(n)
        console.say(f"  cell {n} ({' '.join(told)}): {cause}")
    if grid.trials:
        return True  # a search proposes anew: the same command goes on
    reported = grid is whole
    console.say(f"Only these again{', then one report over all of them' * reported}:")
    for number, block in enumerate(grid.blocks(wrong), start=1):
        again = [word for word in block.arguments(whole, typed) if not word.startswith("paths.output=")]
        console.say(f"  {shlex.join(['unlearn', *again, f'paths.output={folder}/again-{number}'])}")
    if reported:
        console.say(f"  {shlex.join(['unlearn-report', str(folder)])}")
    return True


def _report(folder: Path) -> None:
    """Over the cells of this sweep: others may have left theirs in the folder. There is none of shared stages alone."""
    from unlearn.report.sweep.summary import summarise

    cells = sorted((path.parent for path in folder.glob(f"*/{NOTE}")), key=lambda cell: (len(cell.name), cell.name))
    if not any((cell / "report.json").exists() for cell in cells):
        return
    try:
        print(*summarise(cells, folder, sys.stdout), sep="\n")
    except UnlearnError as error:
        print(f"unlearn: no report of the sweep: {error}", file=sys.stderr)


def _tell_best(grid: Grid, typed: list[str], folder: Path, console: Console) -> None:
    """What a search found, and how to judge it."""
    from omegaconf import OmegaConf

    path = folder / "optimization_results.yaml"  # the name is Optuna's sweeper's
    if not path.is_file():
        return
    found: Any = OmegaConf.to_container(OmegaConf.load(path))
    if "best_params" not in found:  # several objectives
        return
    best = [f"{key}={value}" for key, value in found["best_params"].items()]
    console.say(f"best of {len(grid)}: {found['best_value']:.4f} with {' '.join(best)}")
    mine = {
        "+sweep",
        "seed",
        "paths.output",
        *found["best_params"],
        *(axis.key for axis in grid.axes if len(axis.values) > 1),
    }
    kept = [word for word in typed if word.partition("=")[0] not in mine and not word.startswith(("hydra", "-"))]
    if any(word.startswith("paths.output=") for word in typed):
        kept.append(f"paths.output={folder}-unseen")
    seed = next((int(axis.values[0]) for axis in grid.axes if axis.key == "seed"), 0)
    unseen = f"seed={seed + 1},{seed + 2},{seed + 3}"
    console.say("On seeds that the search has not seen:")
    console.say(f"  {shlex.join(['unlearn', '-m', *kept, *best, unseen])}")
