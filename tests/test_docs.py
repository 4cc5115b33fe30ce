"""docs/evaluation.md says what the docstrings say."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from unlearn.evidence import Evidence, Metric
from unlearn.types import Measurement

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "docs" / "evaluation.py"


@pytest.fixture(scope="module")
def evaluation() -> ModuleType:
    spec = importlib.util.spec_from_file_location("evaluation", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(evaluation: ModuleType) -> None:
    assert evaluation.PAGE.read_text() == evaluation.page(), "run `make docs`"


@dataclass(frozen=True)
class Trapless(Metric):
    """Always one.

    Numbers: `one`.
    Range: 1.
    Direction: none.
    Reference: none.
    Source: our choice.
    """

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        return {"one": Measurement(1.0, 1)}


def test_a_docstring_without_a_trap_is_refused(evaluation: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"metrics.trapless: expected `Trap: \.\.\.` at the end of its docstring"):
        evaluation.Entry.of("metrics", "trapless", Trapless)
