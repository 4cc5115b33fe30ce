"""Records that earlier requests removed: they are in no subset of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from unlearn.core.errors import DataError, Problem
from unlearn.data.datasets.base import Dataset
from unlearn.data.requests.records.resolve import find_list_problems, find_records, read_cached

KEY = "forget.earlier"
SPLIT = ".safetensors"  # ending of a split of the store


@dataclass(frozen=True)
class EarlierRequests:
    """Earlier requests.

    Attributes:
        files: lists in the format of `forget.file`, or the `split.safetensors` of a run in the store.
        listed: records by index, of earlier requests of the same stream.
    """

    files: tuple[str, ...] = ()
    listed: tuple[int, ...] = ()

    @classmethod
    def of(cls, files: Sequence[str], listed: Sequence[int] = ()) -> EarlierRequests:
        """Create it from the value of `forget.earlier`, and the records of earlier requests of a stream."""
        return cls(tuple(files), tuple(listed))

    def records(self, dataset: Dataset) -> Tensor:
        """Return the indices int64 of all their records, sorted and unique.

        Raises:
            DataError: a list cannot be read, or names a record that the data set does not have.
        """
        lists = [_read(Path(file), dataset) for file in self.files]
        lists += [torch.tensor(self.listed, dtype=torch.int64)] if self.listed else []
        return torch.unique(torch.cat(lists)) if lists else torch.empty(0, dtype=torch.int64)

    def check(self, dataset: Dataset) -> Iterator[Problem | str]:
        """Find the problems of the lists for a data set."""
        for path in map(Path, self.files):
            if path.suffix != SPLIT:
                yield from find_list_problems(path, dataset, KEY)
                continue
            try:
                _read(path, dataset)
            except DataError as error:
                yield str(error)


def read_split(path: Path, key: str, *names: str) -> Tensor:
    """Read the indices int64 of some subsets from a `split.safetensors`; a subset that it lacks is empty.

    Args:
        path: the file.
        key: the config key that messages name.
        names: names of subsets of the training part.

    Raises:
        DataError: the file is missing, damaged, or of another kind.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{key}: expected the split of a run, got {path}: {error}") from error
    if "forget" not in tensors or any(tensor.dtype != torch.int64 for tensor in tensors.values()):
        raise DataError(f"{key}: expected the split of a run, got other tensors in {path}")
    return torch.cat([tensors[name] for name in names if name in tensors])


def _read(path: Path, dataset: Dataset) -> Tensor:
    """Read one list: indices int64, sorted."""
    if path.suffix == SPLIT:
        return read_cached(_read_split, path, dataset, KEY)
    return find_records(path, dataset, KEY).index


def _read_split(path: Path, dataset: Dataset, key: str) -> Tensor:
    """Read the records that a run forgot, and those that it had forgotten before."""
    records = read_split(path, key, "forget", "earlier")
    foreign = records[~torch.isin(records, dataset.records)]
    if len(foreign):
        raise DataError(f"{key}: expected records of this data set, got the split of another one, {path}")
    return records
