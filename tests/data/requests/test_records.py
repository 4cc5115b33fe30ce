"""Lists of records as people bring them: every form that means one thing, and what is refused with its line."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import os
import tarfile
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from unlearn.core.errors import DataError
from unlearn.data.datasets.image_folder import ImageFolder
from unlearn.data.requests.corrections import find_correction_problems, find_corrections
from unlearn.data.requests.records.resolve import find_list_problems, find_records

KEY = "forget.file"
COUNT = 40  # training images a class
CAT, DOG = "train/cat/0007.png", "train/dog/0003.png"  # records 7 and 43
UTF16 = f"{CAT}\r\n{DOG}\r\n".encode("utf-16")
ODD_TENSORS: dict[str, Callable[[], torch.Tensor]] = {
    "quantised": lambda: torch.quantize_per_tensor(torch.ones(2), 1.0, 0, torch.qint8),
    "meta": lambda: torch.empty(2, dtype=torch.int64, device="meta"),
    "conjugated": lambda: torch.ones(2, dtype=torch.complex64).conj(),
    "negated": lambda: torch.ones(2, dtype=torch.complex64).conj().imag,
    "sparse": lambda: torch.ones(2, dtype=torch.int64).to_sparse(),
    "bfloat16": lambda: torch.ones(2, dtype=torch.bfloat16),
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> ImageFolder:
    """Three classes of 40 training and 12 test images, all numbered from 0000."""
    root = tmp_path_factory.mktemp("photos")
    content = io.BytesIO()
    Image.new("RGB", (4, 4)).save(content, "png")
    for part, count in (("train", COUNT), ("test", 12)):
        for name in ("cat", "dog", "owl"):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                (folder / f"{number:04d}.png").write_bytes(content.getvalue())
    return ImageFolder(root=str(root))


def saved(save: Callable[[io.BytesIO], object]) -> bytes:
    content = io.BytesIO()
    save(content)
    return content.getvalue()


def npy(array: np.ndarray) -> bytes:
    return saved(lambda file: np.save(file, array))


def tarred(content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo("list.txt")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("semicolon.csv", f"file;label\r\n{CAT};cat\r\n{DOG};dog\r\n", [7, 43]),
        ("tab.tsv", f"label\tPath \ncat\t{CAT}\ndog\t{DOG}\n", [7, 43]),
        ("bom.csv", f'\ufeff"file","label"\r\n"{CAT}","cat"\r\n"{DOG}","dog"\r\n', [7, 43]),
        ("backslashes.txt", CAT.replace("/", "\\") + "\r\n" + DOG.replace("/", "\\") + "\r\n", [7, 43]),
        ("quoted.txt", f"\"{CAT}\"\n'{DOG}'  # second\n", [7, 43]),
        ("utf16.txt", UTF16, [7, 43]),
        ("big_endian.csv", codecs.BOM_UTF16_BE + f"file\n{CAT}\n".encode("utf-16-be"), [7]),
        ("request.txt.gz", gzip.compress(f"{CAT}\n".encode(), mtime=0), [7]),
        ("request.csv.gz", gzip.compress(f"file\n{CAT}\n".encode(), mtime=0), [7]),
        ("comments.txt", f"# ticket 4711\n\n{CAT}   # first\n   \ncat/0008.png\r\n", [7, 8]),
        ("files.json", json.dumps({"files": [CAT]}), [7]),
        ("objects.json", json.dumps([{"index": 7, "file": CAT}, {"Index": 43, "file": None}]), [7, 43]),
        ("lines.jsonl", f'{{"file": "{CAT}"}}\n{{"file": "{DOG}"}}\n', [7, 43]),
        ("filename.csv", f"filename,label\n{CAT},0\n", [7]),
        ("case.csv", " Index ,label\n7,0\n", [7]),
        ("folder.txt", "train/cat/\n", list(range(40))),
        ("folder_without_slash.txt", "train/cat\n", list(range(40))),
        ("glob.txt", "train/cat/*.png\n", list(range(40))),
        ("narrow_glob.txt", "*/000[12].png\n", [1, 2, 41, 42, 81, 82]),
        ("unnamed.csv", f",file,label\n0,{CAT},0\n1,{DOG},1\n", [7, 43]),
        ("empty_rows.csv", f"file,label\r\n{CAT},cat\r\n,\r\n,\r\n", [7]),
        ("both_agree.csv", f"index,file\n7,{CAT}\n43,\n", [7, 43]),
        ("floats.csv", "index\n7.0\n43.0\n", [7, 43]),
        ("savetxt.txt", "# index\n7.000000000000000000e+00\n4.300000000000000000e+01\n", [7, 43]),
        ("mac.txt", f"{CAT}\r{DOG}\r", [7, 43]),
        ("idx.npy", npy(np.array([7, 43])), [7, 43]),
        ("idx.npy.gz", gzip.compress(npy(np.array([7, 43], dtype=np.uint8)), mtime=0), [7, 43]),
        ("idx.pt", saved(lambda file: torch.save(torch.tensor([7, 43]), file)), [7, 43]),
        ("dots.txt", f"./{CAT}\n.//train//dog/0003.png\n", [7, 43]),
        ("no_suffix.txt", "train/cat/0007\ndog/0003\n", [7, 43]),
    ],
)
def test_what_means_one_thing_is_read(
    photos: ImageFolder, tmp_path: Path, name: str, content: str | bytes, expected: list[int]
) -> None:
    path = write(tmp_path, name, content)
    assert list(find_list_problems(path, photos, KEY)) == []
    assert find_records(path, photos, KEY).index.tolist() == expected


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "zeros.txt",
            "0007\n0003\n",
            ["'0007' (line 1: it matches 3 files: cat/0007.png, dog/0007.png, owl/0007.png)"],
        ),
        ("bare.txt", "0007.png\n", ["'0007.png' (line 1: it matches 3 files: cat/0007.png"]),
        ("pandas.csv", f"index,file\n0,{DOG}\n", ["'0' (line 2", f"'{DOG}' has index 43", "columns"]),
        ("objects.json", f'[\n{{"index": 0, "file": "{DOG}"}}]', ["line 2", "has index 43"]),
        ("duplicates.txt", f"{CAT}\n./{CAT}\n{DOG}\n", ["each record once", "repeated 7 (line 1 and line 2)"]),
        ("overlap.txt", f"train/cat/\n{CAT}\n", ["each record once", "repeated 7 (line 1 and line 2)"]),
        ("case.txt", "train/cat/0007.PNG\n", ["line 1", "nearest: cat/0007.png"]),
        ("test.txt", "test/cat/0001.png\n", ["line 1: a file of the test part"]),
        ("test_glob.txt", "test/cat/*.png\n", ["line 1"]),
        ("range.txt", "0-9\n", ["'0-9' (line 1: write one record per line)"]),
        ("unclosed.csv", 'index\n"1\n2\n3\n', ["a quote that is not closed on line 2"]),
        ("unclosed.txt", f'{CAT}\n"{DOG}\n', ["not one name in quotes, on line 2"]),
        ("two.csv", "index\n1,2\n", ["2 values under 1 column names on line 2"]),
        ("two.jsonl", "1\n2 3\n", ["Extra data", "on line 2"]),
        ("twice.json", '{"indices": [1],\n"indices": [2]}', ["the key 'indices' twice, again on line 2"]),
        ("twice.jsonl", '{"file": "a", "file": "b"}', ["the key 'file' twice, again on line 1"]),
        ("both.json", '{"indices": [1], "files": ["a"]}', ["one of indices and files"]),
        ("two_columns.csv", f"file,path\n{CAT},{DOG}\n", ["both 'file' and 'path'"]),
        ("columns.csv", "who,age\nx,3\n", ["the columns 'who', 'age'"]),
        ("nine.csv", "a,b,c,d,e,f,g,h,i\n", ["the columns 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', none of them"]),
        ("missing.csv", "file,label\n,cat\n", ["no record on line 2"]),
        ("number.csv", "file\n7\n", ["'7' (line 2"]),
        ("folder.txt", "cat\n", ["'cat' (line 1"]),
        ("misspelled.txt", f"{CAT}\ntrain/dog/00003.png\n", ["line 2: nearest: dog/000"]),
        ("latin1.txt", CAT.encode() + b"\n\xe4.png\n", ["not UTF-8 on line 2"]),
        ("cut.txt.gz", gzip.compress(CAT.encode(), mtime=0)[:-9], ["a readable text file"]),
        ("float.npy", npy(np.array([7.0])), ["an array of float64 of shape (1,)"]),
        ("mask.npy", npy(np.array([True, False])), ["an array of bool"]),
        ("matrix.npy", npy(np.array([[7]])), ["shape (1, 1)"]),
        ("object.npy", npy(np.array([{}], dtype=object)), ["an unreadable array (Object arrays cannot be loaded"]),
        ("cut.npy", npy(np.arange(9))[:-9], ["an unreadable array"]),
        ("two.npy", npy(np.arange(2)) + npy(np.arange(3)), ["152 bytes after the array"]),
        ("dict.pt", saved(lambda file: torch.save({"a": 1}, file)), ["a dict, not a tensor of integers"]),
        ("two.npz", saved(lambda file: np.savez(file, a=np.arange(2))), ["a zip archive (as .npz and .xlsx are)"]),
        ("list.tar", tarred(b"7\n"), ["a tar archive: unpack it first"]),
        ("list.txt", npy(np.arange(2)), ["a NumPy array: name it .npy"]),
        ("code.pt", saved(lambda file: torch.save(Path("x"), file)), ["one that holds more than a tensor"]),
    ],
)
def test_what_is_not_clear_is_refused_with_its_line(
    photos: ImageFolder, tmp_path: Path, name: str, content: str | bytes, words: list[str]
) -> None:
    found = "\n".join(map(str, find_list_problems(write(tmp_path, name, content), photos, KEY)))
    assert found.startswith(f"{KEY}: expected ")
    assert "\n" not in found
    assert all(word in found for word in words), found


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("split.csv", f"file,split\n{CAT},train\n{DOG},test\n", ["'split' with train (line 2), test (line 3)"]),
        ("test.csv", "index,Split\n7,test\n43,test\n", ["'Split' with test (line 2), although all rows count"]),
        ("zero.csv", "index;forget\n7;0\n", ["'forget' with 0 (line 2)", "remove the rows that it leaves out"]),
        ("marks.csv", "index,forget\n7,x\n43,\n", ["'forget' with x (line 2), nothing (line 3)"]),
        ("keep.csv", "index,keep\n7,yes\n", ["'keep' with yes (line 2)"]),
        ("is_test.tsv", "index\tisTest\n7\tTrue\n", ["'isTest' with true (line 2)"]),
        ("flag.csv", "index,consent\n7,1.0\n43,0.0\n", ["'consent' with 1.0 (line 2), 0.0 (line 3)"]),
        ("sides.csv", "index,label\n7,forget\n43,retain\n", ["'label' with forget (line 2), retain (line 3)"]),
        ("not.csv", "index,do_not_delete\n7,1\n", ["'do_not_delete' with 1 (line 2)"]),
        (
            "rows.json",
            '[{"index": 7, "forget": true},\n{"index": 43, "forget": false}]',
            ["true (line 1), false (line 2)"],
        ),
        ("lacks.jsonl", '{"index": 7, "forget": true}\n{"index": 43}', ["true (line 1), nothing (line 2)"]),
        ("lists.json", '{"indices": [7, 43], "forget": [1, 0]}', ["'forget' with 1 (item 1), 0 (item 2)"]),
        ("one.json", '{"indices": [7, 43], "split": "test"}', ["'split' with test (item 1)"]),
    ],
)
def test_a_column_that_leaves_rows_out_is_refused(
    photos: ImageFolder, tmp_path: Path, name: str, content: str, words: list[str]
) -> None:
    (found,) = map(str, find_list_problems(write(tmp_path, name, content), photos, KEY))
    assert found.startswith(f"{KEY}: expected a list of records, got the column ")
    assert found.endswith(f" in {tmp_path / name}")
    assert all(word in found for word in words), found


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("all.csv", f"file,split,forget,keep\n{CAT},train,1,0\n{DOG},train,1,0\n"),
        ("class.csv", f"file,label,class_id\n{CAT},0,0\n{DOG},1,1\n"),
        ("words.csv", f"file,reason,deleted_at\n{CAT},no consent,2024\n{DOG},left,2025\n"),
        ("empty.csv", f"file,forget\n{CAT},\n{DOG},\n"),
        ("all.json", f'[{{"file": "{CAT}", "forget": true, "n": {{}}}}, {{"file": "{DOG}", "forget": true, "n": []}}]'),
        ("lists.json", '{"indices": [7, 43], "split": "train", "forget": [1, 1]}'),
    ],
)
def test_a_column_that_leaves_no_row_out_is_passed_over(
    photos: ImageFolder, tmp_path: Path, name: str, content: str
) -> None:
    assert find_records(write(tmp_path, name, content), photos, KEY).index.tolist() == [7, 43]


def test_corrections_of_another_part_are_refused(photos: ImageFolder, tmp_path: Path) -> None:
    path = write(tmp_path, "relabel.csv", f"file,wrong,right,split\n{CAT},0,1,train\n{DOG},1,0,test\n")
    (found,) = map(str, find_correction_problems(path, photos, KEY))
    assert "the column 'split' with train (line 2), test (line 3)" in found
    path = write(tmp_path, "relabel.csv", f"file,wrong,right\n{CAT},0,1\n{DOG},1,0\n")
    assert list(find_correction_problems(path, photos, KEY)) == []


def touch(folder: Path, *names: str) -> None:
    """Make empty files, of which only the names are read."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture
