"""The verdict's table, row by row, and what no evidence may ever do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaude_action.catalog import CATALOG
from flaude_action.evidence import Evidence, ExitEvent, OwnStop
from flaude_action.verdict import judge


def good(**changes: Any) -> dict[str, Any]:
    return {
        "ok": True,
        "exit_code": 0,
        "error": None,
        "finished_at": 100.0,
        "agent": {"result_at": 90.0},
    } | changes


def bad(type_: str = "max_turns_reached", code: int = 1) -> dict[str, Any]:
    return good(ok=False, exit_code=code, error={"type": type_, "details": "3 turns"})


OURS = Evidence(ours=True)
FOREIGN = Evidence(ours=False)

SAID_ZERO = Evidence(False, marker=0, marker_is_last=True, log_complete=True, platform_code=0)
UNKNOWN = ("outcome_unknown", None, "none")
UNREADABLE: list[tuple[str, ExitEvent, tuple[str, int | None, str]]] = [
    ("an unknown member", ExitEvent(unknown_keys=("evicted",)), UNKNOWN),
    ("a code of a wrong type", ExitEvent(unknown_keys=("exit_code",)), UNKNOWN),
    ("a memory flag of a wrong type", ExitEvent(exit_code=0, unknown_keys=("oom_killed",)), UNKNOWN),
    ("a VM that ended with 3", ExitEvent(guest_exit_code=3), UNKNOWN),
    ("code -1", ExitEvent(exit_code=-1), ("killed_by_signal", 137, "api_event")),
    ("an error", ExitEvent(error="could not run init"), ("machine_failed", None, "api_event")),
]
"""Exit events that do not tell of success, with what is due: the log's zeros never make up for them."""

