"""The page of a sweep as a browser shows it, with its script at work."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from reports import changed, grid, key, report, write
from specs import on_page
from test_browser import DARK, WAIT, Browse, browse, console, luminance, played, probed, pytestmark  # noqa: F401

from unlearn.report.note import FAILED, Note
from unlearn.report.pictures import Example, Examples
from unlearn.report.run_folder import write_pictures
from unlearn.report.sweep.summary import summarise

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
SECOND = [changed(report("top_k", seed, k, k=k), dataset__limit=50) for seed in (0, 1) for k in (0.02, 0.1, 0.5)]
FOLDED = re.compile('<details class="more">.*?</details>', flags=re.DOTALL)
# Uses the page as a reader would, and leaves what it saw in the document.
PLAY = """<script>
const copied = [];
Object.defineProperty(navigator, "clipboard", { value: { writeText: async words => copied.push(words) } });
const pause = () => new Promise(done => setTimeout(done, 200));
const part = document.querySelector("section.part"), table = part.querySelector("table.numbers");
const shown = () => [...table.tBodies[1].rows].filter(row => !row.hidden).map(row => row.dataset.label);
const orders = n => [...table.tBodies[1].rows].map(row => Number(row.cells[n].dataset.order));
const heads = [...table.querySelectorAll("thead button")], forget = heads.findIndex(b => b.textContent === "forget");
const typed = (field, text) => { field.value = text; field.dispatchEvent(new Event("input", { bubbles: true })); };
const chart = part.querySelector(".chart"), marks = () => [...chart.querySelectorAll(".mark-symbol.role-mark path")];
const faded = () => marks().filter(mark => Number(mark.getAttribute("opacity")) < 0.2).length;
const over = (mark, kind) => {
  const { left, top, width, height } = mark.getBoundingClientRect();
  const at = { bubbles: true, clientX: left + width / 2, clientY: top + height / 2 };
  mark.dispatchEvent(new PointerEvent(kind, at));
};
addEventListener("drawn", async () => {
  const seen = { tools: !part.querySelector("form").hidden, all: shown().length, marks: marks().length };
  const whole = heads[forget].closest("th");
  seen.clickable = heads[forget].getBoundingClientRect().width / whole.getBoundingClientRect().width;
  heads[forget].click();
  seen.up = orders(forget);
  seen.sort = whole.getAttribute("aria-sort");
  heads[forget].click();
  seen.down = orders(forget);
  seen.sorts = table.querySelectorAll("th[aria-sort]").length;
  typed(part.querySelector("input"), "K=0.1 scale=1.0");
  seen.filtered = shown();
  part.querySelector(".copy button").click();
  part.querySelector("select").value = "random_k";
  part.querySelector("select").dispatchEvent(new Event("change", { bubbles: true }));
  await pause();
  seen.narrowed = shown();
  seen.output = part.querySelector("output").textContent;
  seen.faded = faded();
  typed(part.querySelector("input"), "no such");
  seen.nothing = part.querySelector("output").textContent;
  typed(part.querySelector("input"), "");
  part.querySelector("select").value = "";
  typed(part.querySelector("input"), "");
  await pause();
  seen.back = faded();
  seen.csv = copied[0];
  [...part.querySelectorAll(".copy button")][1].click();
  await pause();
  seen.latex = copied[1];
  over(marks()[0], "pointermove");
  over(marks()[0], "pointerover");
  await pause();
  seen.tooltip = document.getElementById("vg-tooltip-element")?.textContent;
  over(marks()[0], "click");
  await pause();
  seen.opened = "#" + document.querySelector("details.cell[open]")?.id === location.hash;
  const left = document.body.appendChild(document.createElement("pre"));
  left.id = "seen";
  left.textContent = JSON.stringify(seen);
});
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


def test_it_opens_from_disk_without_a_complaint(browse: Browse, page: str) -> None:  # noqa: F811
    """Under its own policy, which lets its scripts run and no other."""
    done = browse(page.replace("</body>", "<script>document.title = 'not ours'</script></body>"), "--dump-dom", WAIT)
    assert len(console(done)) == 1  # the browser's about the other script
    assert "script-src" in console(done)[0]
    assert "<form>" in done.stdout or '<form class=""' in done.stdout  # ours has run


def test_every_chart_is_there(page: str) -> None:
    titles = [spec["description"] for spec in on_page(page)]
    assert titles[0] == "forgetting against test accuracy"  # the one that people look for
    for about in ("against retain accuracy", "against test accuracy", "gap against time"):
        assert sum(about in title for title in titles) == 2, about  # in both groups
    for metric in ("average gap", "forget accuracy", "retain accuracy", "test accuracy"):
        assert titles.count(f"{metric} over k") == 2, metric
        assert titles.count(f"{metric} over noise_scale") == 1, metric
    assert titles.count("average gap over k and noise_scale") == 2  # a heat map for each strategy


def test_the_table_sorts_filters_and_copies_and_points_lead_to_runs(browse: Browse, page: str) -> None:  # noqa: F811
    seen = played(browse, page, PLAY)
    assert (seen["tools"], seen["all"]) == (True, 12)
    assert seen["clickable"] > 0.99
    assert seen["up"] == sorted(seen["up"])
    assert seen["down"] == sorted(seen["up"], reverse=True)
    assert (seen["sort"], seen["sorts"]) == ("ascending", 1)
    assert sorted(seen["filtered"]) == ["random_k k=0.1 noise_scale=1.0", "top_k k=0.1 noise_scale=1.0"]
    assert seen["narrowed"] == ["random_k k=0.1 noise_scale=1.0"]
    assert (seen["output"], seen["nothing"]) == ("1 of 12 rows", "No row matches.")
    assert (seen["marks"], seen["faded"], seen["back"]) == (12 + 2, 11, 0)
    assert len(seen["csv"].splitlines()) == 1 + 2 + 2  # header, references, what the filter leaves
    assert seen["csv"].startswith("strategy and setting,n,forget,")
    assert seen["latex"].count("\\midrule") == 2  # below the header, and below the references
    assert "\\textbf{top\\_k k=0.1 noise\\_scale=1.0} (best)" in seen["latex"]  # as the page marks it
    assert re.search(r"setting.*_k k=.*noise floor|setting.*_k k=.*forgetting gap", seen["tooltip"])
    assert seen["opened"] is True


@pytest.mark.parametrize(
    ("width", "scheme", "media"),
    [
        pytest.param(1280, "light", "screen", marks=pytest.mark.slow),
        (390, "dark", "screen"),
        pytest.param(718, "light", "print", marks=pytest.mark.slow),
    ],
)
def test_it_fits_everywhere(browse: Browse, page: str, width: int, scheme: str, media: str) -> None:  # noqa: F811
    shown = page.replace("@media print", "@media all") if media == "print" else page
    found = probed(browse, shown, width, *([DARK] if scheme == "dark" else []))
    assert found["scroll"] <= width
    assert (luminance(found["ink"]) > luminance(found["paper"])) == (scheme == "dark")
    assert abs(luminance(found["ink"]) - luminance(found["paper"])) > 180
    assert found["charts"] == len(on_page(FOLDED.sub("", page)))
    assert found["outside"] == []
    assert found["letters"] >= 11
    assert found["pictures"] == 3


def test_it_prints(browse: Browse, page: str, tmp_path: Path) -> None:  # noqa: F811
    browse(page, f"--print-to-pdf={tmp_path / 'page.pdf'}")
    pdf = (tmp_path / "page.pdf").read_bytes()
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 12
