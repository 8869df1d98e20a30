"""How a step's output looks on a run's page."""

from __future__ import annotations

from flaude_action.rehearsal.log import Annotation, StepLog


def shown(*lines: str) -> list[str]:
    """What a reader sees of these lines."""
    log = StepLog()
    return [seen for line in lines for seen in log.feed(line)]


def test_plain_lines() -> None:
    """Lines that are no commands are shown as they are."""
    assert shown("hello", " ::error::indented", "a ::error::b") == [
        "hello",
        " ::error::indented",
        "a ::error::b",
    ]


def test_masks() -> None:
    """What was masked is never shown again, in lines, titles and messages; each line of a mask counts."""
    log = StepLog()
    assert log.feed("::add-mask::s3cret%0Aother") == []
    assert log.feed("is s3cret and other") == ["is *** and ***"]
    log.feed("::error title=s3cret::no other")
    assert log.annotations == [Annotation("error", "***", "no ***")]


def test_annotations() -> None:
    """Errors, warnings and notices are shown in the log and collected, with escapes undone."""
    log = StepLog()
    lines = log.feed("::error title=Fly%3A no,file=a.py::50%25%0Adone")
    log.feed("::warning::careful")
    assert lines == ["Error: 50%", "done"]
    assert log.annotations == [
        Annotation("error", "Fly: no", "50%\ndone"),
        Annotation("warning", "", "careful"),
    ]


def test_an_escape_is_undone_once() -> None:
    """An escaped percent sign does not make a new escape."""
    assert shown("::notice::%250A") == ["Notice: %0A"]


def test_groups() -> None:
    """A group has its title, and its lines are set in."""
    assert shown("::group::Boot", "one", "::endgroup::", "two") == ["▾ Boot", "    one", "two"]


def test_unseen_commands() -> None:
    """Debug lines and unknown commands are not shown."""
    assert shown("::debug::x", "::save-state name=a::b") == []


def test_stopped_commands() -> None:
    """While commands are stopped they are text, until the very token comes."""
    lines = ("::stop-commands::tok", "::error::not ours", "::other::", "::tok::", "::error::ours")
    assert shown(*lines) == ["::error::not ours", "::other::", "Error: ours"]
