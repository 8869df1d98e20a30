"""The result document: whatever the agent's stream says, it stays small, plain, and true to the verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flaude_guest import events, protocol
from flaude_guest.agent import AgentRun
from flaude_guest.changeset import Changeset
from flaude_guest.conversation import Conversation
from flaude_guest.judgement import judge
from flaude_guest.outcome import Outcome
from flaude_guest.processes import Ended
from flaude_guest.secrecy import Secrecy

CLEAN = Ended(0, None)
TURN = {"type": "assistant", "message": {"model": "m", "content": [{"type": "text", "text": "hi"}]}}
GOOD = {
    "type": "result",
    "subtype": "success",
    "is_error": False,
    "terminal_reason": "completed",
    "num_turns": 1,
    "total_cost_usd": 0.5,
    "result": "done",
}
DEPTH = 900


def outcome_of(*lines: str) -> Outcome:
    """Claude Code printed these lines and exited with 0."""
    said = Conversation()
    for line in ('{"type":"system","subtype":"init"}', *lines):
        event = events.parse(line.encode())
        if event is not None:
            said.note(event, 1000.0)
    outcome = Outcome()
    outcome.agent_ended(AgentRun(CLEAN, said, ""), judge(said, CLEAN), "session", 0)
    return outcome


def document(outcome: Outcome) -> dict[str, Any]:
    """As the host reads it: whole, in one exec answer."""
    text = protocol.canonical_json(outcome.document("n" * 16, Path("/nonexistent")))
    assert len(text) < 900_000
    assert not [word for word in ("NaN", "Infinity") if word in text]
    read: dict[str, Any] = json.loads(text)
    return read


@pytest.mark.parametrize(
    ("field", "text", "told"),
    [
        ("total_cost_usd", "0.5", ("cost_usd", 0.5)),
        ("total_cost_usd", "1e999", ("cost_usd", None)),
        ("total_cost_usd", "1" + "0" * 400, ("cost_usd", None)),
        ("total_cost_usd", "-1", ("cost_usd", None)),
        ("total_cost_usd", '"much"', ("cost_usd", None)),
        ("num_turns", "7", ("num_turns", 7)),
        ("num_turns", "true", ("num_turns", None)),
        ("num_turns", "[[]]", ("num_turns", None)),
    ],
)
def test_numbers_are_numbers(field: str, text: str, told: tuple[str, Any]) -> None:
    """A number of the stream is in the result as one that any reader can hold, or not at all."""
    event = json.dumps({**GOOD, field: "HERE"}).replace('"HERE"', text)
    assert document(outcome_of(json.dumps(TURN), event))["agent"][told[0]] == told[1]


@pytest.mark.parametrize("value", ["x" * 10_000_000, ["x"] * 1_000_000, {"a": "b"}, 7])
def test_words_are_short(value: Any) -> None:
    """Codes that are none neither fill the document nor change its shape."""
    told = document(
        outcome_of(json.dumps(TURN), json.dumps({**GOOD, "subtype": value, "terminal_reason": value}))
    )
    assert (told["agent"]["subtype"], told["agent"]["terminal_reason"]) == (None, None)
    assert told["error"]["type"] == "agent_error"


def test_the_longest_text_fits() -> None:
    """A final text of controls and a list of denials still leave a document that one answer can carry."""
    denials = [{"tool_name": "\u0001" * 1000}] * 1000
    event = {**GOOD, "result": "\u0001" * 1_000_000, "permission_denials": denials}
    told = document(outcome_of(json.dumps(TURN), json.dumps(event)))
    assert told["ok"] is True
    assert len(told["agent"]["result"]) == 64 * 1024


@pytest.mark.parametrize(
    ("denied", "files", "type_", "warned"),
    [
        (2, 0, "permission_blocked", []),
        (2, 1, None, ["permission_blocked"]),
        (2, None, None, ["permission_blocked"]),
        (0, 0, None, []),
    ],
    ids=["nothing changed", "changed", "no repository", "nothing denied"],
)
def test_denied_tools(denied: int, files: int | None, type_: str | None, warned: list[str]) -> None:
    """With tools denied and nothing changed it is no success; with a change, or no repository, a warning."""
    outcome = outcome_of(
        json.dumps(TURN), json.dumps({**GOOD, "permission_denials": [{"tool_name": "Edit"}] * denied})
    )
    if files is not None:
        outcome.changeset_taken(Changeset("d" * 64, files, 0, 0))
    told = document(outcome)
    assert (told["error"] or {}).get("type") == type_
    assert told["exit_code"] == (1 if type_ else 0)
    assert [warning["type"] for warning in told["warnings"]] == warned


def test_denied_tools_do_not_hide_another_failure() -> None:
    """A run that failed anyway keeps its type, and the denied tools stay a warning."""
    failed = {**GOOD, "subtype": "error_max_turns", "permission_denials": [{"tool_name": "Edit"}]}
    outcome = outcome_of(json.dumps(TURN), json.dumps(failed))
    outcome.changeset_taken(Changeset("d" * 64, 0, 0, 0))
    told = document(outcome)
    assert told["error"]["type"] == "max_turns_reached"
    assert [warning["type"] for warning in told["warnings"]] == ["permission_blocked"]


def test_a_structured_answer() -> None:
    """What the model answered is handed on as it is."""
    answer = {"a": [1, None, "x"]}
    event = json.dumps({**GOOD, "structured_output": answer})
    assert document(outcome_of(json.dumps(TURN), event))["agent"]["structured_output"] == answer


@pytest.mark.parametrize("text", ['"' + "x" * 1_000_000 + '"', "1e999"], ids=["large", "infinite"])
def test_a_structured_answer_that_cannot_be_handed_on(text: str) -> None:
    """It is a failure: a success without what was asked for would be a lie."""
    event = json.dumps({**GOOD, "structured_output": "HERE"}).replace('"HERE"', text)
    told = document(outcome_of(json.dumps(TURN), event))
    assert told["error"]["type"] == "structured_output_invalid"
    assert told["agent"]["structured_output"] is None


def test_a_limit_that_ends_never() -> None:
    """A reset time that is no time is not passed on."""
    for at in ("1e999", "1" + "0" * 400, "-5", "1e18"):
        limit = '{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":' + at + "}}"
        failed = {**GOOD, "is_error": True, "terminal_reason": "api_error", "api_error_status": 429}
        error = document(outcome_of(limit, json.dumps(failed)))["error"]
        assert (error["type"], error["retry_at"]) == ("model_rate_limited", None)


@pytest.mark.parametrize(
    "line", ["[" * DEPTH + "]" * DEPTH, '{"a":' * DEPTH + "1" + "}" * DEPTH, '{"a":NaN}']
)
def test_what_no_reader_takes_is_no_event(line: str) -> None:
    """JSON nested deeper than the host could read it, and numbers that are none, are text."""
    assert events.parse(b'{"type":"result","structured_output":' + line.encode() + b"}") is None


LEFT_OUT = [{"path": "x" * 295 + "sk-secret-1234" + "y" * 9, "why": "too_large", "size": 5}]


@pytest.mark.parametrize("before", [False, True])
def test_what_was_left_out_is_a_failure(before: bool) -> None:
    """Work that did not arrive makes the run fail; an earlier failure keeps its name."""
    outcome = Outcome(secrecy=Secrecy(["sk-secret-1234"]))
    if before:
        outcome.fail("run_timeout", "agent")
    changed = ["a", "b sk-secret-1234"]
    outcome.changeset_taken(Changeset("d" * 64, 2, 0, 0, changed, LEFT_OUT, 7))
    told = document(outcome)
    assert told["ok"] is False
    assert told["error"]["type"] == ("run_timeout" if before else "collect_failed")
    assert before or told["error"]["details"].startswith("Files that the change cannot carry: 7.")
    assert told["changeset"]["paths"] == ["a", "b ***"]
    assert told["changeset"]["left_out"] == [{"path": "x" * 295 + "***yy", "why": "too_large", "size": 5}]
    assert told["changeset"]["left_out_count"] == 7