def odd(tmp_path: Path) -> ImageFolder:
    """Names that are hard to write in a list."""
    names = ["a/0007.png", "a/7.png", "a/b #1.png", "a/b.png", "a/caf\u00e9.png", "a/x[1].png", "a/c.png", "a/c/d.png"]
    touch(tmp_path / "train", *names, "z/0008.png")
    return ImageFolder(root=str(tmp_path))


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("0007", "a/0007.png"),
        ("0008.png", "z/0008.png"),
        ("a/b #1.png", "a/b #1.png"),
        ('"a/b #1.png" # first', "a/b #1.png"),
        ("a/b.png # first", "a/b.png"),
        (unicodedata.normalize("NFD", "a/caf\u00e9.png"), "a/caf\u00e9.png"),
        ("a/x[1].png", "a/x[1].png"),
        ("a/c/", "a/c/d.png"),
    ],
)
def test_odd_names_are_found(odd: ImageFolder, tmp_path: Path, line: str, name: str) -> None:
    assert find_records(write(tmp_path, "list.txt", line), odd, KEY).index.tolist() == [odd.find(name)]


@pytest.fixture
def hashed(tmp_path: Path) -> ImageFolder:
    """A folder and files whose names hold what begins a comment, and a folder with the rest of such a name."""
    names = ["cat/ann #2/p #1.png", "cat/ann #2/q.png", "cat/ann/r.png", "cat/s #3.jpg", "dog/bo #2/u.png", "dog/t.png"]
    touch(tmp_path / "train", *names)
    return ImageFolder(root=str(tmp_path))


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("dog/bo #2/", ["dog/bo #2/u.png"]),
        ("train/dog/bo #2", ["dog/bo #2/u.png"]),
        ("dog/bo #2/*", ["dog/bo #2/u.png"]),
        ('"train/cat/ann #2/"  # hers', ["cat/ann #2/p #1.png", "cat/ann #2/q.png"]),
        ("bo #2/u", ["dog/bo #2/u.png"]),
        ("p #1.png", ["cat/ann #2/p #1.png"]),
        ("cat/s #3", ["cat/s #3.jpg"]),
        ("t.png #2/", ["dog/t.png"]),
    ],
)
def test_a_name_may_hold_what_begins_a_comment(
    hashed: ImageFolder, tmp_path: Path, line: str, names: list[str]
) -> None:
    found = find_records(write(tmp_path, "list.txt", line), hashed, KEY).index.tolist()
    assert found == [hashed.find(name) for name in names]


