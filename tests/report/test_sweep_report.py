"""The summary of a sweep: groups and rows, ranking, and refused input. By hand."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterable
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reports import FLOOR, Report, changed, grid, key, report, write

from unlearn.cli.report import main
from unlearn.core.errors import UnlearnError
from unlearn.functional.estimates import adjust_by_holm
from unlearn.report.attacks import ATTACK, ENTROPY_ATTACK
from unlearn.report.note import DONE, FAILED, RUNNING, Note
from unlearn.report.pictures import Example, Examples
from unlearn.report.run_folder import write_pictures
from unlearn.report.sweep.compare import Ranking, p_value, pareto_front, rank
from unlearn.report.sweep.comparison import ComparisonGroup, Row, Spread, group_cells
from unlearn.report.sweep.read import Cell, read
from unlearn.report.sweep.summary import summarise
from unlearn.report.sweep.verdict import verdict


def groups(root: Path, *reports: Report) -> list[ComparisonGroup]:
    return group_cells(read([write(root, *reports)]).cells)[0]


def summary(root: Path, *reports: Report) -> dict[str, str]:
    """The three files by their suffix, and what was printed."""
    printed = io.StringIO()
    written = summarise([write(root, *reports)], root, printed)
    return {path.suffix: path.read_text(encoding="utf-8") for path in written} | {"printed": printed.getvalue()}


def gaps(*rows: tuple[float, ...], floor: float | None = FLOOR) -> list[Report]:
    """One row for each tuple of average gaps, k = 0, 1, …"""
    return [report(seed=seed, gap=gap, floor=floor, k=k) for k, row in enumerate(rows) for seed, gap in enumerate(row)]


def ranked(root: Path, *rows: tuple[float, ...], floor: float | None = FLOOR) -> tuple[Ranking, list[int]]:
    """The ranking and the k of the rows it marks."""
    (group,) = groups(root, *gaps(*rows, floor=floor))
    ranking = rank(group.rows)
    return ranking, [row.setting["k"] for row in ranking.marked]


def test_rows_are_settings_over_seeds(tmp_path: Path) -> None:
    (group,) = groups(tmp_path, *gaps((0.1, 0.2, 0.3), (0.05, 0.07)))
    assert [row.label for row in group.rows] == ["top_k k=1", "top_k k=0"]  # the closest first
    assert group.rows[1].spread("average_gap") == Spread(pytest.approx(0.2), pytest.approx(0.1), 3)
    assert group.rows[0].spread("average_gap") == Spread(pytest.approx(0.06), pytest.approx(0.02 / sqrt(2)), 2)
    assert group.seeds() == "0, 1, 2"
    assert [len(row.cells) for row in (group.originals, group.retrained)] == [3, 3]
    assert group.original_gap() == Spread(pytest.approx(0.55), pytest.approx(0), 3)  # 1.0 from 0.4 and from 0.5


def test_every_row_shows_the_settings_that_vary_in_a_sweep(tmp_path: Path) -> None:
    once = report(seed=0, gap=0.1, k=0.5)
    once["choices"]["strategy"] = "random_k"
    (group,) = groups(tmp_path, *gaps((0.2,), (0.3,)), once)
    assert [row.label for row in group.rows] == ["random_k k=0.5", "top_k k=0", "top_k k=1"]


@pytest.mark.parametrize(
    ("leaves", "parts"),
    [
        ({"dataset__limit": 50}, 2),
        ({"forget__share": 0.2}, 2),
        ({"train__lr": 0.2}, 2),
        ({"trainer__precision": "bf16-mixed"}, 2),
        ({"trainer__channels_last": True}, 2),
        ({"trainer__devices": 2}, 2),
        ({"trainer__threads": 8}, 1),
        ({"dataset__root": "elsewhere", "dataset__workers": 0}, 1),
        ({"paths__store": "elsewhere"}, 1),
    ],
)
def test_only_some_settings_separate_groups(tmp_path: Path, leaves: dict[str, Any], parts: int) -> None:
    found = groups(tmp_path, report(seed=0), changed(report(seed=1), **leaves))
    assert [len(group.rows) for group in found] == [1] * parts
    assert sum(len(row.cells) for group in found for row in group.rows) == 2
    if parts == 2:
        (name, value) = next(iter(leaves.items()))
        assert found[1].distinguishing == {name.replace("__", "."): value}


def with_option(report: Report, option: str, group: str = "blend", **fields: Any) -> Report:
    """The same report with an option of a group that separates rows."""
    copy: Report = json.loads(json.dumps(report))
    copy["choices"][group] = option
    copy["config"][group] = fields
    copy["artifacts"][group] = {"key": key(group, option, fields), "status": "built", "seconds": 1.0}
    return copy


def test_with_and_without_a_blend_are_rows_of_one_table(tmp_path: Path) -> None:
    cells = [
        with_option(report(name, seed, gap=gap, k=0.1), option, **fields)
        for name in ("top_k", "random_k")
        for seed in (0, 1)
        for option, gap, fields in (("none", 0.2, {}), ("mix", 0.1, {"target": None, "drop": 0.01}))
    ]
    (group,) = groups(tmp_path, *cells)
    assert group.distinguishing == {}
    assert [(row.label, len(row.cells)) for row in group.rows] == [
        ("top_k blend=mix", 2),  # without the fields that the other option has not
        ("random_k blend=mix", 2),
        ("top_k blend=none", 2),
        ("random_k blend=none", 2),
    ]
    lines = list(csv.DictReader(io.StringIO(summary(tmp_path, *cells)[".csv"])))
    assert [line["config.blend"] for line in lines] == ["mix"] * 4 + ["none"] * 4


def test_fields_of_a_blend_separate_rows_too(tmp_path: Path) -> None:
    cells = [
        with_option(report(gap=0.3, k=0.1), "none"),
        with_option(report(gap=0.2, k=0.1), "mix", drop=0.01, steps=20),
        with_option(report(gap=0.1, k=0.1), "mix", drop=0.02, steps=20),
        with_option(report(gap=0.4, k=0.2), "none"),
    ]
    (group,) = groups(tmp_path, *cells)
    assert [row.label for row in group.rows] == [
        "top_k k=0.1 blend=mix drop=0.02",
        "top_k k=0.1 blend=mix drop=0.01",
        "top_k k=0.1 blend=none",
        "top_k k=0.2 blend=none",
    ]


@pytest.mark.parametrize(("group", "neutral", "other"), [("blend", "none", "mix"), ("retain", "full", "condensed")])
def test_a_report_from_before_a_group_is_one_without_it(tmp_path: Path, group: str, neutral: str, other: str) -> None:
    cells = [
        report(seed=0),
        with_option(report(seed=1), neutral, group),
        with_option(report(seed=2), other, group, share=0.5),
    ]
    (comparison,) = groups(tmp_path, *cells)
    rows = {row.label: [cell.report["seeds"]["train"] for cell in row.cells] for row in comparison.rows}
    assert rows == {f"top_k {group}={neutral}": [0, 1], f"top_k {group}={other}": [2]}


def test_folders_of_images_are_compared_by_path(tmp_path: Path) -> None:
    mine, theirs = report(seed=0), changed(report(seed=1), dataset__root="elsewhere")
    for each in (mine, theirs):
        del each["config"]["dataset"]["download"]
    assert len(groups(tmp_path, mine, theirs)) == 2


def test_another_option_is_named_without_its_fields(tmp_path: Path) -> None:
    other = changed(report(seed=1), dataset__classes=100)
    other["choices"]["dataset"] = "mnist"
    assert [each.title for each in groups(tmp_path, report(), other)] == ["dataset=digits", "dataset=mnist"]


def test_of_two_reports_of_a_cell_the_newer_counts(tmp_path: Path) -> None:
    found = read([write(tmp_path, report(gap=0.5), report(seed=1), report(gap=0.25))])
    assert [cell.metrics["average_gap"] for cell in found.cells] == [0.1, 0.25]
    assert found.left_out == ("1 report of a cell that has a newer one",)


def test_settings_that_do_not_change_the_unlearned_model_make_another_cell(tmp_path: Path) -> None:
    """The seed of the evaluation, the probe and the retrained models: the key of the unlearned model is the same."""
    cells = [report() for _ in range(4)]
    for number, each in enumerate(cells):
        each["seeds"]["evaluate"] = number // 3
        each["artifacts"]["spd_gan"] = {"key": key("probe", number == 1), "status": "built", "seconds": 1.0}
    cells[2]["artifacts"]["retrained_1"]["key"] = key("of another seed")
    found = read([write(tmp_path, *cells)])
    assert len(found.cells) == 4
    assert found.left_out == ()


def test_a_setting_and_seed_counts_once_if_the_code_changed(tmp_path: Path) -> None:
    older, newer = report(gap=0.5), report(gap=0.25)
    newer["artifacts"]["unlearned"]["key"] = key("of other code")
    ((group,), left) = group_cells(read([write(tmp_path, older, newer)]).cells)
    assert [cell.metrics["average_gap"] for cell in group.cells] == [0.25]
    assert left == 1


def test_p_values_are_those_of_the_t_test() -> None:
    """With two degrees of freedom the distribution has a closed form: p = 1 - t / sqrt(t² + 2)."""
    t = 0.32 / (0.02 / sqrt(3))
    assert p_value([0.30, 0.32, 0.34]) == pytest.approx(1 - t / sqrt(t * t + 2))
    assert p_value([-0.30, -0.32, -0.34]) == pytest.approx(p_value([0.30, 0.32, 0.34]))
    assert [p_value([0.1, 0.1, 0.1]), p_value([0.0, 0.0, 0.0])] == [0.0, 1.0]


def test_holm_by_hand() -> None:
    assert adjust_by_holm([0.01, 0.04, 0.03, 0.6]) == pytest.approx([0.04, 0.09, 0.09, 0.6])
    assert adjust_by_holm([0.5, 0.9]) == [1.0, 1.0]


def test_the_pareto_front_by_hand() -> None:
    points = [(0.1, 0.5), (0.2, 0.9), (0.2, 0.8), (0.3, 0.9), (0.05, 0.1), (0.1, 0.5)]
    assert pareto_front(points) == [0, 1, 4, 5]


def test_a_row_that_beats_all_others_is_marked_as_best(tmp_path: Path) -> None:
    ranking, marked = ranked(tmp_path, (0.10, 0.11, 0.12), (0.30, 0.31, 0.33), (0.40, 0.42, 0.42))
    assert (ranking.word, marked) == ("best", [0])


def test_rows_that_do_not_differ_from_the_best_are_tied(tmp_path: Path) -> None:
    ranking, marked = ranked(tmp_path, (0.10, 0.11, 0.12), (0.11, 0.10, 0.13), (0.40, 0.42, 0.42))
    assert (ranking.word, marked) == ("tied", [0, 1])


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([(0.10, 0.11, 0.12), (0.1, 0.9, 0.2)], "no row differs"),  # far, but uncertain
        ([(0.10, 0.11), (0.50, 0.51)], "no two rows have 3 common seeds"),
        ([(0.10, 0.11, 0.12)], "fewer than two rows"),
    ],
)
def test_the_reason_is_given_if_no_row_is_marked(tmp_path: Path, rows: list[Any], why: str) -> None:
    ranking, marked = ranked(tmp_path, *rows)
    assert marked == []
    assert ranking.why.startswith("No row is marked: ")
    assert why in ranking.why


@pytest.mark.parametrize(("count", "seeds"), [(2, 3), (2, 20), (8, 3), (20, 5)])
def test_equal_rows_are_rarely_marked(count: int, seeds: int) -> None:
    """At most 5 % of sweeps whose rows have the same distribution; the seeds have an effect of their own."""
    generator, runs, marked = np.random.default_rng(count * seeds), 150, 0
    for _ in range(runs):
        values = np.abs(0.05 + generator.normal(0, 0.01, (count, seeds)) + generator.normal(0, 0.01, seeds))
        marked += bool(rank([row(str(number), gaps) for number, gaps in enumerate(values)]).marked)
    assert marked / runs <= 0.05 + 2.6 * (0.05 * 0.95 / runs) ** 0.5


def row(name: str, gaps: Iterable[float]) -> Row:
    """A row with one average gap per seed, and nothing else."""
    cells = [
        Cell(Path(), {"metrics": {"average_gap": float(gap)}, "seeds": {"train": n}}, 0.0) for n, gap in enumerate(gaps)
    ]
    return Row(name, {}, tuple(cells))


def test_more_comparisons_need_smaller_p_values(tmp_path: Path) -> None:
    """p is 0.021 for the last row: enough for one comparison, not for three (Holm)."""
    best, far = (0.10, 0.10, 0.10), (0.30, 0.35, 0.42)
    close = [(0.10, 0.10, 0.11), (0.11, 0.10, 0.10)]
    assert 0.05 / 3 < p_value([b - a for a, b in zip(best, far, strict=True)]) < 0.05
    assert ranked(tmp_path / "one", best, far)[1] == [0]
    assert ranked(tmp_path / "three", best, far, *close)[1] == []


@pytest.mark.parametrize(
    ("rows", "floor", "words"),
    [
        ([(0.10, 0.12)], FLOOR, "top_k: average gap 0.110 ± 0.014"),
        ([(0.03, 0.05), (0.2, 0.2)], FLOOR, "top_k k=0, closest to retrained models of 2 settings: average gap 0.040"),
        ([(0.03, 0.05), (0.2, 0.2)], FLOOR, "(retain accuracy 1.000 → 0.905, test accuracy 0.950 → 0.900)"),
        ([(0.03, 0.05)], FLOOR, "; the original model has 0.550."),
        ([(0.6, 0.7)], None, "; no setting is closer than the original model, which has a gap of 0.550."),
        ([(None, None)], FLOOR, "without an average gap to retrained models"),
    ],
)
def test_the_verdict_describes_the_numbers(tmp_path: Path, rows: Any, floor: float | None, words: str) -> None:
    (group,) = groups(tmp_path, *gaps(*rows, floor=floor))
    assert words in verdict(group)


def test_strategies_graded_by_another_attack_are_named(tmp_path: Path) -> None:
    """Average gaps with different attacks are not comparable: every form of the summary says so."""
    cells = [report(name, k=0.1) for name in ("top_k", "random_k", "membership_loss")]
    for cell in cells:
        cell["statistics"]["average_gap"]["over"] = ["gap/forget_accuracy", f"gap/{ATTACK}"]
    same = summary(tmp_path / "same", *cells)
    cells[2]["statistics"]["average_gap"]["over"] = ["gap/forget_accuracy", f"gap/{ENTROPY_ATTACK}"]
    different = summary(tmp_path / "different", *cells)
    note = f"most contain {ATTACK}, but that of membership_loss {ENTROPY_ATTACK}"
    for form in (".md", ".html", "printed"):
        assert note in " ".join(different[form].split())
        assert "contain different metrics" not in " ".join(same[form].split())


def test_settings_that_selected_by_a_score_of_0_are_named(tmp_path: Path) -> None:
    cells = [report("top_k", k=k) for k in (0.1, 0.9)]
    note = "Some selected weights have a score of 0; they were selected by position: top_k k=0.9."
    assert note not in " ".join(summary(tmp_path / "none", *cells)[".md"].split())
    cells[1]["notes"]["selection"] = "12 of the selected weights have a score of 0"
    for form, text in summary(tmp_path / "one", *cells).items():
        assert (note in " ".join(text.split())) == (form != ".csv")


def test_csv_has_every_number_of_every_cell(tmp_path: Path) -> None:
    reports = [*gaps((0.1, 0.2), (0.3, 0.4)), report(seed=2, gap=None, k=0)]
    lines = list(csv.DictReader(io.StringIO(summary(tmp_path, *reports)[".csv"])))
    assert len(lines) == 5
    by_path = {line["report"]: line for line in lines}
    for number, each in enumerate(reports):
        line = by_path[f"{number}/report.json"]
        assert {name: line[name] for name in each["metrics"]} == {
            name: "" if value is None else str(value) for name, value in each["metrics"].items()
        }
        assert line["key.unlearned"] == each["artifacts"]["unlearned"]["key"]
        assert (line["seed.train"], line["config.strategy.k"]) == (
            str(each["seeds"]["train"]),
            str(each["config"]["strategy"]["k"]),
        )
        assert line["notes"] == "; ".join(f"{name}: {why}" for name, why in each["notes"].items())
    assert "config.train.lr" not in lines[0]  # what does not vary is in the page


def test_markdown_gives_the_number_of_values(tmp_path: Path) -> None:
    text = summary(tmp_path, *gaps((0.1, 0.2), (0.3, 0.4)), report(seed=2, gap=None, k=0))[".md"]
    row = next(line for line in text.splitlines() if line.startswith("| `top_k` k=0 "))
    assert row.split(" | ")[1] == "3"
    assert "0.150\u00a0±\u00a00.071 (n = 2) | 0.040\u00a0±\u00a00.000" in row
    assert "seeds 0, 1, 2; seeds of retrained models per run [0, 1]" in text


def test_the_printed_table_fits_eighty_letters(tmp_path: Path) -> None:
    printed = summary(tmp_path, *grid())["printed"]
    assert max(map(len, printed.splitlines())) <= 80
    assert all(f"k={k}" in printed for k in (0.001, 0.01, 0.1))
    assert "0.910±0.010" in printed


def test_times_of_different_hardware_are_not_averaged(tmp_path: Path) -> None:
    reports = gaps((0.1, 0.2), (0.3, 0.4))
    reports[1]["hardware"] = {"cpu": "other", "threads": 1}
    (group,) = groups(tmp_path, *reports)
    mixed, plain = group.rows
    assert mixed.spread("unlearned/speedup") is None
    assert mixed.reason("unlearned/speedup") == "timed on different hardware"
    assert plain.spread("unlearned/speedup") == Spread(5.0, 0.0, 2)
    texts = summary(tmp_path, *reports)
    assert "differ in hardware: cpu one, other" in texts[".html"]
    assert "average gap against time" not in texts[".html"]


def test_failed_cells_are_listed_and_their_old_reports_left_out(tmp_path: Path) -> None:
    write(tmp_path, *gaps((0.1, 0.2)))
    Note(0, ["seed=0"], DONE).write(tmp_path / "0")
    Note(1, ["seed=1"], FAILED, "disk <full>").write(tmp_path / "1")
    Note(7, ["seed=7"], RUNNING).write(tmp_path / "7")
    printed = io.StringIO()
    page = summarise([tmp_path], tmp_path, printed)[2].read_text()
    assert [cell.path.parent.name for cell in read([tmp_path]).cells] == ["0"]
    assert "cell 1 failed (seed=1): disk <full>" in printed.getvalue()
    assert "disk &lt;full&gt;" in page
    assert "still running, or killed" in page
    assert "1 report of earlier runs in the folders of failed cells" in page


def test_a_failed_cell_that_was_run_again_counts(tmp_path: Path) -> None:
    write(tmp_path, *gaps((0.1, 0.2)))
    Note(0, ["seed=0", "paths.output=one"], DONE).write(tmp_path / "0")
    Note(1, ["seed=1", "paths.output=one"], FAILED, "disk full").write(tmp_path / "1")
    (tmp_path / "1" / "report.json").rename(tmp_path / "report.json")
    assert [failure.cause for failure in read([tmp_path]).failures] == ["disk full"]
    again = tmp_path / "1" / "again-1" / "0"
    Note(0, ["seed=1", "paths.output=one/again-1"], DONE).write(again)
    (tmp_path / "report.json").rename(again / "report.json")
    found = read([tmp_path])
    assert found.failures == ()
    assert len(found.cells) == 2


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda root: (root / "0" / "report.json").unlink(), "expected a report.json at or below"),
        (lambda root: (root / "0" / "report.json").write_text("{"), "cannot be read"),
        (lambda root: (root / "0" / "report.json").write_text("[1]"), "expected an object, got a list of 1"),
        (
            lambda root: write(root, report() | {"schema_version": 2}),
            "schema_version: expected 1, got 2",
        ),
        (lambda root: (root / "0" / "cell.json").write_text("{}"), "expected the state of a cell"),
        (lambda root: (root / "sweep").write_text(""), "--into: expected a writable folder"),
    ],
    ids=["none", "torn", "other", "version", "state", "unwritable"],
)
def test_bad_input_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], spoil: Any, words: str
) -> None:
    spoil(write(tmp_path, report()))
    monkeypatch.setattr(sys, "argv", ["unlearn-report", str(tmp_path), "--into", str(tmp_path / "sweep")])
    with pytest.raises(SystemExit, match="2"):
        main()
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not list(tmp_path.rglob("sweep.*"))


def test_one_path_of_several_without_reports_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnlearnError, match="no such path"):
        read([write(tmp_path, report()), tmp_path / "nowhere"])


def test_by_default_the_summary_is_written_next_to_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["unlearn-report", str(write(tmp_path, *gaps((0.1, 0.2))))])
    main()
    assert capsys.readouterr().out.splitlines()[-3:] == [
        str(tmp_path / f"sweep.{end}") for end in ("csv", "md", "html")
    ]


def test_only_pictures_that_a_run_was_allowed_to_write_are_shown(tmp_path: Path) -> None:
    picture = "data:image/png;base64,AAAA"
    write_pictures(Examples((Example(3, 17, picture, picture, picture),), 2.5), write(tmp_path, report()) / "0")
    page = summary(tmp_path, report())[".html"]
    assert page.count(f'src="{picture}"') == 3
    assert "class 3 · index 17" in page
    write_pictures(Examples(why="private"), tmp_path / "0")  # the next run there may show none
    assert "<img" not in summary(tmp_path, report())[".html"]


def test_the_page_holds_every_row_with_its_keys_and_links(tmp_path: Path) -> None:
    reports = gaps((0.1, 0.2), (0.3, 0.4))
    write(tmp_path, *reports)
    (tmp_path / "2" / "report.html").write_text("")
    page = summary(tmp_path, *reports)[".html"]
    assert all(part["key"] in page for each in reports for part in each["artifacts"].values())
    anchors = set(re.findall(r'<details class="cell" id="([^"]+)"', page))
    assert anchors == {"cell-1-1", "cell-1-2"}
    assert set(re.findall(r'<a href="#(cell[^"]+)"', page)) == anchors
    assert set(re.findall(r'href="(\d[^"]*)"', page)) == {"2/report.html"}


@pytest.mark.parametrize("word", [None, "auto", True, [1]])
def test_a_value_that_is_no_number_has_no_place_on_an_axis(tmp_path: Path, word: Any) -> None:
    page = summary(tmp_path, *(report(k=k, clip=clip) for k in (0.1, 0.2) for clip in (word, 0.5, 1.0)))[".html"]
    assert "average gap over clip" in page
    assert "average gap over k and clip" in page


def test_text_from_users_is_escaped(tmp_path: Path) -> None:
    hostile = "<script>alert('x')</script>\"&{{ 7 * 7 }}"
    reports = [report(f"own{hostile}", seed, k=k, name=hostile) for seed in (0, 1) for k in (1, 2)]
    for each in reports:
        each["command"] = each["versions"]["torch"] = each["hardware"]["cpu"] = hostile
        each["choices"]["dataset"] = hostile
    page = summary(tmp_path, *reports)[".html"]
    assert page.count("<script>") == 1  # our own
    assert "&lt;script&gt;" in page
    assert "{{ 7 * 7 }}" in page
