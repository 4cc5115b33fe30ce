"""Strategies, metrics and attacks from outside the package: by `module:name`, and from installed packages by name."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from builders import plan_of
from conftest import Compose, Run, WriteModule
from omegaconf import OmegaConf

from unlearn import config
from unlearn.config import CommandLine, preflight
from unlearn.core.errors import ConfigError
from unlearn.core.plugins import find_plugins
from unlearn.core.user_code import source_hash
from unlearn.pipeline.config import RunConfig
from unlearn.report.assemble import assemble
from unlearn.report.page import render
from unlearn.report.pictures import Examples
from unlearn.report.sweep import page as sweep_page
from unlearn.report.sweep.comparison import group_cells
from unlearn.report.sweep.read import read
from unlearn.report.sweep.tables import as_markdown
from unlearn.report.table import show
from unlearn.report.write import write as write_report
from unlearn.stages.keys import canonicalize

config.register()
DOCS = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
EXAMPLE = re.search(r"`mine\.py`\n\n```python\n(.*?)```", DOCS, flags=re.DOTALL)
assert EXAMPLE is not None
SOURCE = EXAMPLE[1]
MORE = '''
from unlearn.strategies.finetune import Finetune
from unlearn.attacks.base import Attack

@dataclass(frozen=True)
class Slow(Finetune):
    """Fine-tuning by another name."""

@dataclass(frozen=True)
class Guess(Attack):
    """The certainty, as an attack."""

    direction: ClassVar[str] = "high: a member"
    subsets = (Subset.FORGET,)

    def measure(self, evidence):
        return {"guess": mean(evidence.subject[Subset.FORGET].logits.double().amax(dim=1))}

class Bare(Strategy):
    part: float = 0.1

@dataclass(frozen=True)
class Stateful(Strategy):
    def __post_init__(self):
        object.__setattr__(self, "hidden", 1)

@dataclass(frozen=True)
class Abstract(Metric):
    pass

def negate(part): return Negate(part / 2)
def three(): return 3
def fails(): return {}["a"]
'''


def check(*overrides: str, multirun: bool = False) -> list[RunConfig]:
    return preflight(CommandLine(["baseline=none", "metrics=without_baseline", *overrides], multirun, None)).configs


@pytest.mark.slow
def test_a_strategy_and_a_metric_of_the_users_folder_appear_everywhere(
    write_module: WriteModule, run: Run, tmp_path: Path
) -> None:
    """The example of docs/extending.md."""
    name = write_module(SOURCE)
    finished = run(
        tmp_path / "store",
        "strategy=python",
        f"strategy.factory={name}:Negate",
        "+strategy.arguments.part=0.5",
        "metrics=[accuracy,python]",
        f"metrics.python.factory={name}:Certainty",
        "spd_gan=off",
        "baseline.seeds=[0]",
        "attacks=none",
        "dataset.limit=150",
        "train.epochs=1",
    )
    choices = {"strategy": "python", "metrics": "[accuracy,python]", "dataset": "digits"}
    report = assemble(finished.outcome, config.to_plain_dict(finished.composed), choices)
    assert report["choices"]["strategy"] == "negate"
    assert 0 < report["metrics"]["unlearned/forget_certainty"] < 1
    assert "gap/forget_certainty" in report["metrics"]
    console = io.StringIO()
    show(report, console)
    assert "certainty, forget" in console.getvalue()
    page = render(report, Examples())
    assert "certainty, forget" in page
    assert "Mean of the largest class probability" in page
    write_report(report, tmp_path / "out")
    reports = read([tmp_path / "out"])
    groups, _ = group_cells(reports.cells)
    assert "| certainty, forget |" in as_markdown(reports, groups, [])
    page = sweep_page.render(reports, groups, [], tmp_path)
    assert "certainty, forget" in page
    assert "Mean of the largest class probability" in page
    assert groups[0].rows[0].strategy == "negate"


def test_settings_of_the_class_are_set_and_swept_by_arguments(write_module: WriteModule) -> None:
    name = write_module(SOURCE + MORE)
    words = ["strategy=python", f"strategy.factory={name}:Slow"]
    words += ["strategy.arguments.recipe.epochs=2,3", "strategy.arguments.selection=saliency"]
    words += ["strategy.arguments.k=0.5"]
    settings = [option.strategy for option in check(*words, multirun=True)]
    assert [strategy.recipe.epochs for strategy in settings] == [2, 3]
    assert {type(strategy.selection).__name__ for strategy in settings} == {"Saliency"}


def test_a_function_an_attack_and_a_default_metric_are_accepted(write_module: WriteModule) -> None:
    name = write_module(SOURCE + MORE)
    words = ["strategy=python", f"strategy.factory={name}:negate", "strategy.arguments.part=0.2"]
    words += ["attacks=[default,python]", f"attacks.python.factory={name}:Guess", "metrics=[default,loss]"]
    (settings,) = check(*words, "baseline=retrain")
    assert settings.strategy.part == 0.1
    assert type(settings.attacks["python"]).__name__ == "Guess"
    assert {"accuracy", "loss"} <= set(settings.metrics)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "strategy.factory=NAME:Negate strategy.arguments.part=7",
            "arguments.part: expected a fraction in [0, 1), got 7",
        ),
        ("strategy.factory=NAME:Negate strategy.arguments.prat=0.1", "a setting of Negate (nearest: part), got 0.1"),
        ("strategy.factory=NAME:Negate strategy.arguments.part=many", "'many'"),
        (
            "strategy.factory=NAME:Slow strategy.arguments.selection=most",
            "strategy.arguments.selection: expected one of",
        ),
        ("strategy.factory=NAME:Slow strategy.arguments.recipe.epoch=1", "epoch"),
        ("strategy.factory=NAME:Certainty", "expected a Strategy class, or a function that returns a Strategy"),
        ("strategy.factory=NAME:three", "(it returned int)"),
        ("strategy.factory=NAME:fails", "KeyError: 'a'"),
        ("strategy.factory=NAME:Bare", "a class under @dataclass(frozen=True)"),
        ("strategy.factory=NAME:Stateful", "with hidden among its fields"),
        ("strategy.factory=NAME:Negtae", "(nearest: Negate)"),
        ("", "strategy.factory: expected package.module:function"),
        ("strategy.factory=NAME:Negate metrics=python metrics.python.factory=NAME:Abstract", "that defines measure"),
        (
            "strategy.factory=NAME:Negate attacks=python attacks.python.factory=NAME:Certainty",
            "expected an Attack class",
        ),
    ],
)
def test_refusals(write_module: WriteModule, words: str, message: str) -> None:
    name = write_module(SOURCE + MORE)
    with pytest.raises(ConfigError) as refused:
        check("strategy=python", *words.replace("NAME", name).split())
    assert message in str(refused.value)
    assert len(str(refused.value).splitlines()) <= 2


def test_the_key_holds_the_source_and_the_arguments(write_module: WriteModule, composed: Compose) -> None:
    name = write_module(SOURCE)

    def key(part: float = 0.1) -> str:
        words = ("strategy=python", f"strategy.factory={name}:Negate", f"+strategy.arguments.part={part}")
        return plan_of(composed(*words)).unlearned.key

    before = key()
    assert key(0.2) != before
    (Path.cwd() / f"{name}.py").write_text(SOURCE.replace("*= -1", "*= -2"), encoding="utf-8")
    source_hash.cache_clear()
    assert key() != before


@pytest.fixture
def installed(write_module: WriteModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package in the search path that names a module with options as its entry point."""
    name = write_module(SOURCE + MORE)
    metadata = tmp_path / "ours-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: ours\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[unlearn.plugins]\nours = {name}\n")
    monkeypatch.syspath_prepend(tmp_path)
    find_plugins.cache_clear()
    config.register()
    yield name
    find_plugins.cache_clear()
    config.register()


def test_options_of_installed_packages_are_chosen_by_name(installed: str) -> None:
    words = ["strategy=negate", "strategy.part=0.1,0.2", "metrics=[accuracy,certainty]", "attacks=[guess]"]
    cells = check(*words, multirun=True)
    assert [cell.strategy.part for cell in cells] == [0.1, 0.2]
    assert type(cells[0].strategy).__module__ == installed
    assert list(cells[0].all_metrics) == ["accuracy", "certainty", "guess"]
    spec: Any = canonicalize(cells[0].strategy)
    assert spec["source"] == source_hash(f"{installed}:Negate", "strategy")
    with pytest.raises(ConfigError, match=r"part: expected a fraction"):
        check("strategy=negate", "strategy.part=3")
    with pytest.raises(ConfigError, match=r"nearest: negate"):
        check("strategy=negat")


def test_a_schema_leaves_the_config_readable(composed: Compose) -> None:
    words = composed("strategy=python", "strategy.factory=mine:Negate").strategy
    assert OmegaConf.to_container(words) == {"factory": "mine:Negate", "arguments": {}}