@pytest.mark.parametrize("line", ["cat/ann #2/", "train/cat/ann #2", "cat/ann #2/*", "cat/ann #2/q"])
def test_a_line_that_is_a_name_with_and_without_its_comment_is_refused(
    hashed: ImageFolder, tmp_path: Path, line: str
) -> None:
    with pytest.raises(DataError, match=r"cat/ann' \(line 2: '.*#2.*' is a name, and '.*cat/ann' with a comment is an"):
        find_records(write(tmp_path, "list.txt", f"t.png\n{line}\n"), hashed, KEY)


@pytest.fixture
def numbered(tmp_path: Path) -> ImageFolder:
    """1.png to 12.png in one class, whose indices follow the text: 10.png has index 1; 13.png in another."""
    touch(tmp_path / "train", *(f"cat/{number}.png" for number in range(1, 13)), "dog/13.png")
    return ImageFolder(root=str(tmp_path))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.json", '["10"]'),
        ("list.jsonl", '"10"\n'),
        ("list.npy", npy(np.array(["10"]))),
        ("list.txt", "'10'  # first"),
        ("index.json", "[1]"),
        ("index.csv", "index\n1\n"),
    ],
)
def test_text_is_a_name_and_a_number_an_index(
    numbered: ImageFolder, tmp_path: Path, name: str, content: str | bytes
) -> None:
    assert find_records(write(tmp_path, name, content), numbered, KEY).index.tolist() == [numbered.find("cat/10.png")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.txt", "10"),
        ("list.txt", "10  # first"),
        ("savetxt.txt", "1.000000000000000000e+01"),
        ("list.csv", "10\n"),
        ("list.json", '{"indices": ["10"]}'),
    ],
)
def test_a_number_that_is_an_index_and_another_files_name_is_refused(
    numbered: ImageFolder, tmp_path: Path, name: str, content: str
) -> None:
    both = r"'10' \(line 1: both the index of cat/8\.png and the name of cat/10\.png; write the path"
    with pytest.raises(DataError, match=both):
        find_records(write(tmp_path, name, content), numbered, KEY)


