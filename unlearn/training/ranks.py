"""Distributed training in several processes, which are started for one task and end with it."""

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
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from unlearn.core.errors import UnlearnError, first_line
from unlearn.core.memory import is_out_of_memory
from unlearn.core.progress import DetailedTick, ignore_tick

Work = Callable[[DetailedTick], None]


@dataclass(frozen=True)
class RankSpec:
    """The settings of one process of a group."""

    rank: int
    world: int
    device: str
    rendezvous: Path  # a file through which the processes find each other: a port could be taken
    folder: Path  # the working directory
    start_method: str  # for the processes that decode images: that of the parent


def rank() -> int:
    """The rank of this process in its group; 0 without a group."""
    return distributed.get_rank() if _in_group() else 0


def world_size() -> int:
    """The number of processes in the group; 1 without a group."""
    return distributed.get_world_size() if _in_group() else 1


def run_ranks(work: Work, world: int, device: str, tick: DetailedTick) -> None:
    """Call `work(tick)` in `world` new processes that form one group.

    No process outlives this call, however it ends, nor this process.

    Args:
        work: the task, which must be picklable.
        world: the number of processes.
        device: `cuda`, with NCCL and a GPU per process, or `cpu`, with gloo.
        tick: gets the progress of the process with rank 0.

    Raises:
        UnlearnError, OSError: the error of the first process that failed. Any other error is raised as a RuntimeError;
            its traceback is printed.
    """
    context, start_method = multiprocessing.get_context("spawn"), multiprocessing.get_start_method()
    processes: dict[Connection, SpawnProcess] = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            for number in range(world):
                spec = RankSpec(number, world, device, Path(folder, "rendezvous"), Path.cwd(), start_method)
                receiver, sender = context.Pipe(duplex=False)
                processes[receiver] = context.Process(target=_run_rank, args=(spec, work, sender))
                processes[receiver].start()
                sender.close()
            _receive_all(processes, tick)
        finally:
            for process in processes.values():
                if process.pid is not None:
                    process.kill()
                    process.join()


def _receive_all(processes: dict[Connection, SpawnProcess], tick: DetailedTick) -> None:
    """Pass on ticks until all processes have ended, and raise the first error."""
    running = dict(processes)
    while running:
        messages: list[Any] = [_receive(receiver, running) for receiver in wait(list(running))]  # type: ignore[arg-type]
        errors = [message for message in messages if isinstance(message, Exception)]
        for error in sorted(errors, key=lambda error: isinstance(error, RuntimeError)):  # causes before consequences
            raise error
        for progress in messages:
            if progress is not None:
                done, total, details = progress
                tick(done, total, **details)


def _receive(receiver: Connection, running: dict[Connection, SpawnProcess]) -> Any:
    """A tick, an error, or None from a process that has ended and is then removed from `running`."""
    try:
        return receiver.recv()
    except EOFError:
        process = running.pop(receiver)
        process.join()
        code = process.exitcode
        return UnlearnError(f"trainer: a training process ended with status {code}") if code else None


def _run_rank(spec: RankSpec, work: Work, sender: Connection) -> None:
    """The main function of a spawned process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the parent ends this one
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.chdir(spec.folder)
    multiprocessing.set_start_method(spec.start_method, force=True)
    try:
        _join_group(spec)
        work(partial(_send_tick, sender) if spec.rank == 0 else ignore_tick)
    except (UnlearnError, OSError) as error:
        sender.send(error)
        sys.exit(1)
    except Exception as error:
        if not is_out_of_memory(error):  # which the parent reports in one line
            traceback.print_exc()
        sender.send(RuntimeError(f"{type(error).__name__}: {first_line(error)}"))
        sys.exit(1)
    distributed.destroy_process_group()


def _send_tick(sender: Connection, done: float, total: int, /, **details: Any) -> None:
    sender.send((done, total, details))


def _join_group(spec: RankSpec) -> None:
    os.environ["LOCAL_RANK"] = str(spec.rank)  # so that Lightning does not start processes itself
    if spec.device == "cuda":
        torch.cuda.set_device(spec.rank)
    backend, address = "nccl" if spec.device == "cuda" else "gloo", spec.rendezvous.as_uri()
    distributed.init_process_group(backend, init_method=address, rank=spec.rank, world_size=spec.world)


def _end_with_parent() -> None:
    """End this process with its parent: a killed parent has lost its lock, so another process may be building."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _in_group() -> bool:
    return distributed.is_available() and distributed.is_initialized()
