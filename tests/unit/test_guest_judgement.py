"""The verdict on Claude Code's run, against every recorded run and the corners that were not recorded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tests.support.claude_runs import INDEX, RUNS, TYPE_OF, WARNED

from flaude_action.catalog import CATALOG
from flaude_guest import conversation, events, journey, judgement, outcome
from flaude_guest.conversation import Conversation
from flaude_guest.judgement import judge
from flaude_guest.processes import Ended


def heard(*events: dict[str, Any]) -> Conversation:
    said = Conversation()
    for event in events:
        said.note(event, 1000.0)
    return said


def recorded(case: str) -> Conversation:
    lines = (RUNS / f"{case}.jsonl").read_bytes().splitlines()
    return heard(*[event for line in lines if (event := events.parse(line)) is not None])


def ended(case: str) -> Ended:
    """As our own processes would tell it; what the recording harness stopped, we stopped at the timeout."""
    row = INDEX[case]
    code = int(row["exit"])
    cut = ("timeout", 2000.0) if row["killed_by_us"] == "True" else ("", None)
    return Ended(code if code >= 0 else None, -code if code < 0 else None, *cut)


def stderr(case: str) -> str:
    file = RUNS / f"{case}.stderr"
    return file.read_text("utf-8").strip() if file.exists() else ""


INIT = {"type": "system", "subtype": "init", "model": "m", "mcp_servers": []}
GOOD = {
    "type": "result",
    "subtype": "success",
    "is_error": False,
    "terminal_reason": "completed",
    "num_turns": 1,
    "result": "done",
}
TURN = {"type": "assistant", "message": {"model": "m", "content": [{"type": "text", "text": "hi"}]}}
USE = {"type": "assistant", "message": {"content": [{"type": "tool_use", "id": "t", "name": "Bash"}]}}
CLEAN = Ended(0, None)


def api_error(**codes: Any) -> Conversation:
    synthetic = {
        "type": "assistant",
        "message": {"model": "<synthetic>", "content": [{"type": "text", "text": "API Error"}]},
        "is_api_error_message": True,
        **codes,
    }
    failed = {**GOOD, "is_error": True, "terminal_reason": "api_error"}
    return heard(INIT, synthetic, failed)


def test_every_recorded_run_is_expected_to_be_something() -> None:
    """The table above names every recorded run once."""
    assert set(TYPE_OF) == set(INDEX)
    assert {file.stem for file in RUNS.glob("*.jsonl")} == set(INDEX)


@pytest.mark.parametrize("case", sorted(INDEX))
def test_recorded_runs(case: str) -> None:
    """A recorded run comes to the type its cause asks for."""
    judged = judge(recorded(case), ended(case), schema_given=case.startswith("schema"), stderr=stderr(case))
    assert judged.type == TYPE_OF[case]
    assert (
        [warning for warning, _ in judged.warnings] == [WARNED[case]]
        if case in WARNED
        else not judged.warnings
    )


def test_usage_limit_tells_when_it_resets() -> None:
    """The reset time of a usage limit is passed on as epoch seconds."""
    assert judge(recorded("429unified"), ended("429unified")).retry_at == 1795293897


LIMITED = {"type": "rate_limit_event", "rate_limit_info": {"status": "rejected", "resetsAt": 1795293897}}


@pytest.mark.parametrize("status", ["allowed", "allowed_warning", None])
def test_a_limit_that_was_lifted_is_forgotten(status: str | None) -> None:
    """Once requests are allowed again, or the model has answered, a later 429 is no usage limit."""
    lifted = {"type": "rate_limit_event", "rate_limit_info": {"status": status}} if status else TURN
    failed = {**GOOD, "is_error": True, "terminal_reason": "api_error", "api_error_status": 429}
    before, after = (
        judge(heard(INIT, *events, failed), Ended(1, None)) for events in ((LIMITED,), (LIMITED, lifted))
    )
    assert (before.type, before.retry_at) == ("model_usage_limit", 1795293897)
    assert (after.type, after.retry_at) == ("model_rate_limited", None)


def test_only_a_limit_resets() -> None:
    """Whatever limit was told of before, an overloaded model has no time at which it is not."""
    failed = {**GOOD, "is_error": True, "terminal_reason": "api_error", "api_error_status": 529}
    judged = judge(heard(INIT, LIMITED, failed), Ended(1, None))
    assert (judged.type, judged.retry_at) == ("model_overloaded", None)


def test_a_sigkill_while_the_kernel_ran_out_of_memory_is_oom() -> None:
    """SIGKILL together with a risen kill counter is the agent's own memory death."""
    judged = judge(recorded("sigkill_tool"), Ended(None, 9), oom_kills=1)
    assert judged.type == "agent_oom"
    assert not judged.warnings


