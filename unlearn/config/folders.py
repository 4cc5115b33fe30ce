"""Where Hydra writes what of a cell: told before two cells share a folder, and before a log has no name."""

from __future__ import annotations

import os
from collections.abc import Iterator

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from unlearn.core.errors import Problem

SUBDIR, NAME = "hydra.sweep.subdir", "hydra.job.name"
LONGEST = 250  # bytes of a name, to which `.log` is added


def job_problems(whole: DictConfig) -> Iterator[str]:
    """A name that a log cannot have."""
    name = _resolved(whole, NAME)
    if name is not None and (not name or "/" in name or "\0" in name or len(os.fsencode(name)) > LONGEST):
        yield str(Problem(NAME, f"a name of a file, without folders, of up to {LONGEST} bytes", name))


def cell_folder(whole: DictConfig, number: int) -> str | None:
    """Of a multirun's cell, within that of the multirun; None where only its launcher can tell."""
    with open_dict(whole):
        whole.hydra.job.num = number
    folder = _resolved(whole, SUBDIR)
    return None if folder is None else os.path.normpath(folder)


def shared(folders: dict[int, str]) -> Iterator[str]:
    """Cells that would overwrite one another, by number."""
    first: dict[str, int] = {}
    for number, folder in folders.items():
        if first.setdefault(folder, number) != number:
            expected = "a folder of its own for each cell, as ${hydra.job.num}"
            yield str(Problem(SUBDIR, expected, f"{folder} for cells {first[folder]} and {number}"))
            return


def _resolved(whole: DictConfig, key: str) -> str | None:
    try:
        return str(OmegaConf.select(whole, key))
    except (OmegaConfBaseException, ValueError):  # that nothing is there is told elsewhere; `hydra:` is known in a run
        return None
