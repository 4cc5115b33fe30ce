"""docs/evaluation.md and conf/ are up to date with the classes, docs/performance.md shows the results of benches."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from unlearn import config
from unlearn.cli.option_help import read_options
from unlearn.core.types import Measurement
from unlearn.metrics.evidence import Evidence, Metric

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


@pytest.fixture(scope="module")
def evaluation() -> ModuleType:
    return script("docs/evaluation.py")


def script(file: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"script_{Path(file).stem}", SCRIPTS / file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_page_on_evaluation_is_up_to_date(evaluation: ModuleType) -> None:
    assert evaluation.PAGE.read_text() == evaluation.page(), "run `make docs`"


@pytest.fixture(scope="module")
def conf() -> ModuleType:
    return script("docs/conf.py")


def test_the_files_of_options_are_up_to_date(conf: ModuleType) -> None:
    outdated = [path.name for path, text in conf.updated_files().items() if path.read_text() != text]
    assert outdated == [], "run `make conf`"


def test_every_setting_has_a_meaning() -> None:
    settings = {(option.title, setting) for option in read_options() for setting in option.settings}
    assert [f"{title}: {setting.name}" for title, setting in settings if not setting.meaning] == []


@pytest.mark.parametrize(
    "choice", ["strategy=salun", "strategy=scrub", "strategy/recipe=gentle", "train=whitened", "logger=wandb_offline"]
)
def test_defaults_in_the_files_are_those_that_hydra_composes(choice: str) -> None:
    (option,) = (option for option in read_options() if option.title == choice)
    config.register()
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        composed = compose("config", [choice])
    assert len(option.settings) > 3
    for key, setting in option.settings_by_key().items():
        parent = OmegaConf.select(composed, key.rpartition(".")[0])
        value = OmegaConf.to_container(parent, resolve=False)[setting.name.rpartition(".")[2]]
        if not isinstance(value, dict):  # of a nested choice
            assert yaml.safe_load(setting.default) == value, key


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


@pytest.fixture(scope="module")
def table() -> ModuleType:
    return script("bench/table.py")


def row(table: ModuleType, **more: Any) -> Any:
    return table.Row("one", "another", 2.0, 30.0, "ms", 15.0, **more)


@pytest.mark.parametrize(
    ("ratio", "goal", "at_most", "met"),
    [(15.0, 8.0, False, True), (7.9, 8.0, False, False), (1.2, 1.3, True, True), (1.4, 1.3, True, False)],
)
def test_a_row_shows_whether_its_goal_is_met(
    table: ModuleType, ratio: float, goal: float, at_most: bool, met: bool
) -> None:
    measured = table.Row("one", "another", 2.0, 30.0, "ms", ratio, goal, at_most)
    assert measured.met is met
    assert ("MISSED" in str(measured)) is not met
    assert row(table).met is None


def test_both_sides_are_timed_in_turn(table: ModuleType) -> None:
    calls: list[str] = []
    sides = {
        name: (lambda name=name, value=value: calls.append(name) or value) for name, value in (("a", 1.0), ("b", 3.0))
    }
    assert table.compare(sides["a"], sides["b"], n=2) == (1.0, 3.0, 3.0)
    assert calls == ["a", "b", "a", "b"]


def test_the_page_on_performance_shows_rows_and_curves(
    table: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    performance = script("docs/performance.py")
    monkeypatch.setattr(table, "OUT", tmp_path)
    monkeypatch.setattr(performance, "SCRIPTS", tmp_path)
    for name in ("table", "some", "other"):
        (tmp_path / f"{name}.py").touch()
    points = [row(table, chart="cells", at=float(at), limit=at / 2) for at in (1, 2, 40)]
    table.run("some.py", [row(table, goal=20.0, note="a | b"), *points])
    with pytest.raises(SystemExit, match="got none of other"):
        performance.write(tmp_path, tmp_path)
    (tmp_path / "other.py").unlink()
    assert set(performance.write(tmp_path, tmp_path)) == {"performance.md", "performance-cells.svg"}
    page = (tmp_path / "performance.md").read_text()
    assert "| one | 2 | 30 | ms wall | 15.00 | ≥ 20, **missed** | 5 | another; a \\| b |" in page
    assert "| 40 | 2 | 30 | 20 | ms wall | 15.00 | 5 |" in page
    svg = ElementTree.parse(tmp_path / "performance-cells.svg").getroot()
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"
    assert {"ours", "rival", "limit"} <= {element.text for element in svg.iter()}


def test_every_bench_runs_its_rows() -> None:
    for path in sorted((SCRIPTS / "bench").glob("*.py")):
        text = path.read_text()
        assert path.stem == "table" or "(__file__, rows())" in text.rpartition('if __name__ == "__main__":')[2], (
            path.name
        )
