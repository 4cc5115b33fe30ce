"""Runs a multirun: shows its progress, lists the cells that failed, and reports on all cells."""

from __future__ import annotations

import logging
import shlex
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

from filelock import FileLock, Timeout
from hydra.experimental.callback import Callback

from unlearn.config import Grid
from unlearn.core.errors import UnlearnError
from unlearn.core.progress import Console
from unlearn.report.note import DONE, FAILED, NOTE, Note

POLL_SECONDS = 0.5  # between two readings of the cells' notes


class MultirunFolder(Callback):
    """Records and locks the folder of the multirun of this process, which Hydra passes only to its callbacks."""

    path: ClassVar[Path | None] = None
    lock: ClassVar[FileLock | None] = None  # held until the sweep ends: two sweeps would mix up their cells

    def on_multirun_start(self, config: Any, **_: Any) -> None:
        """Lock the folder before the first cell, and delete the notes of an earlier sweep."""
        path = Path(config.hydra.sweep.dir)
        MultirunFolder.path, MultirunFolder.lock = path, FileLock(path / ".lock")
        try:
            path.mkdir(parents=True, exist_ok=True)
            MultirunFolder.lock.acquire(timeout=0)
            for note in path.glob(f"*/{NOTE}"):
                note.unlink()
        except Timeout:
            message = f"expected a folder of its own, got {path}, into which another sweep is running"
            print(f"unlearn: paths.output: {message}", file=sys.stderr)
            raise SystemExit(2) from None
        except OSError:  # Hydra fails with the same error next, and reports it
            return


def run_sweep(launch: Callable[[], int], grid: Grid, full_grid: Grid, arguments: list[str]) -> int:
    """Let Hydra run the cells of a grid, then print the outcome.

    Args:
        launch: Runs all cells and returns the exit status.
        grid: The cells to run.
        full_grid: The grid of the command line, of which `grid` is a part.
        arguments: The user's command line.

    Returns:
        The exit status: 1 if a cell failed, else that of `launch`.
    """
    console = Console()
    if grid.trials:
        _silence_optuna()
    with _progress_bar(grid, console):
        status = launch()
    folder = MultirunFolder.path
    if folder is None or status > 1 or not _read_notes(folder):  # stopped, or no cell has begun
        return status
    failed = _print_failures(grid, full_grid, arguments, folder, console)
    if grid is full_grid:  # with until=baseline it is not, and there is nothing to report
        _write_report(folder)
    if grid.trials:
        _print_best(grid, arguments, folder, console)
    return 1 if failed else status


def _silence_optuna() -> None:
    """Show only warnings of Optuna and of its storage; the best trial is printed at the end."""
    import optuna

    logging.getLogger("alembic").setLevel(logging.WARNING)
    optuna.logging.set_verbosity(logging.WARNING)


