"""The scripts of a page, inlined so that it needs no network: Vega compressed, and our own."""

from __future__ import annotations

import base64
import gzip
import hashlib
from functools import cache
from pathlib import Path

VEGA = Path(__file__).with_name("vega.js.gz")
PAGE = Path(__file__).parents[1] / "page.js"


@cache
def vega() -> str:
    """Vega, Vega-Lite and Vega-Embed: gzip in base64, which the page's script unpacks; a third of their size."""
    return base64.b64encode(VEGA.read_bytes()).decode()


@cache
def page_script() -> str:
    """The script that draws charts, and sorts, filters and copies tables."""
    return PAGE.read_text(encoding="utf-8")


@cache
def policy() -> str:
    """Sources for `script-src` in a page's Content-Security-Policy: these two scripts and no other."""
    texts = (page_script().encode(), gzip.decompress(VEGA.read_bytes()))
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'" for text in texts)
