"""Requests to correct labels: what is read, what is refused before anything is trained, which labels come of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import write_images
from torch import Tensor

from unlearn.core.errors import DataError
from unlearn.data.datasets.base import Dataset
from unlearn.data.datasets.digits import Digits
from unlearn.data.datasets.image_folder import ImageFolder
from unlearn.data.population import Population
from unlearn.data.requests.corrections import find_corrections
from unlearn.data.requests.listed import Relabel
from unlearn.data.splits import ForgetSplit
from unlearn.data.trained_on import TrainedOn

DIGITS = Digits(limit=200)  # 20 of them in validation, 30 in holdout: at most 149 can be asked for
CLEAN = torch.arange(Digits.train_size) % 10  # record i has class i % 10
HEADER = "index,wrong,right\n"


def file(folder: Path, text: str, name: str = "fix.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def problems(path: Path | None, dataset: Dataset = DIGITS, trained_on: TrainedOn | None = None) -> list[str]:
    forget = Relabel(None if path is None else str(path))
    return [str(problem) for problem in forget.check(Population.of(dataset, 0, forget, trained_on))]


def drawn(forget: Relabel, dataset: Dataset = DIGITS) -> tuple[ForgetSplit, Tensor]:
    """Who is in which subset, and the labels once they are corrected."""
    population = Population.of(dataset, 0, forget)
    return ForgetSplit.draw(population, forget, CLEAN), population.corrected(forget, CLEAN)


@pytest.mark.parametrize(
    "text",
    [
        "index,wrong,right\n17,7,3\n4,4,9\n",
        "\ufeffright,who,index,wrong\r\n3,x,17,7\r\n\r\n9,y,4,4\r\n",
        "index, wrong, right\n 17, 7, 3\n 4, 4, 9\n",
        "index,file,wrong,right\n17,a.png,7,3\n4,b.png,4,9\n",
    ],
)
def test_corrections_are_read_by_the_names_of_their_columns(tmp_path: Path, text: str) -> None:
    found = find_corrections(file(tmp_path, text), DIGITS, "forget.file")
    assert (found.index.tolist(), found.wrong.tolist(), found.right.tolist()) == ([4, 17], [4, 7], [9, 3])
    assert found.records.names == ("4", "17")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "got no column wrong, right, index or file among none"),
        ("index,right\n3,4\n", "got no column wrong among 'index', 'right' in"),
        ("record,wrong,right\n3,3,4\n", "got no column index or file among 'record', 'wrong', 'right' in"),
        ("3,3,4\n", "got no column wrong, right, index or file among '3', '3', '4' in"),
        (HEADER + "3,3\n", "got '' as the class `right` on line 2"),
        (HEADER + "3,three,4\n", "got 'three' as the class `wrong` on line 2"),
        (HEADER + "3,3.5,4\n", "got '3.5' as the class `wrong` on line 2"),
        (HEADER + "x,3,4\n", "records of the training part, got 'x' (line 2"),
        (HEADER + "a.png,3,4\n", "records of the training part, got 'a.png' (line 2"),
        (HEADER, "at least one record"),
        (HEADER + "3,3,4\n3,3,5\n", "each record once, got 'repeated 3 (line 2 and line 3)'"),
        (HEADER + "3,3,4\n200,0,1\n", "indices from 0 to 199, got '200 (line 3)'"),
        (HEADER + "3,3,10\n", "classes from 0 to 9 as `right`, got '10 for record 3 (line 2)'"),
        (HEADER + "3,-1,4\n", "classes from 0 to 9 as `wrong`, got '-1 for record 3 (line 2)'"),
        (HEADER + "3,3,4\n5,6,6\n", "another class as `right` than as `wrong`, got '6 for record 5 (line 3)'"),
        (HEADER + "".join(f"{i},{i % 10},{(i + 1) % 10}\n" for i in range(150)), "at most 149 records"),
    ],
)
def test_bad_corrections_are_refused_before_anything_is_trained(tmp_path: Path, text: str, words: str) -> None:
    (found,) = problems(file(tmp_path, text))
    assert found.startswith("forget.file: expected ")
    assert words in found


def test_a_missing_file_is_a_problem_not_an_exception(tmp_path: Path) -> None:
    assert "expected a readable text file" in problems(tmp_path / "nowhere.csv")[0]


def test_good_corrections_have_no_problems(tmp_path: Path) -> None:
    assert problems(file(tmp_path, HEADER + "3,3,4\n199,9,0\n")) == []
    assert problems(None, Digits(label_noise=0.1)) == []


def test_without_a_file_there_must_be_label_noise() -> None:
    (found,) = problems(None)
    assert found.startswith("dataset.label_noise: expected a fraction above 0")
    assert "forget.file" in found


def test_records_that_a_checkpoint_never_saw_are_refused(tmp_path: Path) -> None:
    seen = TrainedOn(str(file(tmp_path, "\n".join(map(str, range(50))), "seen.txt")))
    (found,) = problems(file(tmp_path, HEADER + "3,3,4\n70,0,1\n"), trained_on=seen)
    assert "records that the original was trained on (checkpoint.trained_on), got '70 (line 3)'" in found


def test_named_records_are_kept_out_of_validation_and_holdout(tmp_path: Path) -> None:
    rows = "".join(f"{i},{i % 10},{(i + 1) % 10}\n" for i in range(140))
    forget = Relabel(str(file(tmp_path, HEADER + rows)))
    split, _ = drawn(forget)
    assert forget.explicit
    assert not Relabel().explicit
    assert split.forget.tolist() == list(range(140))
    assert not torch.isin(torch.cat([split.validation, split.holdout]), split.forget).any()


def test_just_the_listed_labels_are_corrected(tmp_path: Path) -> None:
    split, labels = drawn(Relabel(str(file(tmp_path, HEADER + "17,7,3\n4,4,9\n"))))
    assert split.forget.tolist() == [4, 17]
    expected = CLEAN.clone()
    expected[4], expected[17] = 9, 3
    assert torch.equal(labels, expected)


def test_without_a_file_label_noise_is_undone_in_d_alone() -> None:
    dataset = Digits(limit=200, label_noise=0.3)
    split, labels = drawn(Relabel(), dataset)
    population = Population(dataset, 0)
    noisy, member = population.labels(CLEAN), population.draw().member
    assert split.forget.tolist() == [i for i in member.tolist() if noisy[i] != CLEAN[i]]
    assert torch.equal(labels[member], CLEAN[member])
    outside = torch.arange(200)[~torch.isin(torch.arange(200), member)]
    assert torch.equal(labels[outside], noisy[outside])
    assert not torch.equal(labels[outside], CLEAN[outside])


def test_a_file_leaves_other_label_noise_as_it_is(tmp_path: Path) -> None:
    dataset = Digits(limit=200, label_noise=0.3)
    noisy = Population(dataset, 0).labels(CLEAN)
    first = int((noisy != CLEAN).nonzero()[0])
    _, labels = drawn(Relabel(str(file(tmp_path, HEADER + f"{first},{noisy[first]},{CLEAN[first]}\n"))), dataset)
    assert (labels != noisy).nonzero()[:, 0].tolist() == [first]
    assert labels[first] == CLEAN[first]


def test_a_label_that_the_original_was_not_trained_on_is_refused(tmp_path: Path) -> None:
    forget = Relabel(str(file(tmp_path, HEADER + "17,7,3\n4,5,9\n")))
    assert problems(Path(str(forget.file))) == []  # labels are not read so early
    expected = (
        r"forget\.file: expected as `wrong` the label .* trained on, got 5 for record 4 \(line 3\), trained on as 4$"
    )
    with pytest.raises(DataError, match=expected):
        drawn(forget)
    with pytest.raises(DataError, match=expected):
        Population.of(DIGITS, 0, forget).corrected(forget, CLEAN)


def test_records_of_a_folder_go_by_name(tmp_path: Path) -> None:
    dataset = ImageFolder(root=str(write_images(tmp_path / "images", n=30)))
    text = "file,wrong,right\ntrain/digit1/3.png,1,2\ndigit0/2.png,0,1\n"
    found = find_corrections(file(tmp_path, text), dataset, "forget.file")
    assert found.index.tolist() == [dataset.find("digit0/2.png"), dataset.find("digit1/3.png")]
    assert (found.right.tolist(), found.records.names) == ([1, 2], ("digit0/2.png", "train/digit1/3.png"))


@pytest.mark.parametrize("number", ["1", "1.0", "1.000e+00"])
def test_a_number_that_is_also_the_name_of_another_class_is_refused(tmp_path: Path, number: str) -> None:
    images = write_images(tmp_path / "images", n=30)
    for part in ("train", "test"):
        for digit in range(3):
            (images / part / f"digit{digit}").rename(images / part / str(digit + 1))
    text = f"file,wrong,right\ntrain/3/3.png,0,{number}\n"
    with pytest.raises(DataError, match="the name of class 0 and the number of '2' as the class `right` on line 2"):
        find_corrections(file(tmp_path, text), ImageFolder(root=str(images)), "forget.file")


def test_a_digest_tells_records_and_labels_and_not_how_they_are_written(tmp_path: Path) -> None:
    def digest(text: str, name: str) -> str | None:
        return Relabel(str(file(tmp_path, text, name))).digest(DIGITS)

    same = digest(HEADER + "17,7,3\n4,4,9\n", "a.csv")
    assert digest("who,right,wrong,index\nx,9,4,4\ny,3,7,17\n", "b.txt") == same
    others = [HEADER + rows for rows in ("17,7,2\n4,4,9\n", "17,7,3\n5,4,9\n", "17,8,3\n4,4,9\n", "17,7,3\n")]
    assert len({same, *(digest(text, f"{i}.csv") for i, text in enumerate(others))}) == 5
    assert Relabel().digest(DIGITS) is None


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    path = file(tmp_path, HEADER + "17,7,3\n")
    assert find_corrections(path, DIGITS, "forget.file").right.tolist() == [3]
    file(tmp_path, HEADER + "17,7,3\n4,4,9\n")
    assert find_corrections(path, DIGITS, "forget.file").right.tolist() == [9, 3]
