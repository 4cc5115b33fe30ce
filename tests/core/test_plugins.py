"""Finding one option by its name, against finding all options of a package."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore

from unlearn import config
from unlearn.core.plugins import find_option, find_options


@pytest.mark.parametrize("group", config.GROUPS)
def test_one_option_is_found_as_among_all_options(group: str) -> None:
    package, base = config.GROUPS[group]
    every = find_options(package, base)
    assert {name: find_option(package, base, name) for name in every} == every
    assert find_option(package, base, "nonsense") is None
    assert find_option(package, base, base.__name__.lower()) is every.get(base.__name__.lower())  # abstract, or final


def test_a_schema_is_made_when_it_is_asked_for() -> None:
    config.register()
    store = ConfigStore.instance()
    assert store.repo["schema"]["strategy"].keys() == {"selection", "recipe"}  # the groups within it
    assert store.load("schema/strategy/top_k.yaml").node.k == 0.1
    assert "top_k.yaml" in store.repo["schema"]["strategy"].keys()  # noqa: SIM118  # what was made, not what can be
    assert "perturbation.yaml" not in store.repo["schema"]["strategy"]  # abstract


def test_an_option_may_be_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place, text in (
        ("", "class Base:\n    pass\n"),
        ("deep", "from kinds import Base\nclass Deep(Base):\n    pass\n"),
    ):
        (tmp_path / "kinds" / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / "kinds" / place / "__init__.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    kinds = importlib.import_module("kinds")
    assert find_options("kinds", kinds.Base).keys() == {"deep"}
    assert find_option("kinds", kinds.Base, "deep") is find_options("kinds", kinds.Base)["deep"]