def test_a_tool_killed_for_memory_is_a_warning() -> None:
    """When only a tool was killed the run's own verdict stands."""
    judged = judge(recorded("success"), CLEAN, oom_kills=2)
    assert judged.ok
    assert [type_ for type_, _ in judged.warnings] == ["tool_oom"]


@pytest.mark.parametrize(
    ("cut", "type_"),
    [
        ("timeout", "run_timeout"),
        ("cancelled", "cancelled"),
        ("terminated", "machine_stopped_externally"),
        ("silence", "model_stream_stalled"),
    ],
)
def test_our_own_reason_decides_without_a_result(cut: str, type_: str) -> None:
    """What we ended is named by why we ended it, whatever signal the process died of."""
    assert judge(recorded("sigterm_api"), Ended(143, None, cut, 1000.0)).type == type_


def test_silence_with_a_tool_running_is_the_tools() -> None:
    """Silence is the agent's when a tool was running, and names the tool for the job log."""
    said = heard(INIT, USE)
    said.fell_silent()
    said.note({"type": "user", "message": {"content": [{"type": "tool_result", "tool_use_id": "t"}]}}, 1001.0)
    judged = judge(said, Ended(143, None, "silence", 1000.0))
    assert judged.type == "agent_silent_timeout"
    assert judged.line == "last tool: Bash"


@pytest.mark.parametrize(("cut_at", "type_"), [(1000.5, ""), (999.5, "run_timeout")], ids=["before", "after"])
def test_only_a_good_result_that_came_before_our_signal_wins(cut_at: float, type_: str) -> None:
    """A result that came first is not taken back by a deadline; one that came later does not help."""
    assert judge(heard(INIT, TURN, GOOD), Ended(143, None, "timeout", cut_at)).type == type_


def test_an_error_result_before_our_signal_keeps_our_reason() -> None:
    """A bad result does not hide that the run was cut."""
    said = heard(INIT, {**GOOD, "is_error": True})
    assert judge(said, Ended(143, None, "cancelled", 2000.0)).type == "cancelled"


def test_lingering_after_an_error_is_that_error() -> None:
    """Ending a lingering process does not change what its result said."""
    said = heard(INIT, {**GOOD, "is_error": True, "subtype": "error_max_turns"})
    assert judge(said, Ended(143, None, "linger", 2000.0)).type == "max_turns_reached"


def test_a_result_is_taken_back_when_the_model_speaks_on() -> None:
    """A process that dies in the turn after its first result has no result."""
    assert judge(heard(INIT, TURN, GOOD, TURN), CLEAN).type == "result_missing"


def test_a_result_is_taken_back_when_another_turn_begins() -> None:
    """What a background task's end sets going is not done before it has a result of its own."""
    assert judge(heard(INIT, TURN, GOOD, INIT), CLEAN).type == "result_missing"
    assert judge(heard(INIT, TURN, GOOD, INIT, TURN, GOOD), CLEAN).ok


BAD = {**GOOD, "subtype": "error_during_execution", "is_error": True, "terminal_reason": "model_error"}
NOTE = {"type": "system", "subtype": "task_notification"}
ANSWERED = {"type": "user", "message": {"content": [{"type": "tool_result", "tool_use_id": "t"}]}}


