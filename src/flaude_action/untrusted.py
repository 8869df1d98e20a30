"""Text from machines, models, pull requests and APIs, made safe to show on one line or in the step log.

Only the form of text changes here: no line of it can be read by the runner as a command, nor rearrange what a
reader sees. Taking secrets out is `redaction`'s; Markdown is `summary`'s; printing is `report`'s.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MARGIN = "| "
"""Stands before every untrusted line. The runner takes `::command::` only at the start of a line (white space
apart), so a line that starts with a visible character is never one.
https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands"""

LINE_CHARS = 4000
"""Longer lines are cut in the step log; the log file has more of them."""
TEXT_CHARS = 32 * 1024
"""Longer lines are cut before anything else is done with them; our guest's have at most 8 KiB. So much text
at a time, whatever it is, also keeps nobody waiting for longer than 50 ms."""
PORTION_CHARS, PORTION_LINES = 16 * 1024, 1000
"""Shorter lines are handled so many at a time, for the same reason."""

# Whole escape sequences first, or their visible remains ("[31m") would litter the log.
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b\][^\x07\x1b\r\n]*(?:\x07|\x1b\\)?"  # OSC: titles, links
    r"|\x1b[ -/]*[0-~]"
)
# Controls other than tab and the line terminators; what Unicode calls default ignorable (zero width, bidi,
# variation selectors), because .NET compares strings as if they were absent; lone surrogates.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff\ud800-\udfff]"
)
_INVISIBLE_ASCII = dict.fromkeys(code for code in range(128) if _INVISIBLE.match(chr(code)))


def visible(text: str) -> str:
    """The text without escape sequences and invisible characters; line terminators stay, all of them."""
    # In parts, or the list of what is between them would be many times as large as the text.
    return _visible(text) if len(text) <= TEXT_CHARS else "".join(map(_visible, _parts(text)))


def _visible(text: str) -> str:
    if "\x1b" in text:
        text = _ESCAPES.sub("", text)
    # Most of every log, and ten times as fast.
    return text.translate(_INVISIBLE_ASCII) if text.isascii() else _INVISIBLE.sub("", text)


def _parts(text: str) -> Iterator[str]:
    """The text in parts that no escape sequence reaches over."""
    at = 0
    while at < len(text):
        end = text.rfind("\x1b", at + 1, at + TEXT_CHARS)
        if end < 0:
            sequence = _ESCAPES.match(text, at)
            end = max(at + TEXT_CHARS, sequence.end() if sequence is not None else 0)
        yield text[at:end]
        at = end


def margin_lines(text: str) -> list[str]:
    """Untrusted text as lines that may go to the step log: none is a workflow command of either grammar.

    `##[name]` is a command anywhere in a line, hence the backslash, which is the runner's own way out:
    https://github.com/actions/runner (`OutputManager`).
    """
    return [MARGIN + line for line in visible(text).replace("##[", "##\\[").splitlines()]


def portions(texts: Iterable[str]) -> Iterator[tuple[list[str], str]]:
    """What can be seen of untrusted texts as lines: a bounded number of bounded lines at a time, never none.

    With them comes what was cut off the last one, as far as a secret could reach from it into what follows:
    the end of a secret must not be shown because its beginning was not.
    """
    short: list[str] = []
    room = PORTION_CHARS
    for text in texts:
        if short and len(text) >= room:
            yield from _portions("\n".join([*short, ""]), "")
            short, room = [], PORTION_CHARS
        if len(text) > room:
            yield from _portions(text[:TEXT_CHARS], text[TEXT_CHARS:])
        else:
            short.append(text)
            room -= len(text) + 1
    yield from _portions("\n".join([*short, ""] if short else []), "")


def _portions(text: str, missing: str) -> Iterator[tuple[list[str], str]]:
    lines = visible(text).splitlines()
    if missing:
        lines[-1:] = ["".join(lines[-1:]) + _missing(len(missing))]
    if lines and len(lines) <= PORTION_LINES and len(text) <= PORTION_CHARS:
        yield lines, ""
        return
    start = 0
    while start < len(lines):
        end, room = start, PORTION_CHARS
        while end < min(len(lines), start + PORTION_LINES) and (room >= len(lines[end]) or end == start):
            room -= len(lines[end])
            end += 1
        yield lines[start:end], missing[-TEXT_CHARS:] if end == len(lines) else ""
        start = end


def _missing(count: int) -> str:
    return f" … [{count} more characters]"


def cut(line: str, limit: int = LINE_CHARS) -> str:
    """A line of at most `limit` characters and a note of how many are missing."""
    return line if len(line) <= limit else line[:limit] + _missing(len(line) - limit)


def one_line(text: str, limit: int = 200) -> str:
    """Untrusted text for the middle of a sentence: one visible line of at most `limit` characters."""
    line = " ".join(visible(text[: limit * 8]).replace("##[", "##\\[").split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def quoted(value: str) -> str:
    """An untrusted value between back-ticks it cannot leave, cut at 60 characters; for error messages."""
    return f"`{one_line(value, 60).replace('`', chr(39))}`"
