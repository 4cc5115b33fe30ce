"""The documentation site, as `make site` builds it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def make_site(root: Path, output: Path) -> subprocess.CompletedProcess[str]:
    """Run the command of `make site` on the sources under `root`."""
    command = re.search(r"\$\(BIN\)/(mkdocs build .*)", (ROOT / "Makefile").read_text())
    assert command is not None
    build = [sys.executable, "-m", *command[1].split(), "-d", output]
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(build, cwd=root, env=env, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = make_site(ROOT, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_a_broken_link_is_an_error(tmp_path: Path) -> None:
    """With `--quiet`, MkDocs counts no warnings, so that `--strict` has no effect."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("[page](missing.md) [heading](#missing) [absolute](/missing.md)")
    config = tmp_path / "scripts" / "docs" / "mkdocs.yml"
    config.parent.mkdir(parents=True)
    validation = (ROOT / "scripts" / "docs" / "mkdocs.yml").read_text().partition("\nvalidation:")[2]
    config.write_text(f"site_name: test\ndocs_dir: ../../docs\nvalidation:{validation}")
    done = make_site(tmp_path, tmp_path / "site")
    assert done.returncode == 1
    assert "Aborted with 3 warnings in strict mode" in done.stdout + done.stderr


def test_every_page_of_the_documentation_is_there(site: Path) -> None:
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert {path.stem for path in site.glob("*.html")} == pages - {"start"} | {"index", "404"}


def test_a_page_loads_nothing_from_a_network(site: Path) -> None:
    loading = re.compile(r'<(?:script|img|iframe|link)\b[^>]*?(?:src|href)="(?:https?:)?//[^"]*"')
    assert [match for path in site.glob("*.html") for match in loading.findall(path.read_text())] == []


def test_the_api_page_shows_contracts_with_the_comments_on_their_fields(site: Path) -> None:
    page = (site / "api.html").read_text()
    for name in ("strategies.base.Strategy.edit", "metrics.evidence.Metric.measure", "attacks.base.Attack.direction"):
        assert f'id="unlearn.{name}"' in page
    assert "reports the progress of a long edit" in page  # a comment behind a field of Context
