"""Writes the script that draws the charts of our pages, `unlearn/report/charts/vega.js.gz`, from vl-convert-python.

Run it after an update of that package: `python scripts/docs/vega.py`.
"""

from __future__ import annotations

import gzip
from pathlib import Path

TARGET = Path(__file__).resolve().parents[2] / "unlearn" / "report" / "charts" / "vega.js.gz"


def bundle() -> bytes:
    """Vega, Vega-Lite and Vega-Embed in one script, compressed; the same versions give the same bytes."""
    import vl_convert

    return gzip.compress(vl_convert.javascript_bundle().encode(), mtime=0)


if __name__ == "__main__":
    TARGET.write_bytes(bundle())