def test_a_number_that_names_the_file_of_its_index_is_read(numbered: ImageFolder, tmp_path: Path) -> None:
    (tmp_path / "train/dog/13.png").rename(tmp_path / "train/dog/12.jpg")  # index 12; 12.png is another
    (tmp_path / "train/cat/12.png").rename(tmp_path / "train/cat/0.png")
    renamed = ImageFolder(root=str(tmp_path))
    assert find_records(write(tmp_path, "list.txt", "0\n12"), renamed, KEY).index.tolist() == [0, 12]


@pytest.fixture
def flat(tmp_path: Path) -> ImageFolder:
    """Ten images of one class and five of another; a fifth of each is drawn for the test."""
    names = [*(f"cat/a{number}.png" for number in range(10)), *(f"dog/b{number}.png" for number in range(5))]
    touch(tmp_path / "photos", *names)
    return ImageFolder(root=str(tmp_path / "photos"))


@pytest.mark.parametrize("line", ["cat/", "./cat", "cat/*", "c*/a?.png", "**/a*"])
def test_a_folder_or_a_pattern_with_files_of_a_drawn_test_part_is_refused(
    flat: ImageFolder, tmp_path: Path, line: str
) -> None:
    first, second = (name for name in flat.names("test") if name.startswith("cat/"))
    with pytest.raises(DataError, match=rf"\(line 1: 2 of its 10 files are in the test part: {first}, {second}\)"):
        find_records(write(tmp_path, "list.txt", line), flat, KEY)