ROWS: list[tuple[str, Evidence, tuple[str, str, int | None, str]]] = [
    # name, evidence, (conclusion, type, exit code, source)
    (
        "a deadline",
        Evidence(True, own_stop=OwnStop("run_timeout", 50.0)),
        ("failure", "run_timeout", 124, "none"),
    ),
    (
        "a cancel beats a later good result",
        Evidence(True, result=good(), own_stop=OwnStop("cancelled", 80.0)),
        ("cancelled", "cancelled", 130, "guest_result"),
    ),
    (
        "a an older good result beats the deadline",
        Evidence(True, result=good(), own_stop=OwnStop("run_timeout", 95.0)),
        ("success", "", 0, "guest_result"),
    ),
    (
        "a an older bad result does not",
        Evidence(True, result=bad(), own_stop=OwnStop("cancelled", 95.0)),
        ("cancelled", "cancelled", 130, "guest_result"),
    ),
    ("b document", Evidence(True, result=good()), ("success", "", 0, "guest_result")),
    (
        "b document beats a later kill",
        Evidence(True, result=good(), exit=ExitEvent(exit_code=137, oom_killed=True), state="failed"),
        ("success", "", 0, "guest_result"),
    ),
    ("e document not ok", Evidence(True, result=bad()), ("failure", "max_turns_reached", 1, "guest_result")),
    (
        "e not ok although code 0",
        Evidence(True, result=bad(code=0)),
        ("failure", "max_turns_reached", 1, "guest_result"),
    ),
    (
        "e ok but with an exit code",
        Evidence(True, result=good(exit_code=3)),
        ("failure", "agent_error", 3, "guest_result"),
    ),
    (
        "e ok but with an error",
        Evidence(True, result=good(error={"type": "agent_oom"})),
        ("failure", "agent_oom", 1, "guest_result"),
    ),
    (
        "e changes that did not reach us",
        Evidence(True, result=good(), work_lost=True),
        ("failure", "collect_failed", 0, "guest_result"),
    ),
    ("e tampered", Evidence(True, result_tampered=True), ("failure", "result_tampered", None, "none")),
    (
        "c event 0",
        Evidence(True, provisioned=True, exit=ExitEvent(exit_code=0)),
        ("success", "", 0, "api_event"),
    ),
    ("c omitted zero", Evidence(True, provisioned=True, exit=ExitEvent()), ("success", "", 0, "api_event")),
    (
        "c code 0 of a guest that never took the job",
        Evidence(True, exit=ExitEvent(exit_code=0)),
        ("failure", "boot_marker_missing", 0, "api_event"),
    ),
    (
        "c code 0 with something to deliver",
        Evidence(True, provisioned=True, has_delivery=True, exit=ExitEvent(exit_code=0)),
        ("failure", "collect_failed", 0, "api_event"),
    ),
    (
        "c absent code beside an unknown key",
        Evidence(True, exit=ExitEvent(unknown_keys=("halted",))),
        ("failure", "outcome_unknown", None, "none"),
    ),
    (
        "c absent code beside an error",
        Evidence(True, exit=ExitEvent(error="x")),
        ("failure", "machine_failed", None, "api_event"),
    ),
    (
        "d code 0 beside an error",
        Evidence(False, exit=ExitEvent(exit_code=0, error="x")),
        ("failure", "machine_failed", 0, "api_event"),
    ),
    (
        "c oom flag",
        Evidence(True, exit=ExitEvent(exit_code=0, oom_killed=True)),
        ("failure", "machine_oom", 137, "api_event"),
    ),
    (
        "c crash -1 and signal 9",
        Evidence(True, exit=ExitEvent("crash", exit_code=-1, guest_signal=9)),
        ("failure", "killed_by_signal", 137, "api_event"),
    ),
    (
        "c crash without anything",
        Evidence(True, exit=ExitEvent("crash")),
        ("failure", "killed_by_signal", 137, "api_event"),
    ),
    (
        "c stopped by others",
        Evidence(True, exit=ExitEvent(exit_code=0, requested_stop=True)),
        ("failure", "machine_stopped_externally", 0, "api_event"),
    ),
    (
        "c guest's own code",
        Evidence(True, exit=ExitEvent(exit_code=75)),
        ("failure", "boot_marker_missing", 75, "api_event"),
    ),
    ("c state failed", Evidence(True, state="failed"), ("failure", "machine_failed", None, "api_status")),
    (
        "c failed beats a clean code",
        Evidence(True, exit=ExitEvent(exit_code=0), state="failed"),
        ("failure", "machine_failed", 0, "api_status"),
    ),
    (
        "c last word 0",
        Evidence(True, provisioned=True, marker=0, marker_is_last=True, gone=True),
        ("success", "", 0, "log_marker"),
    ),
    ("c marker not last", Evidence(True, marker=0, gone=True), ("failure", "machine_lost", None, "none")),
    ("c marker 1", Evidence(True, marker=1), ("failure", "machine_exit_nonzero", 1, "log_marker")),
    (
        "c last word 0 with something to deliver",
        Evidence(True, provisioned=True, marker=0, marker_is_last=True, has_delivery=True),
        ("failure", "collect_failed", 0, "log_marker"),
    ),
    (
        "c platform's log",
        Evidence(True, platform_code=3),
        ("failure", "machine_exit_nonzero", 3, "platform_log"),
    ),
    (
        "c platform's log says 0",
        Evidence(True, provisioned=True, platform_code=0),
        ("failure", "log_marker_missing", 0, "platform_log"),
    ),
    (
        "c the link broke",
        Evidence(True, trouble="machine_exec_refused"),
        ("failure", "machine_exec_refused", None, "none"),
    ),
    ("c gone", Evidence(True, gone=True), ("failure", "machine_lost", None, "none")),
    ("c nothing", OURS, ("failure", "outcome_unknown", None, "none")),
    ("d event 0", Evidence(False, exit=ExitEvent(exit_code=0)), ("success", "", 0, "api_event")),
    (
        "d event beats a forged marker",
        Evidence(False, exit=ExitEvent(exit_code=2), marker=0, marker_is_last=True, log_complete=True),
        ("failure", "machine_exit_nonzero", 2, "api_event"),
    ),
    (
        "d marker of an incomplete log",
        Evidence(False, marker=0, marker_is_last=True),
        ("failure", "outcome_unknown", None, "none"),
    ),
    (
        "d marker last in a complete log",
        Evidence(False, marker=0, marker_is_last=True, log_complete=True, platform_code=0),
        ("success", "", 0, "log_marker"),
    ),
    (
        "d marker 0, but Fly's log says 3",
        Evidence(False, marker=0, marker_is_last=True, log_complete=True, platform_code=3),
        ("failure", "machine_exit_nonzero", 3, "platform_log"),
    ),
    (
        "d marker 0, but Fly's log has no code",
        Evidence(False, marker=0, marker_is_last=True, log_complete=True),
        ("failure", "outcome_unknown", None, "none"),
    ),
    (
        "d no marker, Fly's log says 0",
        Evidence(False, log_complete=True, platform_code=0),
        ("failure", "log_marker_missing", 0, "platform_log"),
    ),
    (
        "d code 127",
        Evidence(False, exit=ExitEvent(exit_code=127)),
        ("failure", "entrypoint_crashed", 127, "api_event"),
    ),
    (
        "d code 143",
        Evidence(False, exit=ExitEvent(exit_code=143)),
        ("failure", "killed_by_signal", 143, "api_event"),
    ),
    ("d nothing", FOREIGN, ("failure", "outcome_unknown", None, "none")),
    *(
        (
            f"c, d {what} beside a word of success, {'ours' if ours else 'foreign'}",
            replace(SAID_ZERO, ours=ours, provisioned=ours, exit=event),
            ("failure", *due),
        )
        for ours in (True, False)
        for what, event, due in UNREADABLE
    ),
]


