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
from specs import on_page

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
WAIT = "--virtual-time-budget=20000"  # for the charts
DARK = "--blink-settings=preferredColorScheme=0"
# A frame may be narrower than a browser's window, and follows the colour scheme of the document around it.
FRAME = """<!doctype html><meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">
<iframe style="border: 0; width: {width}px; height: 900px" srcdoc="{page}"></iframe><pre id="found"></pre>"""
# Put into a copy of the page: once all charts are drawn, leaves what it finds in the document around it.
PROBE = """<script>
const root = document.documentElement, box = element => element.getBoundingClientRect();
const letters = chart => [...chart.querySelectorAll("text")].filter(text => text.textContent);
const inside = (a, b) => a.left >= b.left - 1 && a.right <= b.right + 1;
addEventListener("drawn", () => {
  const charts = [...document.querySelectorAll(".chart svg.marks")];
  const menus = [...document.querySelectorAll(".vega-actions a")].map(link => link.textContent);
  const found = {
    width: innerWidth,
    scroll: root.scrollWidth,
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    paper: getComputedStyle(document.body).backgroundColor,
    ink: getComputedStyle(document.body).color,
    charts: charts.filter(chart => box(chart).width > 200 && box(chart).height > 50).length,
    widest: Math.max(...charts.map(chart => box(chart).width)),
    letters: Math.min(...charts.flatMap(letters).map(text => parseFloat(getComputedStyle(text).fontSize))),
    chart_ink: getComputedStyle(document.querySelector(".chart svg text")).fill,
    outside: charts.flatMap(c => letters(c).filter(t => !inside(box(t), box(c)))).map(t => t.textContent),
    answers: [...document.querySelectorAll(".answer")].map(answer => box(answer).bottom),
    pictures: [...document.images].filter(image => image.complete && image.naturalWidth > 0).length,
    menus: [...new Set(menus)],
  };
  parent.document.getElementById("found").textContent = JSON.stringify(found);
  console.log("probed");
});
</script></body>"""
# Uses a page as a reader would: hovers over a mark, clicks on a legend, copies a table, saves a chart.
PLAY = """<script>
const copied = [];
Object.defineProperty(navigator, "clipboard", { value: { writeText: async words => copied.push(words) } });
const pause = () => new Promise(done => setTimeout(done, 200));
const over = (mark, kind) => {
  const { left, top, width, height } = mark.getBoundingClientRect();
  const at = { bubbles: true, clientX: left + width / 2, clientY: top + height / 2 };
  mark.dispatchEvent(new PointerEvent(kind, at));
};
addEventListener("drawn", async () => {
  const chart = document.querySelector(".chart"), seen = {};
  over(chart.querySelector(".mark-symbol.role-mark path"), "pointermove");
  await pause();
  seen.tooltip = document.getElementById("vg-tooltip-element")?.textContent;
  for (const button of document.querySelectorAll(".copy button")) button.click();
  await pause();
  seen.copied = copied;
  const histogram = document.querySelectorAll("#confidence .chart")[0];
  const faint = () => [...histogram.querySelectorAll(".mark-line path")].map(line => line.getAttribute("opacity"));
  seen.before = faint();
  if (histogram) over(histogram.querySelector(".role-legend .mark-symbol path"), "click");
  await pause();
  seen.after = faint();
  const save = [...chart.querySelectorAll(".vega-actions a")];
  save.forEach(link => link.dispatchEvent(new MouseEvent("mousedown", { bubbles: true })));
  for (let n = 0; n < 20 && save.some(link => link.getAttribute("href") === "#"); n++) await pause();
  seen.saved = save.map(link => [link.download, link.href.slice(0, 30)]);
  const left = document.body.appendChild(document.createElement("pre"));
  left.id = "seen";
  left.textContent = JSON.stringify(seen);
});
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
    done = browse(framed, "--dump-dom", WAIT, *flags)
    assert [re.sub(r'.*"(\w+)", source.*', r"\1", line) for line in console(done)] == ["probed"]
    match = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, flags=re.DOTALL)
    assert match, done.stdout[-500:]
    found: dict[str, Any] = json.loads(html.unescape(match[1]))
    return found


def played(browse: Browse, page: str, play: str) -> dict[str, Any]:
    """What a script that uses the page saw; the page's policy is lifted for it."""
    with_play = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page).replace("</body>", play)
    done = browse(with_play, "--dump-dom", WAIT)
    assert console(done) == []
    match = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, flags=re.DOTALL)
    assert match, done.stdout[-500:]
    seen: dict[str, Any] = json.loads(html.unescape(match[1]))
    return seen


def luminance(color: str) -> float:
    """Mean of the channels of `rgb(r, g, b)`, 0-255."""
    channels = [int(number) for number in re.findall(r"\d+", color)[:3]]
    return sum(channels) / 3


def test_it_opens_without_a_complaint(browse: Browse, page: str) -> None:
    """Under its own policy, which forbids eval and every other script."""
    done = browse(page, "--dump-dom", WAIT)
    assert console(done) == []
    assert done.stdout.count('class="marks"') == len(on_page(page))


def test_points_tell_legends_filter_tables_copy_and_charts_are_saved(browse: Browse, page: str) -> None:
    seen = played(browse, page, PLAY)
    assert re.search(r"forget accuracy.*original.*95 % interval", seen["tooltip"])
    csv, latex, markdown = seen["copied"]
    assert csv.startswith(",original,retrained,unlearned,gap,floor,n\nforget accuracy,")
    assert "\\toprule" in latex
    assert "forget accuracy & " in latex
    assert latex.count("\\\\") == csv.count("\n") + 1
    assert markdown.splitlines()[1] == "| --- |" + " ---: |" * 6
    assert len(set(seen["before"])) == 1
    assert len(set(seen["after"])) == 2  # one model in full, the others faint
    assert [name for name, _ in seen["saved"]] == [
        f"the-three-models-in-the-metrics-that-decide.{end}" for end in ("svg", "png")
    ]
    assert all(link.startswith(("data:image", "blob:")) for _, link in seen["saved"])


@pytest.mark.parametrize(
    ("width", "scheme", "media"),
    [
        pytest.param(1280, "dark", "screen", marks=pytest.mark.slow),
        (390, "light", "screen"),
        pytest.param(718, "light", "print", marks=pytest.mark.slow),
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
    assert found["charts"] == len(on_page(page))
    assert found["outside"] == []
    assert found["letters"] >= 11
    assert found["widest"] > 0.75 * min(width, 1000)
    assert (luminance(found["chart_ink"]) > luminance(found["paper"])) == (scheme == "dark")
    assert found["menus"] == ["Save as SVG", "Save as PNG"]
    assert found["pictures"] == 36


@pytest.mark.parametrize("width", [1280, 390])
def test_all_four_answers_are_on_the_first_screen(browse: Browse, page: str, width: int) -> None:
    """Which is 800 pixels high."""
    answers = probed(browse, page, width)["answers"]
    assert len(answers) == 4
    assert max(answers) <= 800


@pytest.mark.parametrize("width", [390])
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
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 10
