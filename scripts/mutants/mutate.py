"""Creates the mutants of a source file: one operator, keyword or constant changed in each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation import mutators

# The operators of mutmut that change one operator, keyword or number; its others rewrite texts or drop arguments.
OPERATORS: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (cst.BaseNumber, mutators.operator_number),
    (cst.Name, mutators.operator_name),
    (cst.UnaryOperation, mutators.operator_remove_unary_ops),
    (cst.CSTNode, mutators.operator_keywords),
    (cst.CSTNode, mutators.operator_swap_op),
)


@dataclass(frozen=True)
class Mutant:
    """One change of one file."""

    path: str  # relative to the repository
    line: int
    column: int
    before: str
    after: str
    digest: str  # hash of the unchanged file: results of another version do not count
    number: int  # among the mutants of the file

    @property
    def name(self) -> str:
        """`unlearn/core/artifact_store.py:52:8 a < b -> a <= b`"""
        return f"{self.path}:{self.line}:{self.column} {self.before} -> {self.after}"


def mutants(root: Path, path: str) -> Iterator[Mutant]:
    """Yield the mutants of `root/path`, in the order of the file."""
    source = (root / path).read_text(encoding="utf-8")
    digest = hashlib.sha256(source.encode()).hexdigest()[:12]
    wrapper = MetadataWrapper(cst.parse_module(source))
    positions, code = wrapper.resolve(PositionProvider), wrapper.module.code_for_node
    for number, (node, change) in enumerate(_changes(wrapper.module)):
        start, described = positions[node].start, (" ".join(code(part).split()) for part in (node, change))
        yield Mutant(path, start.line, start.column, *described, digest, number)


def mutated(root: Path, mutant: Mutant) -> str:
    """The source of the file with the change."""
    module = cst.parse_module((root / mutant.path).read_text(encoding="utf-8"))
    node, change = next(islice(_changes(module), mutant.number, None))
    return module.deep_replace(node, change).code  # type: ignore[union-attr]  # a module stays one


def _changes(module: cst.Module) -> Iterator[tuple[cst.CSTNode, cst.CSTNode]]:
    visitor = _Visitor()
    module.visit(visitor)
    for node in visitor.nodes:
        for kind, operator in OPERATORS:
            if isinstance(node, kind):
                yield from ((node, change) for change in operator(node))


class _Visitor(cst.CSTVisitor):
    """Collects the nodes that affect results: all except annotations and decorators, which freeze and cache."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes: list[cst.CSTNode] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.Annotation | cst.Decorator):
            return False
        self.nodes.append(node)
        return True
