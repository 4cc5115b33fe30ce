"""Several processes that train one model: spawned for one piece of work, meeting in one process group, then gone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from unlearn.core.errors import UnlearnError, first_line
from unlearn.core.memory import is_out_of_memory
from unlearn.core.progress import Tick

Work = Callable[[Tick], None]


@dataclass(frozen=True)
class Seat:
    """A process's place in its group, and the folder it works in."""

    rank: int
    world: int
    device: str
    meeting: Path  # a file through which the processes find one another: no port that somebody else may take
    folder: Path
    workers: str  # how it starts processes that decode images: as its parent does, not by spawning them


def rank() -> int:
    """This process's place among those that train together; 0 where it is alone."""
    return distributed.get_rank() if _in_group() else 0


def world_size() -> int:
    """How many processes train together; 1 where this one is alone."""
    return distributed.get_world_size() if _in_group() else 1


def run_ranks(work: Work, world: int, device: str, tick: Tick) -> None:
    """Call `work(tick)` in `world` new processes at once; `tick` passes on what the first of them tells.

    They talk through NCCL where `device` is `cuda`, each with a GPU of its own, and through gloo on a CPU. `work`
    must be picklable. None of them outlives this call, whatever ends it, nor this process.

    Raises:
        UnlearnError, OSError: what the first to fail raised; another error comes as a RuntimeError, its traceback
            having been printed.
    """
    context, workers = multiprocessing.get_context("spawn"), multiprocessing.get_start_method()
    processes: dict[Connection, SpawnProcess] = {}
    with tempfile.TemporaryDirectory() as meeting:
        try:
            for number in range(world):
                seat = Seat(number, world, device, Path(meeting, "meeting"), Path.cwd(), workers)
                ear, mouth = context.Pipe(duplex=False)
                processes[ear] = context.Process(target=_sit, args=(seat, work, mouth))
                processes[ear].start()
                mouth.close()
            _listen(processes, tick)
        finally:
            for process in processes.values():
                if process.pid is not None:
                    process.kill()
                    process.join()


def _listen(processes: dict[Connection, SpawnProcess], tick: Tick) -> None:
    talking = dict(processes)
    while talking:
        heard: list[Any] = [_hear(ear, talking) for ear in wait(list(talking))]  # type: ignore[arg-type]
        errors = [each for each in heard if isinstance(each, Exception)]
        for error in sorted(errors, key=lambda each: isinstance(each, RuntimeError)):  # causes before consequences
            raise error
        for told in heard:
            if told is not None:
                tick(*told)


def _hear(ear: Connection, talking: dict[Connection, SpawnProcess]) -> Any:
    """A tick, an error, or None from a process that is done."""
    try:
        return ear.recv()
    except EOFError:
        process = talking.pop(ear)
        process.join()
        code = process.exitcode
        return UnlearnError(f"trainer: a training process ended with status {code}") if code else None


def _sit(seat: Seat, work: Work, mouth: Connection) -> None:
    """What a spawned process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of a terminal's processes; the parent ends us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.chdir(seat.folder)
    multiprocessing.set_start_method(seat.workers, force=True)
    try:
        _join(seat)
        work(lambda done, total: mouth.send((done, total)) if seat.rank == 0 else None)
    except (UnlearnError, OSError) as error:
        mouth.send(error)
        sys.exit(1)
    except Exception as error:
        if not is_out_of_memory(error):  # which the parent tells in one line
            traceback.print_exc()
        mouth.send(RuntimeError(f"{type(error).__name__}: {first_line(error)}"))
        sys.exit(1)
    distributed.destroy_process_group()


def _join(seat: Seat) -> None:
    os.environ["LOCAL_RANK"] = str(seat.rank)  # tells Lightning that the processes are there
    if seat.device == "cuda":
        torch.cuda.set_device(seat.rank)
    backend = "nccl" if seat.device == "cuda" else "gloo"
    distributed.init_process_group(backend, init_method=seat.meeting.as_uri(), rank=seat.rank, world_size=seat.world)


def _end_with_parent() -> None:
    """A parent that was killed has lost its lock: another process may be building by now."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _in_group() -> bool:
    return distributed.is_available() and distributed.is_initialized()