@pytest.mark.parametrize(
    ("events", "how", "type_"),
    [
        ([GOOD, BAD], CLEAN, "agent_error"),
        ([BAD, GOOD], CLEAN, ""),
        ([GOOD, NOTE, ANSWERED], CLEAN, ""),
        ([BAD], CLEAN, "agent_error"),
        ([GOOD], Ended(None, 9), "killed_by_signal"),
        ([GOOD], Ended(137, None), "killed_by_signal"),
        ([GOOD], Ended(None, 15), "killed_by_signal"),
        ([GOOD], Ended(None, 15, "linger", 2000.0), ""),
        ([GOOD], Ended(None, 9, "cancelled", 2000.0), ""),
        ([GOOD, NOTE], Ended(1, None), "agent_error"),
        ([], Ended(0, None), "result_missing"),
    ],
    ids=str,
)
def test_the_last_result_and_the_end_decide_together(
    events: list[dict[str, Any]], how: Ended, type_: str
) -> None:
    """Several results, words after a result, and ends of every kind after one."""
    assert judge(heard(INIT, TURN, *events), how).type == type_


@pytest.mark.parametrize(
    "change",
    [
        {"is_error": None},
        {"is_error": "false"},
        {"subtype": "splendid"},
        {"terminal_reason": "brand_new_reason"},
        {"subtype": "error_of_a_new_kind", "is_error": True},
    ],
    ids=str,
)
def test_unknown_values_are_failures(change: dict[str, Any]) -> None:
    """A result that is not exactly the success we know is an error."""
    assert judge(heard(INIT, TURN, {**GOOD, **change}), CLEAN).type == "agent_error"


def test_a_good_result_with_a_bad_exit_is_a_failure() -> None:
    """Success needs both: the result and exit code 0."""
    assert judge(heard(INIT, TURN, GOOD), Ended(3, None)).type == "agent_error"


def test_a_prompt_hook_that_blocks_is_not_success() -> None:
    """No turn, no reason, a notice: a hook stopped the prompt, whatever is_error says."""
    notice = {"type": "system", "subtype": "informational", "content": "blocked by hook"}
    blocked = {**GOOD, "terminal_reason": None, "num_turns": 0}
    assert judge(heard(INIT, notice, blocked), CLEAN).type == "hook_blocked"


# What Claude Code 2.1.330 prints of a prompt that is a command with an agent of its own, such as /review.
COMMAND = {"type": "system", "subtype": "task_started", "task_id": "c", "task_type": "local_agent"}
HELPER = {**COMMAND, "task_id": "h", "tool_use_id": "toolu_1", "parent_task_id": "c"}
NO_TURN = {
    "type": "result",
    "subtype": "success",
    "is_error": False,
    "num_turns": 0,
    "result": "Looks good.",
    "modelUsage": {"m": {"outputTokens": 50}},
}


def over(task: dict[str, Any], status: str) -> dict[str, Any]:
    """How a task is said to have ended."""
    return {"type": "system", "subtype": "task_notification", "task_id": task["task_id"], "status": status}


@pytest.mark.parametrize(
    ("events", "change", "type_"),
    [
        ([COMMAND, over(COMMAND, "completed")], {}, ""),
        ([COMMAND, HELPER, over(HELPER, "failed"), over(COMMAND, "completed")], {}, ""),
        ([COMMAND, TURN, over(COMMAND, "completed")], {"modelUsage": {}}, ""),
        ([COMMAND, over(COMMAND, "completed")], {"modelUsage": {}}, "agent_error"),
        ([COMMAND, over(COMMAND, "completed")], {"modelUsage": {"m": 1}}, "agent_error"),
        ([COMMAND, over(COMMAND, "completed")], {"modelUsage": [1]}, "agent_error"),
        ([COMMAND, over(COMMAND, "failed")], {}, "agent_error"),
        ([COMMAND, TURN, over(COMMAND, "failed")], {}, "agent_error"),
        ([COMMAND, HELPER, over(HELPER, "completed"), over(COMMAND, "failed")], {}, "agent_error"),
        ([COMMAND, HELPER, over(HELPER, "completed")], {}, "agent_error"),
        ([COMMAND, over(COMMAND, "splendid")], {}, "agent_error"),
        ([COMMAND, {**over(COMMAND, ""), "status": ["completed"]}], {}, "agent_error"),
        ([COMMAND, over(COMMAND, "failed")], {"safety_stops": 2}, "model_refused"),
        ([COMMAND, over(COMMAND, "failed")], {"result": "API Error: 529 no."}, "model_overloaded"),
        ([COMMAND, over(COMMAND, "failed")],
         {"result": "Failed to authenticate. API Error: 401 no"}, "model_auth_failed"),
        ([COMMAND, over(COMMAND, "failed")],
         {"result": "API Error: Request rejected (429) · no"}, "model_rate_limited"),
        ([COMMAND], {}, "agent_error"),
        ([TURN], {"modelUsage": {}}, ""),
        ([HELPER, over(HELPER, "completed")], {}, "agent_error"),
        ([over(COMMAND, "completed")], {}, "agent_error"),
        ([], {}, "agent_error"),
        ([], {"modelUsage": None}, "agent_error"),
    ],
    ids=str,
)  # fmt: skip
def test_a_command_with_an_agent_of_its_own(
    events: list[dict[str, Any]], change: dict[str, Any], type_: str
) -> None:
    """`/review` counts no turn: it is good when its own agent was completed and the model was asked."""
    assert judge(heard(*events, INIT, {**NO_TURN, **change}), CLEAN).type == type_


