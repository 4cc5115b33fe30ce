"""The code of docs/tutorial.md runs, block after block, and does what its text says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"


def test_the_blocks_run_one_after_the_other() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) > 4
    names: dict[str, Any] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{PAGE.name}, block {number}", "exec"), names)
    forget_accuracy = [scores.metrics["unlearned/forget_accuracy"] for scores in names["scores"].values()]
    original = names["scores"]["finetune"].metrics["original/forget_accuracy"]
    assert original > 0.4
    assert max(forget_accuracy) < 0.2
    assert names["scores"]["neg_grad_plus"].metrics["unlearned/test_accuracy"] > 0.8