def test_a_request_that_is_a_folder_with_a_drawn_test_part_is_refused(flat: ImageFolder) -> None:
    with pytest.raises(DataError, match="1 of its 5 files are in the test part: dog/b"):
        find_records(Path(flat.root) / "dog", flat, KEY)


def test_a_pattern_beside_the_drawn_test_part_is_read(flat: ImageFolder, tmp_path: Path) -> None:
    kept = next(name for name in flat.names("train") if name.startswith("cat/"))
    assert find_records(write(tmp_path, "list.txt", kept.replace("png", "p?g")), flat, KEY).index.tolist() == [0]


def test_a_folder_and_a_file_of_one_name_are_refused(odd: ImageFolder, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'a/c' \(line 1: both a folder, which ends with a slash, and a file"):
        find_records(write(tmp_path, "list.txt", "a/c"), odd, KEY)


@pytest.mark.parametrize(
    "text",
    [
        f"file,wrong,right\n{CAT},0,1\n",
        f"file,wrong,right\n{CAT},cat,dog\n",
        f"\ufefffile;wrong;right\r\n{CAT};0;1\r\n",
        f"file,wrong,right\n{CAT},0.0,1.0\n",
        f"file,wrong,right\n{CAT},0,1\n,,\n",
        f"Path,WRONG,Right,index\n{CAT},0,1,7\n",
    ],
)
def test_corrections_are_read_in_each_of_their_forms(photos: ImageFolder, tmp_path: Path, text: str) -> None:
    path = write(tmp_path, "fix.csv", text)
    assert list(find_correction_problems(path, photos, KEY)) == []
    found = find_corrections(path, photos, KEY)
    assert (found.index.tolist(), found.wrong.tolist(), found.right.tolist()) == ([7], [0], [1])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"file,wrong,right\n{CAT},0,1\n{CAT},0,2\n", ["each record once", "repeated 7 (line 2 and line 3)"]),
        (f"file,wrong,right,index\n{CAT},0,1,8\n", ["line 2", "has index 7"]),
        (f"file,wrong,right\n{CAT},cat,dot\n", ["'dot' (nearest: dog) as the class `right` on line 2"]),
        (f"file,wrong,right,right\n{CAT},0,1,2\n", ["the column 'right' twice"]),
        (f"file,wrong,right\n{CAT},0,1,2\n", ["4 values under 3 column names on line 2"]),
        (f'file,wrong,right\n"{CAT},0,1\n', ["a quote that is not closed on line 2"]),
        ("file,wrong,right\ntrain/cat/,0,1\n", ["line 2: it names 40 files"]),
    ],
)
def test_unclear_corrections_are_refused(photos: ImageFolder, tmp_path: Path, text: str, words: list[str]) -> None:
    (found,) = map(str, find_correction_problems(write(tmp_path, "fix.csv", text), photos, KEY))
    assert found.startswith(f"{KEY}: expected ")
    assert all(word in found for word in words), found


