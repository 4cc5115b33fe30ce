"""Prints the settings of options: `unlearn help strategy=top_k`.

Reads the descriptions that `make conf` writes into `conf/`, since importing the classes would take seconds.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from unlearn.cli.help import CONF, option_files
from unlearn.core.errors import ConfigError, Problem, nearest

WIDTH = 120
START, END, NO_SETTINGS = "# [make conf] ", "# [end]", "# No settings."
BLOCK = re.compile(rf"^{re.escape(START)}.*?^{re.escape(END)}\n", re.MULTILINE | re.DOTALL)
SETTING = re.compile(r"#   (\S+): (.*?)  # (.*)")
CONTINUATION = "#       # "
GLOBAL_PACKAGE = "# @package _global_"
MEASURES = ("metrics", "attacks")  # groups of which a run has several options, each under its own name


class Setting(NamedTuple):
    """One setting of an option: its name within the option, and its default, meaning and valid values in words."""

    name: str
    default: str
    meaning: str
    expected: str

    def lines(self) -> list[str]:
        """Return it as comment lines of YAML."""
        first, text = f"#   {self.name}: {self.default}  # ", " | ".join(filter(None, (self.meaning, self.expected)))
        indents = {"initial_indent": first, "subsequent_indent": CONTINUATION}
        return textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False, **indents)  # type: ignore[arg-type]


class Option(NamedTuple):
    """An option of a group; the group of the settings that belong to no group is empty."""

    group: str
    name: str
    summary: str
    settings: tuple[Setting, ...] = ()
    contents: str = ""  # the YAML of an option that stands for no class: a list of others, a preset, an experiment

    @property
    def title(self) -> str:
        """How a user chooses it."""
        return f"{self.group}={self.name}" if self.group else self.name

    @property
    def prefix(self) -> str:
        """What stands before the names of its settings in overrides: `strategy.`, `attacks.lira.`."""
        path = [*self.group.split("/")] + [self.name] * (self.group in MEASURES)
        return "".join(f"{part}." for part in path if part)

    def settings_by_key(self) -> dict[str, Setting]:
        """Return its settings by their keys on the command line."""
        return {self.prefix + setting.name: setting for setting in self.settings}

    def block(self) -> str:
        """Return its description as comment lines of YAML; `read_option` reads it."""
        summary = textwrap.wrap(self.summary, WIDTH - 2, break_long_words=False, break_on_hyphens=False)
        lines = [START + self.title, *(f"# {line}" for line in summary)]
        lines.append(f"# Settings, as {self.prefix}NAME=VALUE:" if self.settings else NO_SETTINGS)
        for setting in self.settings:
            lines += setting.lines()
        return "".join(f"{line}\n" for line in (*lines, END))


def insert_block(text: str, block: str) -> str:
    """Replace the description in the text of an option's file, or put it first, below the line that Hydra reads."""
    if BLOCK.search(text):
        return BLOCK.sub(lambda _: block, text, count=1)
    package, rest = (f"{GLOBAL_PACKAGE}\n", text.removeprefix(f"{GLOBAL_PACKAGE}\n"))
    return package + block + rest if text.startswith(package) else block + text


def read_option(group: str, name: str, text: str) -> Option:
    """Read the description of an option from the text of its file."""
    match = BLOCK.search(text)
    own_words = " ".join(_leading_comments(text.replace(match[0], "") if match else text))
    if match is None:
        return Option(group, name, own_words, contents=re.sub(r"\A(#.*\n)*", "", text))
    lines = match[0].splitlines()[1:-1]
    end = next(i for i, line in enumerate(lines) if line.startswith("# Settings, as ") or line == NO_SETTINGS)
    summary = " ".join(line.removeprefix("# ") for line in lines[:end])
    text_of_settings = "\n".join(lines[end + 1 :]).replace(f"\n{CONTINUATION}", " ")
    settings = tuple(_read_setting(line) for line in text_of_settings.splitlines())
    return Option(group, name, " ".join(filter(None, (summary, own_words))), settings)


