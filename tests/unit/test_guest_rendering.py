"""Claude Code's events as lines for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flaude_guest.events import parse
from flaude_guest.output import neutral
from flaude_guest.rendering import render
from flaude_guest.secrecy import Secrecy

RUNS = Path(__file__).parents[1] / "reference" / "claude-runs"


def lines(event: dict[str, Any], *, full: bool = False) -> list[str]:
    return list(render(event, full=full))


def turn(*content: Any) -> dict[str, Any]:
    return {"type": "assistant", "message": {"content": list(content)}}


def came_back(content: Any, **more: Any) -> dict[str, Any]:
    return {"type": "user", "message": {"content": [{"type": "tool_result", "content": content, **more}]}}


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("case", sorted(file.stem for file in RUNS.glob("*.jsonl")))
def test_every_recorded_event_can_be_shown(case: str, full: bool) -> None:
    """No recorded run breaks the rendering, and no line holds a line break."""
    for raw in (RUNS / f"{case}.jsonl").read_bytes().splitlines():
        event = parse(raw)
        shown = list(render(event, full=full)) if event is not None else []
        assert not [line for line in shown if "\n" in line]


@pytest.mark.parametrize("hider", ["\x1b[0m", "\x01", "\x1b]0;title\x07", "\x7f", "\b", "\u202e"])
@pytest.mark.parametrize("name", ["command", "content"])
@pytest.mark.parametrize("full", [False, True])
def test_what_cannot_be_seen_hides_no_secret(hider: str, name: str, full: bool) -> None:
    """Neither in a tool's telling input nor in JSON, and not where it is cut."""
    secret = "sk-ant-oat01-" + "c0ffee42" * 6
    secrecy = Secrecy([secret])
    for before in ("", "x" * 170):
        text = before + " " + secret[:20] + hider + secret[20:] + "\\u001b"
        event = turn({"type": "tool_use", "name": "Bash", "input": {name: text}})
        (shown,) = render(event, full=full, secrecy=secrecy)
        told = neutral(shown, secrecy)
        assert "c0ffee42" not in told
        assert "***" in told


def test_a_short_run_reads_well() -> None:
    """What it said, what it used, what came back, how it ended."""
    assert lines({"type": "system", "subtype": "init", "claude_code_version": "2.1.330", "model": "m"}) == [
        "Claude Code 2.1.330, model m"
    ]
    use = {"type": "tool_use", "name": "Bash", "input": {"command": "echo a \\\n && b", "description": "d"}}
    assert lines(turn({"type": "text", "text": "one\ntwo"}, use)) == ["one", "two", "> Bash: echo a \\ && b"]
    assert lines(came_back("1\n2\n3\n4\n5\n6\n7")) == [
        "  | 1", "  | 2", "  | 3", "  | 4", "  | 5", "  | ... 2 more lines",
    ]  # fmt: skip
    assert lines(came_back([{"type": "text", "text": "no"}, {"type": "image"}], is_error=True)) == [
        "  ! no",
        "  ! (not text)",
    ]
    result = {
        "type": "result",
        "is_error": False,
        "subtype": "success",
        "num_turns": 2,
        "total_cost_usd": 0.01,
    }
    assert lines(result) == ["Claude Code ended: success, 2 turns, 0.0100 USD"]


def test_full_output_shortens_nothing() -> None:
    """With show_full_output every line and every argument is there."""
    long = "x" * 1000
    assert len(lines(came_back("\n".join("12345678")), full=True)) == 8
    use = turn({"type": "tool_use", "name": "Write", "input": {"file_path": "f", "content": long}})
    assert long in lines(use, full=True)[0]
    assert long not in lines(use)[0]
    thought = turn({"type": "thinking", "thinking": "hm"})
    assert (lines(thought), lines(thought, full=True)) == ([], ["hm"])


@pytest.mark.parametrize(
    "event",
    [turn(7, None), {"type": "assistant"}, {"type": "user", "message": {"content": "x"}}, {"type": 7}, {},
     came_back(None), came_back(7), turn({"type": "text", "text": None}), turn({"type": "tool_use"}),
     {"type": "rate_limit_event", "rate_limit_info": None}, {"type": "system"}, {"type": "result"}],
)  # fmt: skip
def test_strange_events_do_not_break_it(event: dict[str, Any]) -> None:
    """Whatever the shape, there are only strings."""
    for full in (False, True):
        assert all(isinstance(line, str) for line in lines(event, full=full))


def test_a_model_that_cannot_be_reached() -> None:
    """A request without an HTTP answer is told as that, and any other with its status."""
    again = {"type": "system", "subtype": "api_retry", "attempt": 1, "max_retries": 10, "retry_delay_ms": 592}
    assert lines({**again, "error_status": None, "error": "unknown"}) == [
        "no answer from the model API: attempt 1 of 10, again in 592 ms"
    ]
    assert lines({**again, "error_status": 529, "error": "overloaded"}) == [
        "model API error 529 (overloaded): attempt 1 of 10, again in 592 ms"
    ]


@pytest.mark.parametrize("cost", [10**400, float("inf"), "much", None, True])
def test_a_price_that_is_none(cost: Any) -> None:
    """A result with a strange price is shown without one."""
    event = {
        "type": "result",
        "is_error": False,
        "subtype": "success",
        "num_turns": 1,
        "total_cost_usd": cost,
    }
    assert list(render(event, full=True)) == ["Claude Code ended: success, 1 turns"]
