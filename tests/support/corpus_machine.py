"""Ends of the machine: forged through localfly's control, recorded from Fly, or made by foreign images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.corpus import (
    EVENT,
    MARKER,
    NONE,
    PLATFORM,
    RESULT,
    STATUS,
    Case,
    after,
    answered,
    ask,
    forge,
    guest_says,
    kill,
    order,
    respond,
    vanish,
)

FIXTURES = Path(__file__).parents[1] / "reference" / "fly-fixtures"
BUSY = {"plays": "sigkill_tool", "then": "stay", "inputs": {"timeout": "60s"}}
WORKING = after("Claude Code is at work")
READY = after("| ready")
LOST = {"warned": ("log_stream_lost",)}


def ours(name: str, type_: str, source: str, *acts: Any, **more: Any) -> Case:
    """Our guest is at work when it happens, so its document is lost."""
    return Case(f"ours {name}", type_, source, acts=(WORKING, *acts), **(BUSY | LOST | more))


def zeros(**members: Any) -> dict[str, Any]:
    """An exit event as of 2026: every key is spelled out."""
    return {
        "exit_code": 0,
        "guest_exit_code": 0,
        "guest_signal": -1,
        "signal": -1,
        "oom_killed": False,
        "requested_stop": False,
        "restarting": False,
        "error": "",
        "guest_error": "",
        "exited_at": "2026-10-10T04:06:01.334578044Z",
    } | members


# Our image, and the document is lost: Fly's word names the failure, and proves no work that did not arrive.
OURS = [
    ours("exit 0 in explicit zeros", "collect_failed", EVENT, forge(zeros(), said=0), code="0"),
    ours("exit 0 left out", "collect_failed", EVENT, forge({}, said=0), code="0"),
    ours("exit 0 under MonitorEvent", "collect_failed", EVENT, forge({}, nesting="MonitorEvent", said=0)),
    ours("exit 3", "machine_exit_nonzero", EVENT, forge(zeros(exit_code=3), said=3), code="3"),
    ours("exit 3 under MonitorEvent", "machine_exit_nonzero", EVENT,
         forge({"exit_code": 3}, nesting="MonitorEvent", said=3), code="3"),
    ours("exit 70 is the guest's own", "environment_unusable", EVENT, forge({"exit_code": 70}, said=70)),
    ours("exit 75 is the guest's own", "boot_marker_missing", EVENT, forge({"exit_code": 75}, said=75)),
    ours("exit 124 is the guest's own", "run_timeout", EVENT, forge({"exit_code": 124}, said=124)),
    ours("exit 127", "entrypoint_crashed", EVENT, forge({"exit_code": 127}, said=127)),
    ours("exit 137 without a word why", "killed_by_signal", EVENT, forge(zeros(exit_code=137)), code="137"),
    ours("memory flag and 137", "machine_oom", EVENT, forge(zeros(exit_code=137, oom_killed=True)),
         code="137"),
    ours("memory flag and 0", "machine_oom", EVENT, forge({"oom_killed": True}, said=0), code="137"),
    ours("memory crash", "machine_oom", EVENT,
         forge({"exit_code": -1, "guest_signal": 9, "oom_killed": True}, type="crash"), code="137"),
    ours("crash with signal 9", "killed_by_signal", EVENT, forge({"guest_signal": 9}, type="crash"),
         code="137"),
    ours("crash with -1", "killed_by_signal", EVENT, forge({"exit_code": -1}, type="crash")),
    ours("crash without anything", "killed_by_signal", EVENT, forge({}, type="crash")),
    ours("fatal signal beside exit 0", "killed_by_signal", EVENT, forge(zeros(signal=11), said=139)),
    ours("requested stop with exit 0", "machine_stopped_externally", EVENT, forge({"requested_stop": True},
         said=0)),
    ours("requested stop with 143", "machine_stopped_externally", EVENT,
         forge(zeros(exit_code=143, requested_stop=True), said=143)),
    ours("error text", "machine_failed", EVENT, forge({"error": "could not unmount rootfs"}, said=0)),
    ours("error text beside a code", "machine_exit_nonzero", EVENT, forge({"error": "x", "exit_code": 4},
         said=4)),
    ours("unknown key and no code", "outcome_unknown", NONE, forge({"evicted": True}, said=None), slow=True),
    ours("unknown key and code 0", "collect_failed", EVENT, forge({"evicted": False, "exit_code": 0},
         said=0)),
    ours("code of a wrong type", "machine_exit_nonzero", PLATFORM, forge({"exit_code": "0"}, said=5)),
    ours("state failed without an event", "machine_failed", STATUS, forge(None, state="failed")),
    ours("state failed beside exit 0", "machine_failed", STATUS, forge({}, state="failed", said=0)),
    ours("destroyed without an event", "machine_lost", NONE,
         forge(None, state="destroyed", said=None), slow=True),
    ours("no event but the platform's line", "killed_by_signal", PLATFORM, forge(None), code="137"),
    ours("no event and no exec: the guest's last word", "killed_by_signal", MARKER,
         order(respond("/exec$", 500, "busy")), answered, ask("POST", "/stop"),
         settings={"exit_event_shape": "none"}, code="143", warned=(), slow=True),
    Case("ours no event and no document: a good last word", "collect_failed", MARKER, code="0",
         guest={"argv": ["sh", "-c", "sleep 1; echo '[flaude:exit:0]'"]},
         settings={"exit_event_shape": "none"},
         faults=(guest_says({"protocol": 1, "accepted": True, "seq": 1, "phase": "agent", "times": {}}),)),
    ours("vanished", "machine_lost", NONE, vanish, slow=True),
    ours("killed", "killed_by_signal", EVENT, kill, code="137"),
    ours("killed and told as a crash", "killed_by_signal", EVENT, kill,
         settings={"exit_event_shape": "crash"}),
    ours("killed, no event, no record", "killed_by_signal", PLATFORM, kill,
         settings={"exit_event_shape": NONE, "destroyed_retention_s": 0.0}),
    Case("ours stopped by somebody", "machine_stopped_externally", RESULT,
         acts=(WORKING, ask("POST", "/stop")), code="143", **BUSY),
    ours("destroyed by somebody", "machine_stopped_externally", EVENT, ask("DELETE", force="true")),
    Case("ours restarted by somebody", "machine_stopped_externally", RESULT,
         acts=(WORKING, ask("POST", "/restart")), code="143", **BUSY),
    ours("restarted without mercy", "machine_stopped_externally", NONE,
         ask("POST", "/restart", signal="SIGKILL"), slow=True),
]  # fmt: skip


def foreign(name: str, runs: str, type_: str, source: str, **more: Any) -> Case:
    return Case(f"foreign {name}", type_, source, runs=runs, **more)


def silent(name: str, runs: str, type_: str, source: str, **more: Any) -> Case:
    """A foreign image of whose end the API says nothing: only the log is left."""
    settings = {"exit_event_shape": "none"} | more.pop("settings", {})
    return foreign(f"API silent: {name}", runs, type_, source, settings=settings, **more)


def shaped(shape: str, runs: str, type_: str, source: str, **more: Any) -> Case:
    return foreign(
        f"{runs} told as {shape}", runs, type_, source, settings={"exit_event_shape": shape}, **more
    )


MARK = "echo '[flaude:exit:%d]'; "
FOREIGN = [
    foreign("exit 0", "exit 0", "", EVENT, code="0"),
    foreign("exit 3", "exit 3", "machine_exit_nonzero", EVENT, code="3"),
    foreign("exit 126", "exit 126", "entrypoint_crashed", EVENT),
    foreign("exit 127", "exit 127", "entrypoint_crashed", EVENT),
    foreign("killed by itself", "kill -9 $$", "killed_by_signal", EVENT, code="137"),
    foreign("terminated by itself", "kill -15 $$", "killed_by_signal", EVENT, code="143"),
    foreign("forges a good marker", MARK % 0 + "exit 3", "machine_exit_nonzero", EVENT, code="3"),
    foreign("marker says 3, Fly says 0", MARK % 3 + "exit 0", "", EVENT),
    shaped("omitted_zeros", "exit 0", "", EVENT, code="0"),
    shaped("omitted_zeros", "exit 3", "machine_exit_nonzero", EVENT),
    shaped("monitor", "exit 0", "", EVENT, code="0"),
    shaped("monitor", "exit 3", "machine_exit_nonzero", EVENT, code="3"),
    shaped("millis", "exit 0", "", EVENT),
    shaped("crash", "exit 0", "", EVENT),
    shaped("crash", "exit 2", "machine_exit_nonzero", EVENT, code="2"),
    shaped("crash", "kill -9 $$", "killed_by_signal", EVENT, code="137"),
    foreign("takes too long", "sleep 60", "run_timeout", NONE, inputs={"timeout": "1s"}, code="124"),
    foreign("starts twice, the newest end counts",
            "echo ready; [ -e again ] && exit 4; touch again; sleep 60",
            "machine_exit_nonzero", EVENT, acts=(READY, ask("POST", "/restart")), code="4"),
    foreign("starts twice, the newest start has no end",
            "echo ready; [ -e again ] && echo back; touch again; sleep 60",
            "machine_lost", NONE, slow=True, **LOST,
            acts=(READY, ask("POST", "/restart"), after("| back"), forge(None, state="destroyed",
            said=None))),
    foreign("host lost", "echo ready; sleep 60", "machine_lost", NONE, acts=(READY, vanish), slow=True,
            **LOST),
    foreign("forges a marker and is killed without an event", "echo ready; " + MARK % 0 + "sleep 60",
            "machine_lost", NONE, acts=(READY, forge(None, said=None)), slow=True, **LOST),
    foreign("forges a marker in state failed", "echo ready; " + MARK % 0 + "sleep 60",
            "machine_failed", STATUS, acts=(READY, forge(None, state="failed", said=0))),
    foreign("exit 0, an answer to create was lost", "exit 0", "", EVENT,
            faults=({"path": r"/machines$", "method": "POST", "action": "lose_answer"},)),
    foreign("exit 0, Fly had no time for two questions", "sleep 0.5", "", EVENT,
            faults=(respond(r"/machines/[0-9a-f]+(/wait|$)", 503, "busy", method="GET", times=2),)),
    foreign("memory crash", "echo ready; sleep 60", "machine_oom", EVENT, acts=(READY, forge(
            {"exit_code": -1, "guest_signal": 9, "oom_killed": True}, type="crash")), code="137"),
    foreign("memory flag and 137", "echo ready; sleep 60", "machine_oom", EVENT, acts=(READY, forge(
            zeros(exit_code=137, oom_killed=True)))),
    foreign("stopped by somebody, and exits with 0", "trap 'exit 0' TERM; echo ready; sleep 60 & wait",
            "machine_stopped_externally", EVENT, acts=(READY, ask("POST", "/stop", {"signal": "SIGTERM"}))),
    foreign("starts twice, exits with 0 and then 4",
            "trap 'exit 0' TERM; echo ready; [ -e again ] && exit 4; touch again; sleep 60 & wait",
            "machine_exit_nonzero", EVENT, acts=(READY, ask("POST", "/restart", signal="SIGTERM")), code="4"),
    # Fly tells of an end, but nothing that proves success: no word of the log makes up for it.
    *(
        foreign(f"{what} beside a good marker", f"echo ready; {MARK % 0}sleep 60", type_, source,
                acts=(READY, forge(event, said=0)), slow=type_ == "outcome_unknown", **more)
        for what, event, type_, source, more in (
            ("error of the VM", {"guest_error": "could not run init"}, "machine_failed", EVENT, {}),
            ("code of the VM", {"guest_exit_code": 3}, "outcome_unknown", NONE, {}),
            ("code -1", {"exit_code": -1}, "killed_by_signal", EVENT, {"code": "137"}),
            ("code in words", {"exit_code": "0"}, "outcome_unknown", NONE, {}),
            ("member nobody knows", {"evicted": True}, "outcome_unknown", NONE, {}),
            ("memory flag in words", {"exit_code": 0, "oom_killed": "true"}, "outcome_unknown", NONE, {}),
        )
    ),
    silent("good marker last", MARK % 0 + "exit 0", "", MARKER, warned=("verdict_unconfirmed",), code="0"),
    silent("good marker, then more", MARK % 0 + "echo more", "log_marker_missing", PLATFORM, code="0"),
    silent("good marker, platform says 3", MARK % 0 + "exit 3", "machine_exit_nonzero", PLATFORM, code="3"),
    silent("bad marker", MARK % 5 + "exit 5", "machine_exit_nonzero", MARKER, code="5"),
    silent("bad marker, platform says 0", MARK % 5 + "exit 0", "machine_exit_nonzero", MARKER, code="5"),
    silent("marker within a line", "echo 'done [flaude:exit:0]'", "log_marker_missing", PLATFORM),
    silent("no marker, exit 0", "exit 0", "log_marker_missing", PLATFORM, code="0"),
    silent("no marker, exit 3", "exit 3", "machine_exit_nonzero", PLATFORM, code="3"),
    silent("no marker, killed", "kill -9 $$", "killed_by_signal", PLATFORM, code="137"),
    silent("good marker in a log that ends early", MARK % 0 + "sleep 0.5", "machine_lost", NONE,
           settings={"platform_lines": False}, slow=True, **LOST),
    silent("good marker in a log that is refused", MARK % 0 + "sleep 0.5", "machine_lost", NONE,
           settings={"logs_readable": False}, **LOST),
    silent("good marker in a log that lags", MARK % 0 + "exit 0", "", MARKER,
           settings={"log_lag_s": 2.0}, warned=("verdict_unconfirmed",), slow=True),
]  # fmt: skip


def payload(name: str) -> Any:
    document = json.loads((FIXTURES / f"{name}.json").read_text())
    return document["events"] if isinstance(document, dict) and "events" in document else document


SHAPES = payload("aiimplement-exit-event-shapes")
LATER = [{"type": "health", "status": "passing", "timestamp": 1_700_000_000_000 + n} for n in range(8)]
EVENTS = r"/machines/[0-9a-f]+/events"


def events(name: str, events: Any, type_: str, source: str, **more: Any) -> Case:
    """A foreign image whose history reads as recorded; in truth it exits with 0."""
    return foreign(
        f"history: {name}", "exit 0", type_, source, faults=(respond(EVENTS, 200, events),), **more
    )


PAYLOADS = [
    events("exit 127 of 2022", payload("docs-get-machine-stopped-exit127"), "entrypoint_crashed", EVENT,
           code="127"),
    events("zeros of 2026", payload("uckele-events-exit0-explicit-zeros"), "", EVENT, code="0"),
    events("memory, 137", payload("ampbase-events-oom137"), "machine_oom", EVENT, code="137"),
    events("two exits, nested differently", payload("ampbase-events-monitor-nesting"),
           "machine_exit_nonzero", EVENT),
    events("destroyed, never exited", payload("ampbase-events-destroyed-never-exited"),
           "log_marker_missing", PLATFORM),
    events("clean exit of July 2026", [SHAPES["clean_exit_0"]], "", EVENT, code="0"),
    events("exit 2 of July 2026", [SHAPES["exit_2"]], "machine_exit_nonzero", EVENT, code="2"),
    events("memory crash of July 2026", [SHAPES["oom_killed"]], "machine_oom", EVENT, code="137"),
    events("kill without a flag", [SHAPES["sigkill_no_flag"]], "killed_by_signal", EVENT, code="137"),
    events("exit older than five events", [*LATER, SHAPES["exit_2"]], "machine_exit_nonzero", EVENT,
           code="2"),
    events("a restart after the exit", [{"type": "start", "status": "started"}, SHAPES["clean_exit_0"]],
           "log_marker_missing", PLATFORM),
    events("no history", [], "log_marker_missing", PLATFORM),
    foreign("history refused, the record has it", "exit 3", "machine_exit_nonzero", EVENT, code="3",
            faults=(respond(EVENTS, 400, {"error": "unknown"}),)),
    foreign("history is no list", "exit 3", "machine_exit_nonzero", EVENT, faults=(respond(EVENTS, 200,
            {}),)),
    foreign("history fails for long", "exit 3", "machine_exit_nonzero", EVENT, slow=True,
            faults=(respond(EVENTS, 503, "busy"),)),
    foreign("all refused but the log", "exit 3", "machine_exit_nonzero", PLATFORM, code="3",
            settings={"destroyed_retention_s": 0.0, "exit_event_shape": NONE}),
]  # fmt: skip

CASES = [*OURS, *FOREIGN, *PAYLOADS]
