"""Checks the folders and log names that Hydra uses for the cells of a sweep."""

from __future__ import annotations

import os
from collections.abc import Iterator

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from unlearn.core.errors import Problem

SUBDIR, NAME = "hydra.sweep.subdir", "hydra.job.name"
MAX_NAME = 250  # bytes; Hydra appends `.log`


def check_job_name(composed: DictConfig) -> Iterator[str]:
    """Yield a problem if `hydra.job.name` cannot be the name of a log file.

    Args:
        composed: The config of a cell, with the key `hydra`.
    """
    name = _resolve(composed, NAME)
    if name is not None and (not name or "/" in name or "\0" in name or len(os.fsencode(name)) > MAX_NAME):
        yield str(Problem(NAME, f"a file name, without folders, of up to {MAX_NAME} bytes", name))


def resolve_cell_folder(composed: DictConfig, number: int) -> str | None:
    """Resolve the folder of a cell, relative to the folder of its multirun.

    Args:
        composed: The config of the cell, with the key `hydra`. This sets `hydra.job.num` in it.
        number: The number of the cell.

    Returns:
        The normalised path, or None if only the launcher can resolve it.
    """
    with open_dict(composed):
        composed.hydra.job.num = number
    folder = _resolve(composed, SUBDIR)
    return None if folder is None else os.path.normpath(folder)


def check_distinct_folders(folders: dict[int, str]) -> Iterator[str]:
    """Yield a problem if two cells would write into the same folder.

    Args:
        folders: The folder of each cell, by the number of the cell.
    """
    owners: dict[str, int] = {}
    for number, folder in folders.items():
        if owners.setdefault(folder, number) != number:
            expected = "a folder of its own for each cell, as ${hydra.job.num}"
            yield str(Problem(SUBDIR, expected, f"{folder} for cells {owners[folder]} and {number}"))
            return


def _resolve(composed: DictConfig, key: str) -> str | None:
    try:
        return str(OmegaConf.select(composed, key))
    except (OmegaConfBaseException, ValueError):  # other checks report missing keys; `${hydra:...}` is known in a job
        return None
