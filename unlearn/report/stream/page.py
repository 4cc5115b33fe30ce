"""The page of a stream of requests: `stream.html`, made from reports alone; it needs no network."""

from __future__ import annotations

from collections.abc import Sequence

from unlearn.report.charts.over_requests import request_chart
from unlearn.report.page import template
from unlearn.report.phrases import join_words
from unlearn.report.stream.lines import (
    ATTACK,
    DISTANCE,
    DRIFT,
    EARLIER,
    EARLIER_ATTACK,
    FORGET,
    GAP,
    MEASURES,
    SECONDS,
    TEST,
    THIS,
    Report,
    StreamLine,
    StreamMeasure,
)
from unlearn.report.stream.table import describe_requests, format_cell, measured, summaries

FORGOTTEN = (FORGET, ATTACK, THIS)
RELAPSE = (EARLIER, EARLIER_ATTACK)
MODEL = (TEST, DRIFT, DISTANCE)


def render_stream(reports: Sequence[Report], lines: Sequence[StreamLine]) -> str:
    """Build the page: HTML that needs no other file and no network.

    Args:
        reports: the reports of streams over the same requests; more than one for several seeds or settings.
        lines: what `read_lines` returns for them.
    """
    columns = measured(lines)
    page: str = template("stream/stream.html.j2").render(
        title=title(reports),
        summaries=list(summaries(lines)),
        notes=list(dict.fromkeys(note for report in reports for note in report["notes"])),
        gap=request_chart(GAP, lines),
        columns={measure.title: measure.about for measure in columns},
        rows=[(line, [format_cell(line, measure) for measure in columns]) for line in lines],
        sections=[
            ("What was forgotten", "The forget set is all records so far.", _charts(lines, FORGOTTEN)),
            ("Earlier requests", RELAPSE_HINT, _charts(lines, RELAPSE)),
            ("What is left of the model", "", _charts(lines, MODEL)),
            ("Cost", "Seconds of all requests so far. A reused stage counts what it once took.", _cost(lines)),
        ],
        glossary={measure.title: measure.about for measure in MEASURES},
        reports=reports,
    )
    return page


RELAPSE_HINT = (
    "Records of all requests before the last. A policy that moves from the retrained models towards the original "
    "brings back what it had forgotten."
)


def title(reports: Sequence[Report]) -> str:
    """`20 requests for 200 of 1,347 images of digits from cnn, with top_k`"""
    first, choices = reports[0], reports[0]["choices"]
    strategies = join_words(list(dict.fromkeys(report["choices"]["strategy"] for report in reports)))
    runs = f", {len(reports)} runs" if len(reports) > 1 else ""
    return f"{describe_requests(first)} of {choices['dataset']} from {choices['model']}, with {strategies}{runs}"


def _charts(lines: Sequence[StreamLine], measures: Sequence[StreamMeasure]) -> list[tuple[str, object]]:
    charts = ((measure.title, request_chart(measure, lines)) for measure in measures)
    return [(name, chart) for name, chart in charts if chart is not None]


def _cost(lines: Sequence[StreamLine]) -> list[tuple[str, object]]:
    policies = [line for line in lines if line.label != "original"]
    chart = request_chart(SECONDS, policies, may_be_log=True)
    return [] if chart is None else [(SECONDS.title, chart)]
