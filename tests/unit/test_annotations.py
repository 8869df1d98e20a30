"""What an annotation says, how long it may be, and which places of a machine are believed."""

from __future__ import annotations

from typing import Any

import pytest

from flaude_action.annotations import (
    FINDINGS,
    MESSAGE_CHARS,
    Finding,
    error_message,
    fitting,
    read_findings,
    utf16_units,
)
from flaude_action.errors import FlaudeError

GOOD: dict[str, Any] = {"file": "src/a.c", "line": 3, "column": 14, "message": "expected ;"}


def test_the_lines_that_fit() -> None:
    """What must be read is always there; of the log there is as much of the end as fits, in order."""
    lines = [f"{number} {'x' * 300}" for number in range(100)]
    error = FlaudeError("setup_command_failed", details="It ended with exit code 2.").as_json()
    text = error_message(error, "y" * 9000, lines)
    assert len(text) <= MESSAGE_CHARS
    head, _, shown = text.partition("\n\nLast lines of the log:\n")
    assert head.split("\n")[-2] == f"Reference: {error['ref']}"
    numbers = [int(line.split(" ")[0]) for line in shown.split("\n")]
    assert numbers == list(range(numbers[0], 100))
    assert len(numbers) >= 5


def test_characters_that_count_twice() -> None:
    """GitHub counts UTF-16: a line of emoji takes twice the room of its characters."""
    error = FlaudeError("setup_command_failed").as_json()
    text = error_message(error, "", ["\U0001f4a5" * 350] * 20)
    assert utf16_units(text) <= MESSAGE_CHARS
    assert text.count("\U0001f4a5") == 350 * 5


@pytest.mark.parametrize(
    ("text", "limit", "cut"),
    [
        ("abcd", 4, "abcd"),
        ("abcde", 4, "abc…"),
        ("a\U0001f4a5b", 4, "a\U0001f4a5b"),
        ("a\U0001f4a5bc", 4, "a\U0001f4a5…"),
        ("ab\U0001f4a5c", 4, "ab…"),
    ],
)
def test_what_fits(text: str, limit: int, cut: str) -> None:
    """A character that counts twice is there or not, never half."""
    assert fitting(text, limit) == cut


def test_no_lines_no_heading() -> None:
    """A failure without a log says nothing of one."""
    text = error_message(FlaudeError("prompt_missing").as_json())
    assert "Last lines" not in text
    assert "own words" not in text


def test_lines_cannot_speak_for_the_runner() -> None:
    """A log line in an annotation cannot be taken for a marker of the runner's."""
    text = error_message(FlaudeError("agent_error").as_json(), "", ["##[group]x"])
    assert text.endswith("\n##\\[group]x")


def test_findings() -> None:
    """A place is taken over as it is; its message becomes one line."""
    document = {"findings": [GOOD, GOOD | {"column": None, "message": "a\r\n::error::b\x1b[31m"}]}
    assert read_findings(document) == (
        Finding("src/a.c", 3, 14, "expected ;"),
        Finding("src/a.c", 3, None, "a ::error::b"),
    )


@pytest.mark.parametrize(
    "change",
    [
        {"file": "/etc/passwd"}, {"file": "../a"}, {"file": "a/../b"}, {"file": "./a"}, {"file": ""},
        {"file": 1},
        {"file": "a\nb"}, {"file": "a\x1b[31m"}, {"file": "x" * 301}, {"file": "a::b"}, {"file": "a//b"},
        {"file": ".git/hooks/pre-commit"}, {"file": "sub/.GIT/config"},
        {"file": "a\u202eb"}, {"line": 0}, {"line": -1}, {"line": True}, {"line": "3"}, {"line": 10**9},
        {"message": ""}, {"message": None}, {"message": "\x1b[31m"},
    ],
)  # fmt: skip
def test_findings_that_are_none(change: dict[str, Any]) -> None:
    """Whatever a machine says, a place outside of the repository or of no sense is none."""
    assert read_findings({"findings": [GOOD | change]}) == ()


@pytest.mark.parametrize("findings", [None, "x", {}, [1, None, []], [GOOD] * 50])
def test_findings_of_any_shape(findings: object) -> None:
    """Nothing that is not a list of places breaks the report, and there are never too many."""
    assert len(read_findings({"findings": findings})) in (0, FINDINGS)
    assert read_findings({}) == ()
