"""Untrusted text on one line; that no line is a command is proved in tests/contract."""

from __future__ import annotations

import pytest

from flaude_action.untrusted import LINE_CHARS, cut, margin_lines, one_line, quoted, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07x", "x"),
        ("\x1b]8;;http://a\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\x1b(Bb", "ab"),
        ("user\u202etxt.exe", "usertxt.exe"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("bell\x07 nul\x00 del\x7f c1\x9b", "bell nul del c1"),
        ("lone \ud83d surrogate", "lone  surrogate"),
        ("tab\tand é 日本 😀", "tab\tand é 日本 😀"),
    ],
)
def test_visible(text: str, shown: str) -> None:
    """Escape sequences, controls and invisible characters go; text in any script stays."""
    assert visible(text) == shown


@pytest.mark.parametrize(
    "end", ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
)
def test_every_line_end_is_one(end: str) -> None:
    """What any reader might take for a line's end begins a new line with its own margin."""
    assert margin_lines(f"a{end}b") == ["| a", "| b"]


def test_empty_lines_stay() -> None:
    """An empty line is shown as one, and no text as no line."""
    assert margin_lines("a\n\nb\n") == ["| a", "| ", "| b"]
    assert margin_lines("") == []


def test_cut() -> None:
    """A long line ends with a note of what is missing."""
    assert cut("x" * LINE_CHARS) == "x" * LINE_CHARS
    assert cut("x" * 15, 10) == "x" * 10 + " … [5 more characters]"


def test_one_line() -> None:
    """Text in a sentence is one line of limited length, without commands in it."""
    assert one_line(" a\r\n b\t##[error]c ") == "a b ##\\[error]c"
    assert one_line("x" * 300) == "x" * 199 + "…"
    assert one_line("\x00" * 10**6) == ""


def test_quoted() -> None:
    """A quoted value cannot leave its back-ticks."""
    assert quoted("a`b") == "`a'b`"
