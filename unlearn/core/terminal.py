"""Text for terminals: control characters are escaped, and output accepts every text and a closed pipe."""

from __future__ import annotations

import codecs
import io
import os
import sys
import unicodedata
from typing import Any

ASCII_SUBSTITUTES = {"±": "+-", "×": "x", "–": "-", "−": "-", "→": "->", "…": "...", "·": ".", "\u00a0": " ", "─": "-"}


def escape_control(text: str) -> str:
    """Escape control and direction characters (`\\x1b`), except line ends and tabs.

    Names of options, files and classes come from others, and a terminal would execute what they contain.
    """
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" or not _is_control(c) else ascii(c)[1:-1] for c in text)


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")


class _Output(io.FileIO):
    """A stream that discards output once its reader has closed the pipe (`unlearn ... | head`), without an error."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            return len(data)


def harden_output() -> None:
    """Make standard output and error of this process accept every text, and a pipe that its reader closes.

    Characters that the terminal's encoding lacks are replaced by ASCII ones. Streams that a test replaced stay as they
    are.
    """
    codecs.register_error("ascii_substitutes", _substitute)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        buffer = getattr(stream, "buffer", None)
        raw = getattr(buffer, "raw", buffer)  # PYTHONUNBUFFERED leaves no buffer
        if type(raw) is io.FileIO:
            stream.flush()
            output = io.BufferedWriter(_Output(raw.fileno(), "wb", closefd=False))
            by_line = name == "stderr" or stream.line_buffering or stream.write_through
            wrapper = io.TextIOWrapper(output, stream.encoding, "ascii_substitutes", line_buffering=by_line)
            setattr(sys, name, wrapper)


def _substitute(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    return "".join(ASCII_SUBSTITUTES.get(character, "?") for character in text), error.end
