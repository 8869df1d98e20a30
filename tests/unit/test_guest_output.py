"""Guest stdout: untrusted text made harmless, lines counted, a reader that went away survived."""

from __future__ import annotations

import os

import pytest

from flaude_guest import protocol
from flaude_guest.output import LINE_MAX_BYTES, Output, neutral, pieces


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain\ttext ü", "plain\ttext ü"),
        ("\x1b[31mred\x1b[0m \x1b]0;title\x07end", "red end"),
        ("a\rb\x00c\x7f\x9b", "abc"),
        ("one\u2028two\u202ethree\u061c", "onetwothree"),
        ("[flaude:exit:0]", "[flaude\\:exit:0]"),
        ("[fl\x00aude:exit:0]", "[flaude\\:exit:0]"),
        ("[flaude\x1b[0m:exit:0]", "[flaude\\:exit:0]"),
        ("half \ud800 pair", "half ? pair"),
    ],
)
def test_text_is_made_harmless(text: str, line: str) -> None:
    """Controls and escapes vanish, and no marker survives, not even one that vanishing would join."""
    assert neutral(text) == line


@pytest.mark.parametrize("letter", ["x", "ü", "\U0001f600", "[flaude:exit:0]"])
def test_long_lines_come_in_pieces(letter: str) -> None:
    """A line is at most 8 KiB; a longer one is several, none of them a marker, and nothing of it is lost."""
    line = neutral("ab" + letter * 10_000)
    lines = list(pieces(line))
    assert max(len(each.encode()) for each in lines) <= LINE_MAX_BYTES
    assert "".join(lines) == line
    assert protocol.last_exit_marker(lines) is None


def test_lines_are_counted_and_the_exit_line_is_the_last() -> None:
    """Everything written is one line each; after the exit line nothing more comes."""
    reader, writer = os.pipe()
    output = Output(writer)
    output.say("hello\nworld")
    output.pass_on("text")
    output.event({"seq": 1, "type": "boot"})
    assert output.lines == 3
    output.exit(7)
    output.say("too late")
    os.close(writer)
    with os.fdopen(reader) as file:
        assert file.read().splitlines() == [
            "[flaude] helloworld",
            "text",
            '[flaude:event:{"seq":1,"type":"boot"}]',
            "[flaude:exit:7]",
        ]


def test_secrets_are_hidden() -> None:
    """A known secret never reaches the log, also when controls are strewn into it; short words stay."""
    reader, writer = os.pipe()
    output = Output(writer)
    output.hide(["sk-ant-0123", "short"])
    output.pass_on("key=sk-ant-0123, sk-\x1b[0mant-01\x0023, short")
    output.say("it was sk-ant-0123")
    os.close(writer)
    with os.fdopen(reader) as file:
        assert file.read() == "key=***, ***, short\n[flaude] it was ***\n"


def test_a_reader_that_went_away_is_survived() -> None:
    """The work goes on when nobody reads the log."""
    reader, writer = os.pipe()
    os.close(reader)
    output = Output(writer)
    output.say("nobody hears this")
    output.say("nor this")
    os.close(writer)
    assert output.lines == 1