@contextmanager
def _progress_bar(grid: Grid, console: Console) -> Iterator[None]:
    """Show how many cells have ended, read from their notes, since other processes may run them."""
    is_over = threading.Event()
    with console.overall(len(grid)) as show:

        def poll() -> None:
            while not is_over.wait(POLL_SECONDS):
                show(*_count_cells())

        thread = threading.Thread(target=poll, daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()
            show(*_count_cells())


def _count_cells() -> tuple[int, int, int]:
    """Count the cells that are done, those of them that built nothing, and the cells that failed."""
    notes = _read_notes(MultirunFolder.path) if MultirunFolder.path else []
    done = [note for note in notes if note.state == DONE]
    return len(done), sum(not note.built for note in done), sum(note.state == FAILED for note in notes)


def _read_notes(folder: Path) -> list[Note]:
    """Read the notes of the cells that have begun. A cell whose note cannot be read counts as not begun."""
    notes = []
    for path in folder.glob(f"*/{NOTE}"):
        with suppress(OSError, ValueError):
            notes.append(Note.read(path))
    return notes


def _print_failures(grid: Grid, full_grid: Grid, arguments: list[str], folder: Path, console: Console) -> bool:
    """Print which cells failed and why, and the commands that run only these; returns whether any cell failed."""
    notes = {note.number: note for note in _read_notes(folder)}
    failed = [number for number in range(len(grid)) if number not in notes or notes[number].state != DONE]
    if not failed:
        return False
    others = "; all others are finished" if len(failed) < len(grid) else ""
    console.say(f"unlearn: {len(failed)} of {len(grid)} cells failed{others}")
    for number in failed:
        console.say(f"  {_describe_failure(grid, number, notes.get(number))}")
    if grid.trials:
        return True  # a search proposes new settings: the same command continues it
    has_report = grid is full_grid
    console.say(f"To run only these again{', then one report over all of them' if has_report else ''}:")
    for count, block in enumerate(grid.split_into_blocks(failed), start=1):
        words = [word for word in block.arguments(full_grid, arguments) if not word.startswith("paths.output=")]
        console.say(f"  {shlex.join(['unlearn', *words, f'paths.output={folder}/again-{count}'])}")
    if has_report:
        console.say(f"  {shlex.join(['unlearn-report', str(folder)])}")
    return True


def _describe_failure(grid: Grid, number: int, note: Note | None) -> str:
    overrides = note.overrides if note and grid.trials else grid.varying_overrides(number)
    cause = "did not start" if note is None else note.cause or "ended without a message: killed, or out of memory"
    return f"cell {number} ({' '.join(overrides)}): {cause}"


def _write_report(folder: Path) -> None:
    """Write the report over the cells of this sweep, if they have reports; earlier cells may lie in the folder too."""
    from unlearn.report.stream.write import find_streams, summarise_streams
    from unlearn.report.sweep.summary import summarise

    cells = sorted((path.parent for path in folder.glob(f"*/{NOTE}")), key=lambda cell: (len(cell.name), cell.name))
    try:
        if streams := summarise_streams(find_streams(cells), folder):
            print(*streams, sep="\n")
        if not any((cell / "report.json").exists() for cell in cells):
            return
        print(*summarise(cells, folder, sys.stdout), sep="\n")
    except UnlearnError as error:
        print(f"unlearn: no report of the sweep: {error}", file=sys.stderr)


def _print_best(grid: Grid, arguments: list[str], folder: Path, console: Console) -> None:
    """Print the best settings of a search, and the command that measures them on other seeds."""
    from omegaconf import OmegaConf

    path = folder / "optimization_results.yaml"  # written by Optuna's sweeper
    if not path.is_file():
        return
    results: Any = OmegaConf.to_container(OmegaConf.load(path))
    if "best_params" not in results:  # several objectives
        return
    best = [f"{key}={value}" for key, value in results["best_params"].items()]
    console.say(f"best of {len(grid)}: {results['best_value']:.4f} with {' '.join(best)}")
    console.say("On seeds that the search has not seen:")
    words = _arguments_on_new_seeds(grid, arguments, results["best_params"], folder)
    console.say(f"  {shlex.join(['unlearn', '-m', *words])}")


def _arguments_on_new_seeds(grid: Grid, arguments: list[str], best: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """Yield the command line of the search without its axes, with the best settings and three new seeds."""
    replaced = {"+sweep", "seed", "paths.output", *best, *(axis.key for axis in grid.axes if len(axis.values) > 1)}
    for word in arguments:
        if word.partition("=")[0] not in replaced and not word.startswith(("hydra", "-")):
            yield word
    if any(word.startswith("paths.output=") for word in arguments):
        yield f"paths.output={folder}-unseen"
    yield from (f"{key}={value}" for key, value in best.items())
    seed = next((int(axis.values[0]) for axis in grid.axes if axis.key == "seed"), 0)
    yield f"seed={seed + 1},{seed + 2},{seed + 3}"
