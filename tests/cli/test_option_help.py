"""`unlearn help` prints what `make conf` wrote into `conf/`."""

from __future__ import annotations

import sys

import pytest

from unlearn.cli.option_help import (
    NO_SETTINGS,
    Option,
    Setting,
    describe_topics,
    insert_block,
    read_option,
    read_options,
)
from unlearn.cli.run import main
from unlearn.core.errors import ConfigError

OPTIONS = read_options()
LONG = Setting(
    "k", "${scaled:${train.lr},0.1}", "of the eligible weights, " * 9 + "those that move", "a fraction in [0, 1]"
)


def describe(*topics: str) -> str:
    return describe_topics(topics, OPTIONS)


@pytest.mark.parametrize("settings", [(), (LONG,), (LONG, Setting("recipe.lr", "0.1", "", "a number > 0"))])
@pytest.mark.parametrize("body", ["defaults:\n  - _self_\n", "# Ours.\n# Slow.\nk: 1\n", "# @package _global_\nk: 1\n"])
def test_what_is_written_into_a_file_is_read_again(settings: tuple[Setting, ...], body: str) -> None:
    option = Option("strategy", "cut", "Cut some weights. " * 9 + "Done.", settings)
    text = insert_block(body, option.block())
    own_words = " Ours. Slow." if "Ours" in body else ""
    assert read_option("strategy", "cut", text) == option._replace(summary=option.summary + own_words)
    assert (NO_SETTINGS in text) == (not settings)
    assert max(map(len, text.splitlines())) <= 120


def test_writing_twice_changes_nothing_and_keeps_the_rest() -> None:
    old, new = (Option("strategy", "cut", summary, (LONG,)).block() for summary in (r"Old \1.", r"New \1."))
    body = "# @package _global_\n# Ours.\ndefaults:\n  - _self_\n"
    text = insert_block(insert_block(body, old), new)
    assert text == insert_block(body, new)
    assert text.replace(new, "") == body
    assert text.startswith("# @package")  # Hydra reads it in the first lines only


def test_an_option_is_printed_with_its_settings() -> None:
    text = describe("strategy=top_k")
    assert text.startswith("strategy=top_k\n  Top-K (Zuo et al. 2025): perturb the K parameters")
    assert (
        "  strategy.k=0.1\n      of the eligible weights, those that are perturbed\n      expected: a fraction" in text
    )
    assert "  strategy.mode=reinitialise\n      how entries change\n      expected: one of reinitialise, add" in text
    assert "  strategy.selection=top_k\n" in text


def test_a_group_is_printed_with_one_line_for_each_option() -> None:
    text = describe("retain")
    assert "  condensed\n      Replace clusters" in text
    assert "  full\n      The whole retain set." in text


def test_a_setting_is_printed_with_the_options_that_have_it() -> None:
    text = describe("strategy.k")
    assert text.count("  strategy.k=") > 2
    assert "      of strategy=random_k, strategy=top_k" in text
    assert describe("strategy.k=0.1") == text


@pytest.mark.parametrize("topic", ["attacks.lira", "attacks=lira"])
def test_an_attack_is_named_as_option_or_as_key(topic: str) -> None:
    assert describe(topic).startswith("attacks=lira\n  LiRA, online")
    assert describe(topic).count("attacks.lira.models=16") == 1


@pytest.mark.parametrize(
    ("topic", "part"),
    [
        ("seed", "  seed=0\n"),
        ("report", "  report.html=true\n"),
        ("train.lr", "  train.lr=0.75\n"),  # of train=whitened
        ("strategy.recipe.lr", "strategy/recipe=replayed"),
        ("strategy=published/finetune", "schedule: constant"),
        ("strategy/selection=top_k", "strategy.selection.sensitivity.score=mean_gradient"),
        ("+experiment=demo", "label_noise: 0.2"),
        ("metrics=full", "- relearn_time"),
    ],
)
def test_topics_of_all_kinds(topic: str, part: str) -> None:
    assert part in describe(topic)


def test_unknown_topics_are_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        describe("strategy.kk", "strategy", "strategy=topk")
    first, second = caught.value.problems
    assert "(nearest: strategy.k), got 'strategy.kk'" in first
    assert "(nearest: strategy=top_k), got 'strategy=topk'" in second


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["unlearn", *arguments])
    main()


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(monkeypatch, "help", "strategy=top_k", "seed")
    printed = capsys.readouterr().out
    assert printed.startswith("strategy=top_k\n")
    assert "\n  seed=0\n" in printed
    run(monkeypatch, "help")
    assert "unlearn help strategy=top_k" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, "help", "nonsense")
    assert "help: expected a group, an option or a setting" in capsys.readouterr().err
