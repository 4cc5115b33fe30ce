"""The page as a browser shows it: in light, in dark, on paper and on a telephone."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from unlearn import config
from unlearn.report.assemble import assemble
from unlearn.report.page import render
from unlearn.report.pictures import Examples, examples

if TYPE_CHECKING:
    from conftest import Finished

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="no chromium on the path; .ci/run installs it where apt-get can"),
]
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr"),
)
DARK = "--blink-settings=preferredColorScheme=0"
# A frame may be narrower than a browser's window, and follows the colour scheme of the document around it.
FRAME = """<!doctype html><meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">
<iframe style="border: 0; width: {width}px; height: 900px" srcdoc="{page}"></iframe><pre id="found"></pre>"""
# Put into a copy of the page: leaves what it finds in the document around, which the browser then prints.
PROBE = """<script>
const root = document.documentElement, box = element => element.getBoundingClientRect();
const charts = [...document.querySelectorAll("svg")], letters = chart => [...chart.querySelectorAll("text")];
const inside = (a, b) => a.left >= b.left - 1 && a.right <= b.right + 1;
const found = {
  width: innerWidth,
  scroll: root.scrollWidth,
  dark: matchMedia("(prefers-color-scheme: dark)").matches,
  paper: getComputedStyle(document.body).backgroundColor,
  ink: getComputedStyle(document.body).color,
  charts: charts.filter(chart => box(chart).width > 200 && box(chart).height > 50 && chart.children.length > 3).length,
  letters: Math.min(...charts.flatMap(chart => letters(chart).map(text => box(text).height))),
  outside: charts.flatMap(c => letters(c).filter(t => !inside(box(t), box(c)))).map(t => t.textContent),
  answers: [...document.querySelectorAll(".answer")].map(answer => box(answer).bottom),
  pictures: [...document.images].filter(image => image.complete && image.naturalWidth > 0).length,
};
parent.document.getElementById("found").textContent = JSON.stringify(found);
console.log("probed");
</script></body>"""
LONG = "supercalifragilistic" * 8


@pytest.fixture(scope="module")
def report(finished: Finished) -> dict[str, Any]:
    return assemble(
        finished.outcome, config.to_plain_dict(finished.composed), {"dataset": "digits", "strategy": "top_k"}
    )


@pytest.fixture(scope="module")
def page(finished: Finished, report: dict[str, Any]) -> str:
    return render(report, examples(finished.config, finished.outcome))


Browse = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def browse(tmp_path: Path) -> Browse:
    """`browse(page, *flags)` opens it from disk in a fresh browser."""

    def go(page: str, *flags: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "page.html").write_text(page, encoding="utf-8")
        assert BROWSER is not None
        command = [
            BROWSER,
            *FLAGS,
            f"--user-data-dir={tmp_path / 'profile'}",
            *flags,
            (tmp_path / "page.html").as_uri(),
        ]
        home = os.environ | {"HOME": str(tmp_path)}
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=home)

    return go


def console(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What the page, or the browser about it, wrote to the console."""
    return [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


def probed(browse: Browse, page: str, width: int, *flags: str) -> dict[str, Any]:
    """What the probe found in a frame of that width; the page's policy is lifted for it."""
    with_probe = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page).replace("</body>", PROBE)
    framed = FRAME.format(width=width, page=html.escape(with_probe))
    done = browse(framed, "--dump-dom", *flags)
    assert [re.sub(r'.*"(\w+)", source.*', r"\1", line) for line in console(done)] == ["probed"]
    match = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, flags=re.DOTALL)
    assert match, done.stdout[-500:]
    found: dict[str, Any] = json.loads(html.unescape(match[1]))
    return found


def luminance(color: str) -> float:
    """Mean of the channels of `rgb(r, g, b)`, 0-255."""
    channels = [int(number) for number in re.findall(r"\d+", color)[:3]]
    return sum(channels) / 3


def test_it_opens_without_a_complaint(browse: Browse, page: str) -> None:
    done = browse(page, "--dump-dom")
    assert console(done) == []
    assert done.stdout.count("<svg") == 15


@pytest.mark.parametrize(
    ("width", "scheme", "media"),
    [
        (1200, "light", "screen"),
        (1200, "dark", "screen"),
        (400, "light", "screen"),
        (400, "dark", "screen"),
        (718, "light", "print"),
    ],
)
def test_it_fits_everywhere(browse: Browse, page: str, width: int, scheme: str, media: str) -> None:
    """Paper is A4 without its margins at 96 dots an inch, by the print rules on a screen."""
    shown = page.replace("@media print", "@media all") if media == "print" else page
    found = probed(browse, shown, width, *([DARK] if scheme == "dark" else []))
    assert found["width"] == width
    assert found["scroll"] <= width
    assert found["dark"] == (scheme == "dark")
    assert (luminance(found["ink"]) > luminance(found["paper"])) == (scheme == "dark")
    assert abs(luminance(found["ink"]) - luminance(found["paper"])) > 180
    assert found["charts"] == 15
    assert found["outside"] == []
    assert found["letters"] > (9 if media == "screen" else 6)
    assert found["pictures"] == 36


@pytest.mark.parametrize("width", [1280, 400])
def test_all_four_answers_are_on_the_first_screen(browse: Browse, page: str, width: int) -> None:
    """Which is 800 pixels high."""
    answers = probed(browse, page, width)["answers"]
    assert len(answers) == 4
    assert max(answers) <= 800


@pytest.mark.parametrize("width", [1200, 400])
def test_long_names_do_not_widen_it(browse: Browse, report: dict[str, Any], width: int) -> None:
    long = report | {
        "choices": {"dataset": LONG, "strategy": LONG, "forget": LONG},
        "command": LONG,
        "notes": report["notes"] | {"spd_gan": LONG},
        "artifacts": {name + LONG: part for name, part in report["artifacts"].items()},
        "versions": {LONG: LONG},
        "config": {LONG: [LONG]},
    }
    found = probed(browse, render(long, Examples(why=LONG)), width)
    assert found["scroll"] <= width
    assert found["outside"] == []


def test_it_prints(browse: Browse, page: str, tmp_path: Path) -> None:
    browse(page, f"--print-to-pdf={tmp_path / 'page.pdf'}")
    pdf = (tmp_path / "page.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 8