@pytest.mark.parametrize(("evidence", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_table(evidence: Evidence, expected: tuple[str, str, int | None, str]) -> None:
    """Each row of the table leads to its verdict."""
    verdict = judge(evidence)
    assert expected == (verdict.conclusion, verdict.type, verdict.exit_code, verdict.source)


def test_marker_alone_is_said_to_be_unconfirmed() -> None:
    """A pass that rests on the log alone carries a warning."""
    evidence = Evidence(False, marker=0, marker_is_last=True, log_complete=True, platform_code=0)
    verdict = judge(evidence)
    assert verdict.warnings == (("verdict_unconfirmed", ""),)


@pytest.mark.parametrize("state", ["failed", "destroyed"])
def test_a_machine_that_never_started_is_said_to(state: str) -> None:
    """Where Fly's events tell of no start, the message says so; else it does not."""
    assert "Nothing ever ran" in judge(Evidence(True, state=state, never_started=True)).details
    assert judge(Evidence(True, state=state)).details == ""


@pytest.mark.parametrize(
    ("evidence", "details"),
    [
        (Evidence(True, exit=ExitEvent(exit_code=3)), "It ended with exit code 3."),
        (Evidence(False, exit=ExitEvent(exit_code=127)), "It ended with exit code 127."),
        (Evidence(True, marker=5), "It ended with exit code 5."),
        (Evidence(True, platform_code=137), "Signal 9 (SIGKILL) ended the machine's main process."),
        (Evidence(True, exit=ExitEvent(signal=11)), "Signal 11 (SIGSEGV) ended the machine's main process."),
        (Evidence(True, exit=ExitEvent(guest_signal=50)), "Signal 50 ended the machine's main process."),
        (Evidence(True, exit=ExitEvent("crash")), ""),
    ],
)  # fmt: skip
def test_the_platform_s_number_is_told(evidence: Evidence, details: str) -> None:
    """The exit code or the signal that decided is in the failure's own words."""
    assert judge(evidence).details == details


@pytest.mark.parametrize("retry_at", [10**400, -1, float("nan"), float("inf"), True, "soon"])
def test_a_time_that_is_none_is_left_out(retry_at: object) -> None:
    """A reset time that no clock can show is not told, and breaks nothing."""
    error = {"type": "model_usage_limit", "retry_at": retry_at}
    assert judge(Evidence(True, result=good(ok=False, error=error))).retry_at is None


def test_a_time_that_is_one_is_told() -> None:
    """When the model's limit resets reaches the verdict."""
    error = {"type": "model_usage_limit", "retry_at": 1_800_000_000}
    assert judge(Evidence(True, result=good(ok=False, error=error))).retry_at == 1_800_000_000.0


@pytest.mark.parametrize("told", [10**400, float("nan"), float("-inf"), "90", None])
def test_a_good_result_without_a_time_is_not_older(told: object) -> None:
    """A result that does not say when it was does not beat our deadline."""
    result = good(finished_at=told, agent={"result_at": told})
    assert judge(Evidence(True, result=result, own_stop=OwnStop("run_timeout", 95.0))).type == "run_timeout"


def test_later_kill_is_a_notice() -> None:
    """What contradicts a good document is told, not weighed."""
    verdict = judge(Evidence(True, result=good(), exit=ExitEvent(exit_code=137), state="failed"))
    assert len(verdict.notices) == 2


def test_guest_warnings_pass_through() -> None:
    """Warnings of the guest reach the verdict; malformed rows do not."""
    rows = [{"type": "tool_oom", "details": "1 kill"}, {"details": "no type"}, "text", None]
    assert judge(Evidence(True, result=good(warnings=rows))).warnings == (("tool_oom", "1 kill"),)


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
documents = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("ok", "exit_code", "error", "warnings", "agent", "finished_at"), junk),
)
events = st.builds(
    ExitEvent,
    type=st.sampled_from(["exit", "crash", "odd"]),
    exit_code=st.none() | st.integers(-2, 300),
    signal=st.none() | st.integers(-1, 64),
    guest_signal=st.none() | st.integers(-1, 64),
    oom_killed=st.none() | st.booleans(),
    requested_stop=st.none() | st.booleans(),
    error=st.sampled_from(["", "boom"]),
    guest_exit_code=st.none() | st.integers(-1, 3),
    unknown_keys=st.sampled_from([(), ("new",), ("oom_killed",)]),
)
evidences = st.builds(
    Evidence,
    ours=st.booleans(),
    result=st.none() | documents,
    result_tampered=st.booleans(),
    provisioned=st.booleans(),
    exit=st.none() | events,
    state=st.sampled_from(["", "stopped", "failed", "destroyed", "odd"]),
    gone=st.booleans(),
    marker=st.none() | st.integers(0, 255),
    marker_is_last=st.booleans(),
    log_complete=st.booleans(),
    platform_code=st.none() | st.integers(0, 255),
    own_stop=st.none() | st.builds(OwnStop, st.sampled_from(["cancelled", "run_timeout"]), st.floats(0, 200)),
    has_delivery=st.booleans(),
    trouble=st.sampled_from(["", "machine_exec_refused"]),
    work_lost=st.booleans(),
)


@given(evidences)
def test_unknown_is_never_success(evidence: Evidence) -> None:
    """Success needs a document that says ok, or a code of 0 that nothing contradicts."""
    verdict = judge(evidence)
    if not verdict.ok:
        assert verdict.type
        return
    assert verdict.exit_code == 0
    if verdict.source == "guest_result":
        assert evidence.result is not None
        assert evidence.result["ok"] is True
    else:
        assert evidence.result is None or not evidence.ours
        assert evidence.own_stop is None
        assert evidence.state != "failed"
        assert not evidence.ours or (evidence.provisioned and not evidence.has_delivery)
        assert verdict.source == "api_event" or not (evidence.platform_code or evidence.exit)
        event = evidence.exit
        assert event is None or not (
            event.oom_killed or event.requested_stop or event.fatal_signal or event.error
        )
        assert event is None or event.exit_code == 0 or not (event.guest_exit_code or event.unknown_keys)
        assert event is None or "oom_killed" not in event.unknown_keys


@given(evidences)
def test_types_are_in_the_catalog(evidence: Evidence) -> None:
    """The verdict invents no type; only the guest's document may name one that we do not know."""
    verdict = judge(evidence)
    assert verdict.source == "guest_result" or not verdict.type or verdict.type in CATALOG
