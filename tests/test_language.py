"""Names and messages keep to plain words. Read from the source, nothing is run."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import unlearn

PACKAGE = Path(unlearn.__file__).parent
TREES = {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text("utf-8")) for path in PACKAGE.rglob("*.py")}

# They say nothing about the thing that they name.
EMPTY_NAMES = {"each", "found", "told", "came", "made", "said", "some", "what", "whose", "beside", "alike", "anew"}
EMPTY_NAMES |= {"thing", "stuff", "foo", "tmp", "todo", "wanted"}
MESSAGE_WORDS = re.compile(r"\b(came|told|tells|anew|alike|thereof|artefacts?|of one's own)\b")


def test_no_public_class_name_occurs_twice() -> None:
    files = defaultdict[str, list[str]](list)
    for file, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                files[node.name].append(file)
    assert {name: where for name, where in files.items() if len(where) > 1} == {}


def test_names_say_what_they_name() -> None:
    assert [f"{file}:{line}: {name}" for file, line, name in _assigned_names() if name in EMPTY_NAMES] == []


def test_messages_use_plain_words() -> None:
    found = [f"{file}:{line}: {text}" for file, line, text in _texts() if MESSAGE_WORDS.search(text)]
    assert found == []


def _assigned_names() -> Iterator[tuple[str, int, str]]:
    for file, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield file, node.lineno, node.id
            elif isinstance(node, ast.arg):
                yield file, node.lineno, node.arg
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield file, node.lineno, node.name.strip("_")


def _texts() -> Iterator[tuple[str, int, str]]:
    """All strings, docstrings too: they are read in the documentation."""
    for file, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield file, node.lineno, node.value
