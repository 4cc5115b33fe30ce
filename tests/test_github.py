"""What GitHub, pre-commit and citation managers read agrees with the project."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import unlearn

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())
    return content


def test_the_workflow_runs_the_checks_on_every_supported_python() -> None:
    job = read(".github/workflows/ci.yml")["jobs"]["test"]
    versions = job["strategy"]["matrix"]["python"]
    lowest, above = PROJECT["requires-python"].removeprefix(">=").split(",<")
    minors = range(int(lowest.partition(".")[2]), int(above.partition(".")[2]))
    assert versions == [f"3.{minor}" for minor in minors]
    assert job["steps"][-1]["run"] == ".ci/run"
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_pre_commit_runs_tools_of_the_lock() -> None:
    (repository,) = read(".pre-commit-config.yaml")["repos"]
    locked = (ROOT / "requirements.lock").read_text().splitlines()
    for hook in repository["hooks"]:
        folder, tool = hook["entry"].split()[0].rsplit("/", 1)
        assert folder == ".venv/bin"
        assert any(line.startswith(f"{tool}==") for line in locked), tool


@pytest.mark.parametrize(
    "form", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda path: path.stem
)
def test_issue_forms_have_what_github_requires(form: Path) -> None:
    content = read(str(form.relative_to(ROOT)))
    assert content["name"]
    assert content["description"]
    fields = [field for field in content["body"] if field["type"] != "markdown"]
    assert all(field["attributes"]["label"] for field in fields)
    ids = [field["id"] for field in fields]
    assert len(ids) == len(set(ids))


def test_the_citation_names_this_version_and_the_paper() -> None:
    citation = read(".github/CITATION.cff")
    assert (citation["title"], citation["version"]) == (PROJECT["name"], unlearn.__version__)
    assert citation["license"] == PROJECT["license"]
    (paper,) = citation["references"]
    assert paper["doi"].startswith("10.1109/TKDE.")
    assert "(.github/CITATION.cff)" in (ROOT / "README.md").read_text()
