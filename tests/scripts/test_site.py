"""The documentation site, as `make site` builds it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A strict build: a broken link, a missing anchor or a page outside the navigation fails it."""
    folder = tmp_path_factory.mktemp("site")
    config = ROOT / "scripts" / "docs" / "mkdocs.yml"
    build = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "-f", config, "-d", folder]
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(build, cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


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
    assert "tells progress of a long edit" in page  # a comment behind a field of Context
