"""Requests to forget: what is read, what is refused, who is chosen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import write_images

from unlearn.core.errors import DataError
from unlearn.data.datasets.base import Dataset
from unlearn.data.datasets.digits import Digits
from unlearn.data.datasets.image_folder import ImageFolder
from unlearn.data.earlier import EarlierRequests
from unlearn.data.population import Candidates, Population
from unlearn.data.requests.base import Forget
from unlearn.data.requests.listed import Indices
from unlearn.data.requests.records.read import read_records
from unlearn.data.requests.rules import ClassWise, Hard, Mislabelled, Random, Subclass
from unlearn.data.trained_on import TrainedOn

DIGITS = Digits(limit=200)  # 20 of them in validation, 30 in holdout: at most 149 can be asked for
INDEX = torch.arange(50, 150)
LABELS = INDEX % 10
CANDIDATES = Candidates(DIGITS, INDEX, LABELS, LABELS)


def request(folder: Path, text: str, name: str = "request.txt") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def problems(forget: Forget, trained_on: TrainedOn | None = None, dataset: Digits = DIGITS) -> list[str]:
    return [str(problem) for problem in forget.check(Population.of(dataset, 0, forget, trained_on))]


def indices(path: Path) -> list[int | str | None]:
    return [record.index for record in read_records(path, "forget.file")]


def complaints(path: Path) -> str:
    return "\n".join(problems(Indices(str(path))))


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.txt", "3\n1\n2\n", [3, 1, 2]),
        ("a.txt", "# people who wrote in May\n3 # twice\n\n  1  \n", [3, 1]),
        ("a.txt", "\ufeff3\r\n1\r\n", [3, 1]),
        ("no_suffix", "5\n", [5]),
        ("a.txt", "", []),
        ("a.csv", "name,index\nx,3\ny,1\n", [3, 1]),
        ("a.csv", "index\n3\n1\n", [3, 1]),
        ("A.CSV", "3\n1\n", [3, 1]),
        ("a.json", "[3, 1]", [3, 1]),
        ("a.json", '{"indices": [3, 1], "who": "May"}', [3, 1]),
        ("a.json", '{"indices": ["3"]}', [3]),
        ("a.json", "[1.0]", [1]),
        ("a.json", '{"index": [1]}', [1]),
        ("a.csv", "index\n1.0\n", [1]),
    ],
)
def test_requests_are_read(tmp_path: Path, name: str, text: str, expected: list[int]) -> None:
    assert indices(request(tmp_path, text, name)) == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "name,age\nx,3\n"),
        ("a.json", "[1, 2"),
        ("a.json", "7"),
        ("a.json", '"7"'),
        ("a.json", "null"),
        ("a.json", '{"indices": 1}'),
        ("a.json", "[1.5]"),
        ("a.json", "[true]"),
        ("a.json", "[null]"),
        ("a.json", "[[1]]"),
        ("a.json", "[NaN]"),
    ],
)
def test_junk_is_refused(tmp_path: Path, name: str, text: str) -> None:
    path = request(tmp_path, text, name)
    with pytest.raises(DataError, match=r"forget\.file: expected a list of records") as caught:
        read_records(path, "forget.file")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "where"),
    [
        ("a.txt", "three\n", "'three' (line 1"),
        ("a.txt", "1 2\n", "'1 2' (line 1"),
        ("a.txt", "1.5\n", "'1.5' (line 1"),
        ("a.txt", "0\n1,2\n", "'1,2' (line 2"),
        ("a.csv", "name\n3\n", "'name' (line 1"),
        ("a.json", '["3"]', "'3' (line 1"),
        ("a.txt", '"3"', "'3' (line 1"),
        ("a.csv", "index\nx\n", "'x' (line 2"),
        ("a.txt", "9" * 20, "999' (line 1"),
    ],
)
def test_names_are_refused_where_records_have_none(tmp_path: Path, name: str, text: str, where: str) -> None:
    found = complaints(request(tmp_path, text, name))
    assert found.startswith("forget.file: expected records of the training part, got ")
    assert where in found
    assert "the records of this data set have no names" in found


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("a.csv", "name,index\nx\n", id="short row"),
        pytest.param("a.csv", "1 " * 100_000, id="long field"),
    ],
)
def test_odd_junk_is_refused(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(DataError):
        read_records(request(tmp_path, text, name), "forget.file")


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "missing.txt", tmp_path / "binary.txt"):
        with pytest.raises(DataError, match=r"forget\.file: expected a readable text file") as caught:
            read_records(path, "forget.file")
        assert str(path) in str(caught.value)


def test_a_good_request_has_no_problems(tmp_path: Path) -> None:
    assert complaints(request(tmp_path, "0\n199\n")) == ""
    assert complaints(request(tmp_path, "\n".join(map(str, range(149))))) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "at least one record"),
        ("# nobody\n", "at least one record"),
        ("4\n7\n4\n", "each record once, got 'repeated 4 (line 1 and line 3)'"),
        ("-1\n3\n", "indices from 0 to 199, got '-1 (line 1)'"),
        ("3\n200\n", "indices from 0 to 199, got '200 (line 2)'"),
        ("\n".join(map(str, range(200))), "at most 149 records, so that something is retained, got 200"),
        ("\n".join(map(str, range(150))), "at most 149 records"),
        ("three", "expected records of the training part"),
    ],
)
def test_bad_requests_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    found = complaints(request(tmp_path, text))
    assert expected in found
    assert found.startswith("forget.file: ")


def test_a_missing_request_is_a_problem_not_an_exception(tmp_path: Path) -> None:
    assert "expected a readable text file" in complaints(tmp_path / "missing.txt")


def test_many_offenders_are_abridged(tmp_path: Path) -> None:
    found = complaints(request(tmp_path, "\n".join(map(str, range(200, 210)))))
    assert "200 (line 1), 201 (line 2), 202 (line 3), 203 (line 4), 204 (line 5) and 5 others" in found


def test_a_request_chooses_whom_it_names(tmp_path: Path) -> None:
    forget = Indices(str(request(tmp_path, "149\n50\n60\n")))
    assert forget.explicit
    assert forget.requested(DIGITS).tolist() == [50, 60, 149]
    assert forget.requested(DIGITS).dtype == torch.int64
    assert forget.choose(CANDIDATES, seed=0).tolist() == [50, 60, 149]


def test_identity_is_who_is_named_not_how(tmp_path: Path) -> None:
    texts = {"a.txt": "3\n1\n", "b.txt": "# sorted\n1\n3\n", "c.csv": "who,index\nx,3\ny,1\n", "d.json": "[1, 3]"}
    found = [key_of(Indices(str(request(tmp_path, text, name)))) for name, text in texts.items()]
    assert all(identity == found[0] for identity in found)
    assert key_of(Indices(str(request(tmp_path, "1\n4\n")))) != found[0]


def test_a_record_has_one_key_however_it_is_spelled(tmp_path: Path) -> None:
    root = write_images(tmp_path / "images", n=30)
    dataset = ImageFolder(root=str(root))
    spelled = ["1", "digit0/1.png", "train/digit0/1.png", str(root / "train/digit0/1.png")]
    spelled[0] = str(dataset.find("digit0/1.png"))
    found = [key_of(Indices(str(request(tmp_path, text, f"{i}.txt"))), dataset) for i, text in enumerate(spelled)]
    assert all(identity == found[0] for identity in found)


def key_of(forget: Indices, dataset: Dataset = DIGITS) -> dict[str, object]:
    return Population.of(dataset, 0, forget).identity()


@pytest.mark.parametrize(("share", "count"), [(0.1, 10), (0.25, 25), (0.001, 1), (0.999, 100)])
def test_a_random_share(share: float, count: int) -> None:
    chosen = Random(share=share).choose(CANDIDATES, seed=3)
    assert len(chosen.unique()) == count
    assert torch.isin(chosen, INDEX).all()


def test_a_random_count_replaces_the_share() -> None:
    assert len(Random(share=0.5, count=7).choose(CANDIDATES, seed=0).unique()) == 7


def test_random_follows_its_seed() -> None:
    first, again, other = (Random(count=20).choose(CANDIDATES, seed).tolist() for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize(
    ("forget", "expected"),
    [
        (Random(count=149), None),
        (Random(count=150), "forget.count: expected fewer than all 150 images"),
        (Random(share=None), "forget.share: expected a fraction in (0, 1), or a forget.count"),
        (ClassWise(9), None),
        (ClassWise(10), "forget.class_index: expected a class from 0 to 9, got 10"),
    ],
)
def test_rules_are_checked_against_the_data_set(forget: Random | ClassWise, expected: str | None) -> None:
    found = problems(forget)
    assert (found == []) if expected is None else found[0].startswith(expected)


def test_a_share_that_is_everything_is_refused() -> None:
    assert problems(Random(share=0.999)) != []


def test_class_wise_takes_the_whole_class_and_nothing_else() -> None:
    chosen = ClassWise(4).choose(CANDIDATES, seed=0)
    assert chosen.tolist() == [i for i in range(50, 150) if i % 10 == 4]


def test_hard_takes_the_highest_losses() -> None:
    loss = torch.arange(100).flip(0).double()
    loss[[3, 40]] = 1000.0
    candidates = replace(CANDIDATES, loss=loss)
    assert Hard(count=4).choose(candidates, seed=0).tolist() == [53, 90, 50, 51]  # ties by position
    assert Hard(count=4).choose(candidates, seed=9).tolist() == [53, 90, 50, 51]
    assert len(Hard(share=0.2).choose(candidates, seed=0)) == 20


def test_mislabelled_needs_label_noise() -> None:
    (found,) = problems(Mislabelled())
    assert found.startswith("dataset.label_noise: expected a fraction above 0")
    assert problems(Mislabelled(), dataset=Digits(label_noise=0.1)) == []


@pytest.mark.parametrize("named", ["2", "digit1/half0"])
def test_a_subclass_by_name_or_number(tmp_path: Path, named: str) -> None:
    dataset = ImageFolder(root=str(write_images(tmp_path, nested=True)))
    subclass = torch.arange(100) % 6
    chosen = Subclass(named).choose(replace(CANDIDATES, dataset=dataset, subclass=subclass), seed=0)
    assert chosen.tolist() == [50 + i for i in range(100) if i % 6 == 2]


def test_a_subclass_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (coarse,) = problems(Subclass("0"))
    assert "a data set with coarse labels" in coarse
    forget = Subclass("digit1/half7")
    dataset = ImageFolder(root=str(write_images(tmp_path, n=30, nested=True)))
    (unknown,) = (str(problem) for problem in forget.check(Population.of(dataset, 0, forget)))
    assert "nearest: digit1/half" in unknown


def test_a_request_names_files_of_a_folder(tmp_path: Path) -> None:
    root = write_images(tmp_path / "images", n=30)
    dataset = ImageFolder(root=str(root))
    names = [sorted(path.name for path in (root / "train" / f"digit{d}").iterdir()) for d in range(3)]
    lines = ["# in May", "train/digit1/3.png", "digit0/2.png  # twice", str(root / "train/digit2/1.png"), "5"]
    forget = Indices(str(request(tmp_path, "\n".join(lines))))
    third = 30 + names[1].index("3.png")
    expected = sorted([third, names[0].index("2.png"), 60 + names[2].index("1.png"), 5])
    assert forget.requested(dataset).tolist() == expected
    by_column = Indices(str(request(tmp_path, "who,file\nx,train/digit1/3.png\n", "r.csv")))
    assert by_column.requested(dataset).tolist() == [third]


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    dataset = ImageFolder(root=str(write_images(tmp_path / "images", n=30)))
    forget = Indices(str(request(tmp_path, "digit0/2.png\ntest/digit0/30.png\nnobody.png\n")))
    (found,) = map(str, forget.check(Population.of(dataset, 0, forget)))
    assert "records of the training part, got 'test/digit0/30.png' (line 2: a file of the test part), " in found
    assert "'nobody.png' (line 3" in found


def test_records_that_a_checkpoint_never_saw_are_refused(tmp_path: Path) -> None:
    seen = TrainedOn(str(request(tmp_path, "\n".join(map(str, range(50))), "seen.txt")))
    (found,) = problems(Indices(str(request(tmp_path, "3\n70\n71\n"))), seen)
    assert found.startswith("forget.file: expected records that the original was trained on (checkpoint.trained_on)")
    assert "70 (line 2), 71 (line 3)" in found
    assert problems(Indices(str(request(tmp_path, "3\n49\n"))), seen) == []
    (many,) = problems(Indices(str(request(tmp_path, "\n".join(map(str, range(50)))))), seen)
    assert "at most 49 records" in many


def test_a_checkpoints_list_is_checked_like_a_request(tmp_path: Path) -> None:
    for text, words in (("", "at least one record"), ("1\n1\n", "each record once"), ("1\n999\n", "from 0 to 199")):
        (found,) = map(str, TrainedOn(str(request(tmp_path, text))).check(DIGITS, EarlierRequests()))
        assert found.startswith("checkpoint.trained_on: expected ")
        assert words in found
    assert list(TrainedOn("all").check(DIGITS, EarlierRequests())) == []


@pytest.mark.parametrize("forget", [Random(), ClassWise()])
def test_rules_name_nobody(forget: Random | ClassWise) -> None:
    assert not forget.explicit
    assert forget.requested(DIGITS).tolist() == []


def test_requests_may_be_json_made_by_machine(tmp_path: Path) -> None:
    assert indices(request(tmp_path, json.dumps({"indices": list(range(5))}), "r.json")) == list(range(5))


def test_a_test_part_too_small_for_validation_and_holdout_is_refused(tmp_path: Path) -> None:
    dataset = ImageFolder(root=str(write_images(tmp_path, n=10)), validation=0.4, holdout=0.5)
    tiny = Digits(validation=0.4, holdout=0.5)
    for each in (dataset, tiny):
        assert [*TrainedOn("all").check(each, EarlierRequests())] == []
    starved = ImageFolder(root=str(write_images(tmp_path / "starved", n=10)), validation=0.45, holdout=0.45)
    for path in list((tmp_path / "starved" / "test").rglob("*.png"))[2:]:
        path.unlink()
    (found,) = map(str, TrainedOn("all").check(starved, EarlierRequests()))
    assert found.startswith(
        "checkpoint.trained_on: expected records that leave enough others for validation and holdout"
    )
    assert "0 remaining in the training part, 2 test images" in found


def test_deeply_nested_json_is_junk(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a list of records"):
        read_records(request(tmp_path, "[" * 100_000, "deep.json"), "forget.file")


# Classes by name


@pytest.mark.parametrize(("item", "expected"), [("dog", 5), (5, 5), ("5", 5), ("airplane", 0)])
def test_a_class_goes_by_its_name_or_its_number(item: int | str, expected: int) -> None:
    from unlearn.data.datasets.published import Cifar10

    assert ClassWise(item).resolved(Cifar10()) == ClassWise(expected)


def test_the_name_of_an_unknown_class_is_refused_with_the_nearest() -> None:
    from unlearn.data.datasets.published import Cifar10

    (problem,) = ClassWise("hors").check(Population(Cifar10(), 0))
    assert "a class from 0 to 9, or one of airplane, automobile, bird, cat, deer" in str(problem)
    assert str(problem).endswith("got 'hors' (nearest: horse)")
