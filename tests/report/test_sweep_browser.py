"""The page of a sweep as a browser shows it, with its script at work."""

from __future__ import annotations

import html
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from reports import changed, grid, key, report, write
from test_browser import DARK, Browse, browse, console, luminance, probed, pytestmark  # noqa: F401

from unlearn.report.note import FAILED, Note
from unlearn.report.pictures import Example, Examples, write_pictures
from unlearn.report.sweep.summary import summarise

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
SECOND = [changed(report("top_k", seed, k, k=k), dataset__limit=50) for seed in (0, 1) for k in (0.02, 0.1, 0.5)]
FOLDED = re.compile('<details class="more">.*?</details>', flags=re.DOTALL)
# Uses the page as a reader would, and leaves what it saw in the document.
PLAY = """<script>
const part = document.querySelector("section.part"), table = part.querySelector("table.numbers");
const rows = () => [...table.tBodies[1].rows].filter(row => !row.hidden).map(row => row.dataset.label);
const orders = n => [...table.tBodies[1].rows].map(row => Number(row.cells[n].dataset.order));
const heads = [...table.querySelectorAll("thead button")], forget = heads.findIndex(b => b.textContent === "forget");
const typed = (field, text) => { field.value = text; field.dispatchEvent(new Event("input", { bubbles: true })); };
const seen = { tools: !part.querySelector("form").hidden, all: rows().length };
heads[forget].click();
seen.up = orders(forget);
seen.sort = heads[forget].closest("th").getAttribute("aria-sort");
heads[forget].click();
seen.down = orders(forget);
seen.sorts = table.querySelectorAll("th[aria-sort]").length;
typed(part.querySelector("input"), "K=0.1 scale=1.0");
seen.filtered = rows();
part.querySelector("select").value = "random_k";
part.querySelector("select").dispatchEvent(new Event("change", { bubbles: true }));
seen.narrowed = rows();
seen.output = part.querySelector("output").textContent;
seen.faded = part.querySelectorAll("svg a.out").length;
seen.marks = part.querySelectorAll("svg a").length;
typed(part.querySelector("input"), "");
const mark = part.querySelector("svg a"), told = document.getElementById("told");
mark.focus();
seen.told = !told.hidden && told.textContent === mark.dataset.told && told.textContent.length > 20;
seen.row = document.querySelector("tr.told").dataset.row === mark.getAttribute("href").slice(1);
mark.blur();
seen.quiet = told.hidden;
location.hash = mark.getAttribute("href");
setTimeout(() => {
  seen.opened = document.querySelector("details.cell[open]")?.id === mark.getAttribute("href").slice(1);
  const left = document.body.appendChild(document.createElement("pre"));
  left.id = "seen";
  left.textContent = JSON.stringify(seen);
}, 50);
</script></body>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Twelve settings over three seeds, another scenario, one failed cell, pictures."""
    root = tmp_path_factory.mktemp("sweep")
    for number, each in enumerate(SECOND):
        each["artifacts"]["unlearned"]["key"] = key("second", number)
    write(root, *grid(), *SECOND)
    write_pictures(Examples((Example(3, 17, PIXEL, PIXEL, PIXEL),), 2.5), root / "0")
    Note(99, ["strategy=top_k"], FAILED, "NaN").write(root / "99")
    return summarise([root], root, io.StringIO())[2].read_text(encoding="utf-8")


def charts(page: str) -> int:
    """All but the marks of legends."""
    return page.count("<svg ") - page.count('class="swatch"')


def test_it_opens_from_disk_without_a_complaint(browse: Browse, page: str) -> None:  # noqa: F811
    """Under its own policy, which lets its script run and no other."""
    done = browse(page.replace("</body>", "<script>document.title = 'not ours'</script></body>"), "--dump-dom")
    assert len(console(done)) == 1  # the browser's about the other script
    assert "script-src" in console(done)[0]
    assert "<form>" in done.stdout or '<form class=""' in done.stdout  # ours has run
    done = browse(page, "--dump-dom")
    assert console(done) == []


def test_every_chart_is_there(page: str) -> None:
    titles = re.findall(r'aria-label="([^"]+)"', FOLDED.sub("", page))
    for about in ("against retain accuracy", "against test accuracy", "gap against time", "speed-up over retraining"):
        assert sum(about in title for title in titles) == 2, about  # in both scenarios
    for metric in ("average gap", "forget accuracy", "retain accuracy", "test accuracy"):
        assert titles.count(f"{metric} over k") == 1 + 1, metric  # four lines in one panel; one in the other scenario
        assert titles.count(f"{metric} over noise_scale") == 2, metric  # six lines: a panel for each strategy
    assert titles.count("average gap over k and noise_scale") == 2  # a heat map for each strategy


def test_the_table_sorts_and_filters_and_points_tell(browse: Browse, page: str) -> None:  # noqa: F811
    open_page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page).replace("</body>", PLAY)
    done = browse(open_page, "--dump-dom", "--virtual-time-budget=2000")
    assert console(done) == []
    match = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, flags=re.DOTALL)
    assert match, done.stdout[-500:]
    seen: dict[str, Any] = json.loads(html.unescape(match[1]))
    assert (seen["tools"], seen["all"]) == (True, 12)
    assert seen["up"] == sorted(seen["up"])
    assert seen["down"] == sorted(seen["up"], reverse=True)
    assert (seen["sort"], seen["sorts"]) == ("ascending", 1)
    assert sorted(seen["filtered"]) == ["random_k k=0.1 noise_scale=1.0", "top_k k=0.1 noise_scale=1.0"]
    assert seen["narrowed"] == ["random_k k=0.1 noise_scale=1.0"]
    assert seen["output"] == "1 of 12 rows"
    assert 0 < seen["faded"] < seen["marks"]
    assert seen["told"] is seen["row"] is seen["quiet"] is seen["opened"] is True


@pytest.mark.parametrize(
    ("width", "scheme", "media"),
    [(1300, "light", "screen"), (1300, "dark", "screen"), (400, "dark", "screen"), (718, "light", "print")],
)
def test_it_fits_everywhere(browse: Browse, page: str, width: int, scheme: str, media: str) -> None:  # noqa: F811
    shown = page.replace("@media print", "@media all") if media == "print" else page
    found = probed(browse, shown, width, *([DARK] if scheme == "dark" else []))
    assert found["scroll"] <= width
    assert (luminance(found["ink"]) > luminance(found["paper"])) == (scheme == "dark")
    assert abs(luminance(found["ink"]) - luminance(found["paper"])) > 180
    assert found["charts"] == charts(FOLDED.sub("", page) if media == "print" else page)
    assert found["outside"] == []
    assert found["pictures"] == 3


def test_it_prints(browse: Browse, page: str, tmp_path: Path) -> None:  # noqa: F811
    browse(page, f"--print-to-pdf={tmp_path / 'page.pdf'}")
    pdf = (tmp_path / "page.pdf").read_bytes()
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 12