def test_a_wrong_label_that_is_not_the_records_is_refused_with_its_line(photos: ImageFolder, tmp_path: Path) -> None:
    found = find_corrections(write(tmp_path, "fix.csv", f"file,wrong,right\n{CAT},2,1\n"), photos, KEY)
    with pytest.raises(DataError, match=r"got 2 for record train/cat/0007\.png \(line 2\), trained on as 0$"):
        found.verify(torch.tensor([0]), KEY)


FORMS: dict[str, Callable[[list[int], list[str]], str | bytes]] = {
    "indices.txt": lambda rows, names: "\n".join(map(str, rows)),
    "names.txt": lambda rows, names: "\r\n".join(names),
    "quoted.txt": lambda rows, names: "".join(f'"./train/{name}" # x\n' for name in names),
    "utf16.txt": lambda rows, names: "\r\n".join(name.replace("/", "\\") for name in names).encode("utf-16"),
    "stems.txt": lambda rows, names: "\r".join(name.removesuffix(".png") for name in names),
    "savetxt.txt": lambda rows, names: saved(lambda file: np.savetxt(file, np.array(rows))),
    "both.csv": lambda rows, names: "\n".join(["Index;FileName", *map("{};{}".format, rows, names)]),
    "tabs.tsv": lambda rows, names: "\n".join(["x\t path ", *(f"\t{name}\n\t" for name in names)]),
    "list.json": lambda rows, names: json.dumps(rows, indent=1),
    "files.json.gz": lambda rows, names: gzip.compress(json.dumps({"who": 1, "files": names}).encode(), mtime=0),
    "lines.jsonl": lambda rows, names: "\n".join(json.dumps({"file": name}) for name in names),
    "array.npy": lambda rows, names: npy(np.array(rows, dtype=np.int32)),
    "tensor.pt": lambda rows, names: saved(lambda file: torch.save(torch.tensor(rows), file)),
}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.integers(0, 3 * COUNT - 1), unique=True, min_size=1, max_size=12))
def test_all_forms_mean_the_same_records(photos: ImageFolder, tmp_path: Path, rows: list[int]) -> None:
    names = [photos.names("train")[row] for row in rows]
    for number, (form, content) in enumerate(FORMS.items()):
        folder = tmp_path / f"{hash((number, *rows))}"  # a path of its own: files are remembered by path, size and time
        folder.mkdir(exist_ok=True)
        found = find_records(write(folder, form, content(rows, names)), photos, KEY)
        assert found.index.tolist() == sorted(rows), form


