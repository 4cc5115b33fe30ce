"""The results that library functions return: plain values, a table as text, and a table for notebooks."""

from __future__ import annotations

import io
from dataclasses import dataclass
from html import escape
from typing import Any

from unlearn.report.table import COLUMNS, rows, show


@dataclass(frozen=True, repr=False)
class EvaluationResult:
    """The measurements of one or more models, as `unlearn.evaluate` and `unlearn.run` return them.

    Keys are `ROLE/METRIC`, such as `unlearned/forget_accuracy` or `retrained/mia_logistic_auc`; `gap/METRIC` is the
    unlearned model minus the mean of the retrained ones, `noise_floor/METRIC` how far retrained models are apart.

    Args:
        report: everything that was measured, as plain JSON.
    """

    report: dict[str, Any]

    @property
    def metrics(self) -> dict[str, float | None]:
        """All numbers by key; None where a number is undefined, and `report["notes"]` then has the reason."""
        return dict(self.report["metrics"])

    @property
    def gaps(self) -> dict[str, float | None]:
        """Unlearned minus retrained, by metric; empty without retrained models."""
        return {key.removeprefix("gap/"): value for key, value in self.metrics.items() if key.startswith("gap/")}

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % intervals over images by key, of the numbers that have one."""
        intervals = {key: _interval_of(entry) for key, entry in self.report["statistics"].items()}
        return {key: interval for key, interval in intervals.items() if interval is not None}

    @property
    def n(self) -> dict[str, int]:
        """The number of images behind each number, by key."""
        return {key: entry["n"] for key, entry in self.report["statistics"].items() if "n" in entry}

    @property
    def verdict(self) -> dict[str, str]:
        """The answers to four questions: `forgotten`, `utility`, `cost`, `sure`.

        `report["verdict"]` also has the sentences behind each answer.
        """
        return {name: answer["answer"] for name, answer in self.report["verdict"].items()}

    def table(self) -> str:
        """Return the table and the verdict as plain text of 80 columns, as the command prints them."""
        stream = io.StringIO()
        show(self.report, stream)
        return stream.getvalue()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self.metrics)} numbers; {self.verdict['forgotten']}>"

    def _repr_html_(self) -> str:
        """Return the table and the verdict as HTML, which notebooks show."""
        head = "".join(f"<th>{escape(title)}</th>" for title in ("", *COLUMNS.values()))
        body = "".join(
            f"<tr><th>{escape(name)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
            for _, name, cells in rows(self.report)
        )
        answers = "".join(
            f"<dt>{escape(answer['question'])} <b>{escape(answer['answer'])}.</b></dt>"
            f"<dd>{'<br>'.join(map(escape, answer['lines']))}</dd>"
            for answer in self.report["verdict"].values()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><dl>{answers}</dl>"


def _interval_of(entry: dict[str, Any]) -> tuple[float, float] | None:
    """Return the interval of an entry of the statistics, or that of its only measurement."""
    readings = entry.get("readings", [])
    interval = entry.get("interval") or (readings[0]["interval"] if len(readings) == 1 else None)
    return None if interval is None else (interval[0], interval[1])