@pytest.mark.parametrize(
    ("codes", "type_"),
    [
        ({"error": "oauth_org_not_allowed"}, "model_permission_denied"),
        ({"error": "account_on_hold"}, "model_permission_denied"),
        ({"error": "cloud_credential_error"}, "model_auth_failed"),
        ({"error": "overloaded"}, "model_overloaded"),
        ({"error": "unknown", "api_error_status": 503}, "model_server_error"),
        ({"error": "unknown", "api_error_status": 402}, "model_billing"),
        ({"error": "unknown", "api_error_status": 418}, "agent_error"),
        ({"error": "something_new"}, "agent_error"),
        ({"error": ["not", "text"], "api_error_status": True}, "agent_error"),
    ],
    ids=str,
)
def test_codes_of_api_errors(codes: dict[str, Any], type_: str) -> None:
    """Codes that no recorded run has are told apart too, and unknown ones are errors without a name."""
    assert judge(api_error(**codes), Ended(1, None)).type == type_


def test_a_stream_of_tools_is_not_kept() -> None:
    """However many tools are said to begin and never to end, and however they are called, little is kept."""
    said = Conversation()
    for number in range(3000):
        use = {"type": "tool_use", "id": f"{number}" + "x" * 5000, "name": f"Tool{number}"}
        said.note({"type": "assistant", "message": {"content": [use]}}, 1000.0)
    assert sum(len(key) + len(name) for key, name in said.open_tools.items()) < 1_000_000
    said.fell_silent()
    assert said.silent_in == "Tool2999"


@pytest.mark.parametrize(
    "event",
    [
        {"type": "assistant", "message": "text"},
        {"type": "assistant", "message": {"content": [1, None]}},
        {"type": "user", "message": {"content": {"a": 1}}},
        {"type": "rate_limit_event", "rate_limit_info": []},
        {"type": "system", "subtype": "init", "mcp_servers": 7},
        {"type": ["list"]},
        {},
    ],
    ids=str,
)
def test_strange_events_prove_nothing(event: dict[str, Any]) -> None:
    """An event of unknown shape neither breaks the reading nor counts as success."""
    assert judge(heard(event), CLEAN).type == "agent_start_failed" or event.get("subtype") == "init"


def test_every_type_the_guest_can_say_is_in_the_catalog() -> None:
    """The guest's failure types and warnings are ids of the host's catalog."""
    said = (
        set(TYPE_OF.values()) - {""}
        | set(WARNED.values())
        | {"agent_silent_timeout", "tool_oom", "agent_oom"}
    )
    guest = Path(judgement.__file__).parent
    for module in guest.glob("*.py"):
        source = module.read_text("utf-8")
        said |= set(re.findall(r'(?:fail|warn|Refused|CloneFailed|Judgement)\(\s*"([a-z_]+)"', source))
    for table in (judgement._CUT, judgement._TERMINAL, judgement._SUBTYPE, judgement._API_ERROR,
                  judgement._API_TYPE, judgement._ERROR, judgement._STATUS, journey._CUT):  # fmt: skip
        said |= set(table.values())
    said |= set(outcome._EXITS)
    assert said <= set(CATALOG)
    assert {"config_invalid", "clone_auth_failed", "collect_failed", "disk_full"} <= said
    assert conversation.RESULT_MAX_BYTES == 64 * 1024