# A request that is no list


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ("train/cat", list(range(40))),
        ("train/cat/", list(range(40))),
        ("train/cat/*", list(range(40))),
        ("train/*/000[78].png", [7, 8, 47, 48, 87, 88]),
        ("train/**/0007.png", [7, 47, 87]),
        ("train/dog/0003.png", [43]),
    ],
)
def test_a_folder_a_pattern_and_an_image_name_their_records(
    photos: ImageFolder, monkeypatch: pytest.MonkeyPatch, request_: str, expected: list[int]
) -> None:
    root = Path(photos.root)
    assert find_records(root / request_, photos, KEY).index.tolist() == expected
    monkeypatch.chdir(root.parent)
    beside = ImageFolder(root=root.name)
    assert find_records(Path(root.name) / request_, beside, KEY).index.tolist() == expected


@pytest.mark.parametrize("request_", ["test/cat", "test/cat/*"])
def test_a_request_for_the_test_part_says_so(photos: ImageFolder, request_: str) -> None:
    with pytest.raises(DataError, match=r"\(the request itself: files of the test part\)"):
        find_records(Path(photos.root) / request_, photos, KEY)


def test_a_pattern_that_fits_nothing_is_refused(photos: ImageFolder) -> None:
    with pytest.raises(DataError, match=r"records of the training part, got '.*/cat/x\*' \(the request itself"):
        find_records(Path(photos.root) / "train/cat/x*", photos, KEY)


