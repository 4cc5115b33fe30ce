"""The requests of a stream: how they are read, which records they pick, and what is refused before any work."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from unlearn import config
from unlearn.core.errors import ConfigError, DataError
from unlearn.data.datasets.digits import Digits
from unlearn.data.population import Population
from unlearn.data.request_streams.base import RequestRule
from unlearn.data.request_streams.drawn import DrawnRequests
from unlearn.data.request_streams.listed import ListedRequests
from unlearn.data.request_streams.records import RecordRequest, check_stream, resolve_requests
from unlearn.data.requests.listed import Indices
from unlearn.data.requests.rules import ClassWise, Random

if TYPE_CHECKING:
    from conftest import Compose

LABELS = torch.arange(1437) % 10


def population() -> Population:
    return Population.of(Digits(), 0, RecordRequest(listed=(1, 2, 3, 4, 7, 8)))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with lists, and files that name them."""
    monkeypatch.chdir(tmp_path)
    lists = {
        "good/request10.txt": "7\n8\n",
        "good/request2.txt": "3\n",
        "again/a.txt": "1\n2\n",
        "again/b.txt": "4\n2\n",
    }
    lists |= {"outside/a.txt": "1\n99999\n", "empty/.hidden": "1\n", "nothing/a.txt": ""}
    lists |= {
        "unknown.yaml": "- forget: hard\n",
        "setting.yaml": "- {forget: random, cuont: 3}\n",
        "map.json": '{"a": 1}',
    }
    lists |= {"range.yaml": "- {forget: class_wise, class_index: 12}\n", "plain.txt": "1\n"}
    lists |= {"large.yaml": "- {forget: random, count: 600}\n- {forget: random, count: 600}\n"}
    for name, text in lists.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_folder_is_read_in_the_order_of_its_numbers(folder: Path) -> None:
    assert ListedRequests(path="good").rules() == (
        RequestRule("request2.txt", Indices(file="good/request2.txt")),
        RequestRule("request10.txt", Indices(file="good/request10.txt")),
    )


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_a_file_lists_rules_and_finds_lists_in_its_own_folder(folder: Path, suffix: str) -> None:
    entries = [{"forget": "indices", "file": "a.txt"}, {"forget": "class_wise", "class_index": 4}]
    (folder / "again" / f"order.{suffix}").write_text(json.dumps([*entries, {"forget": "random", "count": 3}]))
    rules = [rule for _, rule in ListedRequests(path=f"again/order.{suffix}").rules()]
    assert rules == [Indices(file="again/a.txt"), ClassWise(class_index=4), Random(count=3)]


def test_no_record_is_picked_twice_and_a_longer_stream_begins_alike() -> None:
    short, long = (
        resolve_requests(DrawnRequests(count=count, size=10).rules(), population(), LABELS) for count in (5, 20)
    )
    assert long[:5] == short
    records = [index for request in long for index in request.records]
    assert len(set(records)) == len(records) == 200
    assert set(records) <= set(population().draw().member.tolist())


def test_a_class_is_what_earlier_requests_left_of_it() -> None:
    member = population().draw().member
    fours = member[LABELS[member] == 4].tolist()
    rules = [RequestRule("drawn", Random(share=0.5)), RequestRule("class", ClassWise(class_index=4))]
    drawn, rest = resolve_requests(rules, population(), LABELS)
    assert set(rest.records) == set(fours) - set(drawn.records)
    again = RequestRule("again", ClassWise(class_index=4))
    with pytest.raises(DataError, match=r"expected again to pick some but not all of the .* images .*, got 0"):
        resolve_requests([*rules, again], population(), LABELS)


REFUSED = {
    "empty": "expected a folder with a list for each request, got an empty one, empty",
    "missing": "expected a folder with a list for each request, or a YAML or JSON file .*, got no such path, 'missing'",
    "plain.txt": "expected a folder .*, got another kind of file, 'plain.txt'",
    "again": r"expected records that no earlier request removed in b.txt, got '2 \(line 2\), gone already since a.txt'",
    "outside": r"expected indices from 0 to 1436 in a.txt, got '99999 \(line 2\)'",
    "nothing": "expected at least one record in a.txt, got 'an empty list in nothing/a.txt'",
    "unknown.yaml": "request 1 of unknown.yaml: expected forget: one of .*random.*, got {'forget': 'hard'}",
    "setting.yaml": "request 1 of setting.yaml: expected settings of forget=random: share, count, got 'cuont'",
    "map.json": "expected a list with one entry for each request in map.json, got {'a': 1}",
    "range.yaml": "expected a class from 0 to 9 as class_index in request 1, got 12",
    "large.yaml": "expected requests for fewer than all 1077 images of the training data, got 1200",
}


@pytest.mark.parametrize("path", REFUSED)
def test_what_cannot_be_answered_is_refused_in_one_line(folder: Path, path: str) -> None:
    (problem,) = check_stream(ListedRequests(path=path), population())
    assert re.fullmatch(f"requests.path: {REFUSED[path]}", str(problem)), problem


OTHER = {
    "requests.count=300": "requests.count: expected fewer than all 1077 images .*, got '300 \\* 10 = 3000'",
    "requests.policies=[unlearn]": "requests.policies: expected some of .* \\(nearest: unlearn_each\\), got 'unlearn'",
    "forget=class_wise": "forget: expected random with its defaults with requests=drawn, .*, got 'class_wise'",
    "spd_gan=noise": "spd_gan: expected off with requests=drawn, got 'noise'",
    "attacks=[logistic,lira]": "attacks.lira: expected none that trains models of its own, .*, got 'lira'",
    "until=baseline": "until: expected end with requests=drawn, got 'baseline'",
    "requests=listed": "requests.path: expected a value, got none",
}


@pytest.mark.parametrize("override", OTHER)
def test_settings_that_a_stream_does_not_support_are_refused(composed: Compose, override: str) -> None:
    with pytest.raises(ConfigError, match=f"^{OTHER[override]}$"):
        config.instantiate(composed("+experiment=stream", override))
