"""Hooks of MkDocs for the documentation site."""

from __future__ import annotations

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Make start.md the front page, which MkDocs expects to be called index.md."""
    del config
    start = files.get_file_from_path("start.md")
    if start is None:
        raise FileNotFoundError("docs/start.md: expected the front page of the site, got no such file")
    start.dest_uri = "index.html"
    return files
