"""The records of the requests of a stream: which rule picks which of those that are left."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unlearn.core.errors import DataError, Problem, UnlearnError
from unlearn.core.random_streams import stream_seed
from unlearn.data.datasets.base import Dataset
from unlearn.data.earlier import EarlierRequests
from unlearn.data.population import Candidates, Population
from unlearn.data.request_streams.base import RequestRule, Requests
from unlearn.data.request_streams.drawn import DrawnRequests
from unlearn.data.requests.base import Forget
from unlearn.data.requests.listed import Indices
from unlearn.data.requests.records.resolve import RecordList, find_list_problems, find_records

KEY = "requests.path"
RUNTIME = {"runtime": True}  # keys hold hashes instead
Records = tuple[int, ...]  # sorted indices in the training part


class StreamRequest(NamedTuple):
    """One request of a stream, with its records."""

    name: str
    records: Records


@dataclass(frozen=True)
class RecordRequest(Forget):
    """A request of a stream, or several of them together: records of the training part.

    Keys hold hashes of the records, as for a request that lists them in a file.
    """

    records: Records = field(default=(), metadata=RUNTIME)  # to be forgotten
    earlier_records: Records = field(default=(), metadata=RUNTIME)  # of the requests before, which removed them
    # All records that the stream lists: validation and holdout are drawn from the others, the same at every request.
    listed: Records = field(default=(), metadata=RUNTIME)

    @property
    def explicit(self) -> bool:
        return bool(self.listed)

    @property
    def has_earlier(self) -> bool:
        return bool(self.earlier or self.earlier_records)

    def identity(self) -> dict[str, Any]:
        """Return the hash of the records, for keys."""
        return {"records": hashlib.sha256(_as_tensor(self.records).numpy()).hexdigest()}  # type: ignore[arg-type]

    def requested(self, dataset: Dataset) -> Tensor:
        return _as_tensor(self.listed)

    def size(self, population: Population) -> int:
        return len(self.records)

    def choose(self, candidates: Candidates, seed: int) -> Tensor:
        return candidates.index[torch.isin(candidates.index, _as_tensor(self.records))]


def list_records(rules: Sequence[RequestRule], dataset: Dataset) -> Records:
    """Return all records that rules list by index or name, sorted; empty if the rules draw or select them.

    Raises:
        DataError: a list cannot be read.
    """
    lists = (_find(rule, dataset).index.tolist() for _, rule in rules if isinstance(rule, Indices))
    return tuple(sorted({index for records in lists for index in records}))


def resolve_requests(
    rules: Sequence[RequestRule], population: Population, clean: Tensor, subclass: Tensor | None = None
) -> tuple[StreamRequest, ...]:
    """Pick the records of each request among those that the requests before it left.

    Args:
        rules: the requests in their order.
        population: of the first request.
        clean: labels int64 of the whole training part.
        subclass: finer labels int64 of the whole training part, if there are any.

    Raises:
        DataError: a request picks nothing, or nothing is left after it.
    """
    requests = list[StreamRequest]()
    for number, (name, rule) in enumerate(rules, start=1):
        gone = tuple(chain.from_iterable(request.records for request in requests))
        remaining = replace(population, earlier=EarlierRequests(population.earlier.files, gone))
        candidates = remaining.candidates(clean, subclass)
        seed = stream_seed(population.seed, "request", epoch=number)
        chosen = tuple(rule.resolved(population.dataset).choose(candidates, seed).sort().values.tolist())
        if not 0 < len(chosen) < len(candidates.index):
            expected = f"{name} to pick some but not all of the {len(candidates.index)} images that are left"
            raise DataError(f"requests: expected {expected}, got {len(chosen)}")
        requests.append(StreamRequest(name, chosen))
    return tuple(requests)


def check_stream(requests: Requests, population: Population) -> Iterator[Problem | str]:
    """Find what can be known to be wrong with a stream before labels are read.

    Args:
        requests: the stream.
        population: of the first request.
    """
    try:
        rules = requests.rules()
        problems = [] if isinstance(requests, DrawnRequests) else list(_check_rules(rules, population))
    except UnlearnError as error:
        yield from str(error).splitlines()
        return
    yield from problems or _check_total(requests, rules, population)


def _check_rules(rules: Sequence[RequestRule], population: Population) -> Iterator[Problem | str]:
    gone = dict[int, str]()  # by record: the request that removes it
    for name, rule in rules:
        if isinstance(rule, Indices):
            problems = list(_check_list(name, rule, population, gone))
        else:
            problems = list(rule.resolved(population.dataset).check(population))
        yield from (_locate(name, problem) for problem in problems)


def _check_list(name: str, rule: Indices, population: Population, gone: dict[int, str]) -> Iterator[Problem | str]:
    """Check one list, and add its records to those that are gone."""
    if problems := list(find_list_problems(Path(rule.file), population.dataset, KEY)):
        yield from problems
        return
    records = _find(rule, population.dataset)
    known = dict.fromkeys(population.kept_out.tolist(), "forget.earlier") | gone
    again = [position for position, index in enumerate(records.index.tolist()) if index in known]
    if again:
        since = known[int(records.index[again[0]])]
        got = f"{records.format_records(again)}, gone already since {since}"
        yield Problem(KEY, "records that no earlier request removed", got)
    foreign = (~torch.isin(records.index, population.draw().member)).nonzero()[:, 0].tolist()
    if foreign and not again:
        expected = "records that the original was trained on (checkpoint.trained_on)"
        yield Problem(KEY, expected, records.format_records(foreign))
    gone |= dict.fromkeys(records.index.tolist(), name)


def _check_total(requests: Requests, rules: Sequence[RequestRule], population: Population) -> Iterator[Problem]:
    """Refuse a stream that leaves nothing; requests of unknown size are not counted."""
    total, members = sum(rule.size(population) or 0 for _, rule in rules), population.members
    if total < members:
        return
    if isinstance(requests, DrawnRequests):
        expected = f"fewer than all {members} images of the training data in count * size"
        yield Problem("requests.count", expected, f"{requests.count} * {requests.size} = {total}")
    else:
        yield Problem(KEY, f"requests for fewer than all {members} images of the training data", total)


def _locate(name: str, problem: Problem | str) -> Problem | str:
    """Name the request in a problem."""
    if isinstance(problem, str):
        return problem if problem.startswith(KEY) else f"{KEY}: {name}: {problem}"
    setting = "" if problem.key == KEY else f" as {problem.key.removeprefix('forget.')}"
    return Problem(KEY, f"{problem.expected}{setting} in {name}", problem.got)


def _find(rule: Indices, dataset: Dataset) -> RecordList:
    return find_records(Path(rule.file), dataset, KEY)


def _as_tensor(records: Records) -> Tensor:
    return torch.tensor(records, dtype=torch.int64)
