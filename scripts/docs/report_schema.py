"""Write docs/report.schema.json, the JSON Schema of report.json, from unlearn/core/report_schema.py.

python scripts/docs/report_schema.py
"""

from __future__ import annotations

import json
from pathlib import Path

from unlearn.core.report_schema import SCHEMA

FILE = Path(__file__).resolve().parents[2] / "docs" / "report.schema.json"


def schema_text() -> str:
    """Return the content of the file."""
    return json.dumps(SCHEMA, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(schema_text(), encoding="utf-8")