def _read_setting(line: str) -> Setting:
    match = SETTING.fullmatch(line)
    assert match is not None, line
    meaning, _, expected = match[3].rpartition(" | ")
    return Setting(match[1], match[2], meaning, expected)


def _leading_comments(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if not line.startswith("#"):
            return
        if not line.startswith("# @"):
            yield line.removeprefix("# ")


def read_options(conf: Path = CONF) -> list[Option]:
    """Read the descriptions of all options of a folder like `conf/`, and of the settings of no group."""
    main = read_option("", "unlearn", (conf / "config.yaml").read_text(encoding="utf-8"))
    files = option_files(conf)
    return [main, *(read_option(group, name, path.read_text(encoding="utf-8")) for group, name, path in files)]


def describe_topics(topics: Sequence[str], options: Sequence[Option]) -> str:
    """Return what `unlearn help TOPIC...` prints.

    Args:
        topics: groups (`strategy`), options (`strategy=top_k`) or settings (`strategy.k`).
        options: the settings of no group, then all options.

    Raises:
        ConfigError: For every topic that is none of these, with the nearest one.
    """
    texts = {topic: _describe(topic.lstrip("+"), options) for topic in topics}
    names = _topics(options)
    expected = "a group, an option or a setting, as strategy, strategy=top_k or strategy.k"
    unknown = [Problem("help", expected + nearest(topic, names), topic) for topic, text in texts.items() if not text]
    if unknown:
        raise ConfigError(unknown)
    return "\n\n".join(texts.values())


def _topics(options: Iterable[Option]) -> list[str]:
    groups = dict.fromkeys(option.group for option in options if option.group)
    return [
        *groups,
        *(option.title for option in options),
        *(key for option in options for key in option.settings_by_key()),
    ]


def _describe(topic: str, options: Sequence[Option]) -> str:
    """Return the text of one topic; empty if it is unknown."""
    for option in options:
        if topic == option.title or (option.group in MEASURES and f"{topic}." == option.prefix):
            return _describe_option(option)
    if members := [option for option in options if option.group == topic]:
        return _describe_group(topic, members)
    key, _, value = topic.partition("=")
    is_wrong_option = value and any(option.group == key for option in options)
    return "" if is_wrong_option else _describe_settings(key, options)


def _describe_option(option: Option) -> str:
    lines = [option.title, *_wrap(option.summary, "  "), *(f"  {line}" for line in option.contents.splitlines())]
    for key, setting in option.settings_by_key().items():
        lines += ["", *_setting_lines(key, setting)]
    return "\n".join(lines)


def _describe_group(group: str, members: Sequence[Option]) -> str:
    lines = [f"{group}: one of these; `unlearn help {group}=NAME` prints the settings of one"]
    for option in members:
        lines += [f"  {option.name}", *_wrap(option.summary, "      ")]
    return "\n".join(lines)


def _describe_settings(key: str, options: Sequence[Option]) -> str:
    """Describe all settings of a key or below it, each with the options that have it."""
    owners: dict[tuple[str, Setting], list[str]] = {}
    for option in options:
        for name, setting in option.settings_by_key().items():
            if f"{name}.".startswith(f"{key}."):
                owners.setdefault((name, setting), []).append(option.title)
    lines = list[str]()
    for (name, setting), titles in owners.items():
        of_options = [] if titles == [options[0].title] else _wrap(f"of {', '.join(titles)}", "      ")
        lines += ["", *_setting_lines(name, setting), *of_options]
    return "\n".join(lines[1:])


def _setting_lines(key: str, setting: Setting) -> list[str]:
    meaning, expected = _wrap(setting.meaning, "      "), _wrap(f"expected: {setting.expected}", "      ")
    return [f"  {key}={setting.default}", *meaning, *expected]


def _wrap(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