@pytest.mark.parametrize("name", ["bomb.txt.gz", "long.txt"])
def test_a_list_of_more_than_the_limit_is_not_read_whole(
    photos: ImageFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("unlearn.data.requests.records.content.LIMIT", 2**20)
    text = b"7\n" * (2**19 + 1)
    path = write(tmp_path, name, gzip.compress(text, mtime=0) if name.endswith(".gz") else text)
    with pytest.raises(DataError, match="a list of at most 1 MiB, decompressed, got more in"):
        find_records(path, photos, KEY)


@pytest.mark.parametrize("kind", ODD_TENSORS)
@pytest.mark.filterwarnings("ignore")  # that some of these are deprecated
def test_a_tensor_that_is_no_plain_array_is_refused(photos: ImageFolder, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "list.pt"
    torch.save(ODD_TENSORS[kind](), path)
    with pytest.raises(DataError, match=r"got a tensor of torch\.\w+ that is no plain array, not one of integers, in"):
        find_records(path, photos, KEY)


@pytest.mark.parametrize(
    "name", ["request.txt", "request.csv.gz", "request.json", "request.npy", "request.pt", "x" * 300]
)
def test_a_path_that_leads_nowhere_is_refused_in_one_line(photos: ImageFolder, tmp_path: Path, name: str) -> None:
    if len(name) < 256:
        (tmp_path / name).symlink_to(name)  # to itself
    for problems in (find_list_problems, find_correction_problems):
        (found,) = map(str, problems(tmp_path / name, photos, KEY))
        assert found.startswith(f"{KEY}: expected a readable")
        assert ("symbolic links" if len(name) < 256 else "too long") in found
        assert "\n" not in found


def test_a_pipe_is_not_waited_for(photos: ImageFolder, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "request.txt")
    with pytest.raises(DataError, match=r"a readable text file, got .*: not a regular file"):
        find_records(tmp_path / "request.txt", photos, KEY)


# Corrections in other forms


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "fix.json",
            json.dumps([{"file": CAT, "wrong": 0, "right": "owl"}, {"index": 43, "wrong": "dog", "right": 0}]),
        ),
        ("fix.json", json.dumps({"file": [CAT, DOG], "wrong": [0, 1], "right": [2, 0]})),
        (
            "fix.jsonl",
            f'{{"file": "{CAT}", "wrong": "cat", "right": 2}}\n\n{{"file": "{DOG}", "wrong": 1, "right": 0}}\n',
        ),
        ("fix.tsv", f"file\twrong\tright\n{CAT}\tcat\towl\n{DOG}\tdog\tcat\n"),
        ("fix.json.gz", gzip.compress(json.dumps({"index": [7, 43], "wrong": [0, 1], "right": [2, 0]}).encode())),
    ],
)
def test_corrections_are_read_in_every_form_that_means_one_thing(
    photos: ImageFolder, tmp_path: Path, name: str, content: str | bytes
) -> None:
    found = find_corrections(write(tmp_path, name, content), photos, KEY)
    assert (found.index.tolist(), found.wrong.tolist(), found.right.tolist()) == ([7, 43], [0, 1], [2, 0])


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", '[{"file": "x", "wrong": 0, "wrong": 1, "right": 2}]', "the key 'wrong' twice, again on line 1"),
        ("b.json", '{"file": ["x"], "wrong": [0, 1], "right": [1]}', "lists of 1, 2 items in one JSON object"),
        (
            "null.json",
            '{"index": [7, null], "wrong": [0, null], "right": [1, null]}',
            "the columns index or file, wrong and right, got nothing but null in all lists at item 2",
        ),
        ("c.json", '{"file": "x", "wrong": 0, "right": 1}', "not all of them lists"),
        ("d.json", "[7]", "7, not an object, on line 1"),
        ("e.json", '[{"index": 7, "wrong": true, "right": 1}]', "True, neither a number nor a name, on line 1"),
        ("f.json", '[{"index": 7, "right": 1}]', "no column wrong among 'index', 'right'"),
        (
            "g.jsonl",
            '{"index": 7, "wrong": 0, "right": 1}\n{"index": 8, "wrong": 0}\n',
            "'' as the class `right` on line 2",
        ),
    ],
)
def test_bad_corrections_of_other_forms_are_refused(
    photos: ImageFolder, tmp_path: Path, name: str, content: str, words: str
) -> None:
    with pytest.raises(DataError) as caught:
        find_corrections(write(tmp_path, name, content), photos, KEY)
    assert words in str(caught.value)
