"""How a run with a machine ends in every failure, and with every warning: the evidence, and its log.

What the log says of the end is read out of it as the action reads it, so that the two never differ. Failures
without a machine, and how all of them are told, are in `failures`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from flaude_action.evidence import Evidence, ExitEvent, OwnStop
from flaude_action.log_lines import GuestLines, LogLine
from flaude_action.log_witness import LogWitness
from flaude_guest.protocol import exit_line

OURS = "ghcr.io/owner/flaude-machine:0.1.0"
FOREIGN = "ghcr.io/acme/agent:2"
RESETS_AT = 1795269600.0

SETUP = """\
npm warn deprecated glob@7.2.3
src/pages.ts(12,5): error TS2322: Type 'string' is not assignable to type 'number'.
src/pages.ts(40,9): error TS2304: Cannot find name 'siez'.
make: *** [Makefile:3: build] Error 2"""
FINDINGS = [
    {"file": "src/pages.ts", "line": 12, "column": 5,
     "message": "error TS2322: Type 'string' is not assignable to type 'number'."},
    {"file": "src/pages.ts", "line": 40, "column": 9, "message": "error TS2304: Cannot find name 'siez'."},
]  # fmt: skip
WORK = """\
Claude Code 2.1.330, model claude-sonnet-5
I'll run the tests first.
> Bash: python -m pytest -q
  | FAILED tests/test_pages.py::test_last_page - assert 3 == 2
The last page is counted twice. I'll fix `pages()`."""
FETCHED = "[flaude] checked out widget at 2f1c6e0b5d8a4937a6d15be0c7f3924d81ea560b"
BEFORE = {
    "checks": (), "fetch": ("checks",), "setup": ("checks", "fetch"), "agent": ("checks", "fetch"),
    "collect": ("checks", "fetch", "agent"),
}  # fmt: skip
SAID = {"fetch": FETCHED, "agent": WORK}

Log = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class End:
    """The evidence of a run, its log as `(provider, message)`, and what else is known.

    `phases` are those of the guest that were reached; `ran` says that the machine was seen to run, `changed`
    that a changeset came; `details` are those of what broke the link to it.
    """

    evidence: Evidence
    log: Log
    phases: tuple[str, ...] = ()
    ran: bool = True
    changed: bool = False
    details: str = ""
    problems: tuple[str, ...] = ()
    cleanup: str = "destroyed"

    @property
    def image(self) -> str:
        return OURS if self.evidence.ours else FOREIGN


# What the log says


def _platform(*messages: str) -> Log:
    return tuple(("runner", message) for message in messages)


def _app(text: str) -> Log:
    return tuple(("app", line) for line in text.splitlines())


def _pull(image: str) -> Log:
    return _platform(f"Pulling container image {image}")


def _exited(code: int, *more: str) -> Log:
    killed = "with signal (with signal 'SIGKILL', core dumped? false)"
    how = killed if code == 137 else f"normally with code: {code}"
    init = [f" INFO Main child exited {how}", " INFO Starting clean up.", *more]
    return _app("\n".join(init)) + _platform(f"machine exited with exit code {code}, not restarting")


def _event(type_: str, **members: Any) -> str:
    return f"[flaude:event:{json.dumps({'type': type_} | members)}]"


def _at_work(phase: str = "agent", work: str = WORK) -> Log:
    """Our guest's log from the pull to the work of a phase, and no further."""
    lines = [_event("boot", protocol=1)]
    for before in BEFORE[phase]:
        lines += [_event("phase", phase=before), *SAID.get(before, "").splitlines()]
    return _pull(OURS) + _app("\n".join([*lines, _event("phase", phase=phase), work]))


def _done(phase: str, work: str, code: int) -> Log:
    """Our guest's whole log."""
    rest = [_event("phase", phase=name) for name in ("collect", "hold") if name != phase]
    log = _at_work(phase, work) + _app("\n".join(rest))
    result = _event("result", lines=sum(provider == "app" for provider, _ in log) + 1)
    return log + _app(f"{result}\n{exit_line(code)}") + _exited(code)


# What is known of the end


def _evidence(log: Log, **facts: Any) -> Evidence:
    """The evidence with what its log says."""
    witness, guest = LogWitness(), GuestLines()
    for provider, message in log:
        witness.see(message, provider)
        guest.see(LogLine("", message, provider, "info", "", "fra", ""))
    told = {
        "marker": witness.marker,
        "marker_is_last": witness.marker_is_last,
        "platform_code": witness.platform_code,
        "log_complete": guest.whole(None) if guest.booted else guest.platform_exit,
    }
    return Evidence(**(told | facts))


def _result(type_: str, code: int, **members: Any) -> dict[str, Any]:
    """A result document of our guest's; `type_` is empty for a good one."""
    error = {"type": type_, "details": "", "line": "", "retry_at": None} | members.pop("error", {})
    agent = {"num_turns": 3, "cost_usd": 0.0421, "result": "" if type_ else "Done."}
    return {
        "ok": not type_,
        "exit_code": code,
        "error": error if type_ else None,
        "agent": agent,
        "findings": [],
        "warnings": [],
    } | members


def _told(
    type_: str, details: str = "", line: str = "", *, phase: str = "agent", log: str | None = None,
    code: int = 1, retry_at: float | None = None, changed: bool = True, **members: Any,
) -> End:  # fmt: skip
    """Our guest's document tells of a failure in a phase; `log` is the phase's work."""
    error = {"details": details, "line": line, "retry_at": retry_at}
    worked = "agent" in (phase, *BEFORE[phase])
    lines = _done(phase, SAID.get(phase, "") if log is None else log, code)
    result = _result(type_, code, error=error, **(members if worked else members | {"agent": None}))
    evidence = _evidence(lines, ours=True, provisioned=True, result=result)
    return End(evidence, lines, (*BEFORE[phase], phase), changed=worked and changed)


def _at_once(type_: str, details: str, line: str) -> End:
    """The model's first answer was the last."""
    agent = {"num_turns": 1, "cost_usd": 0.0, "result": ""}
    return _told(type_, details, line, log=WORK.partition("\n")[0], agent=agent, changed=False)


def _good(
    type_: str = "", details: str = "", *, cleanup: str = "destroyed", problem: str = "", **facts: Any
) -> End:
    """A run that went well, with a warning of the guest's."""
    lines = _done("agent", WORK, 0)
    result = _result("", 0, warnings=[{"type": type_, "details": details}] if type_ else [])
    known = {"ours": True, "provisioned": True, "result": result} | facts
    return End(
        _evidence(lines, **known),
        lines,
        (*BEFORE["collect"], "collect"),
        changed=True,
        problems=(problem,) if problem else (),
        cleanup=cleanup,
    )


def _broken(log: Log, *, ran: bool = True, details: str = "", **facts: Any) -> End:
    """Our image without a document: Fly's word, what broke the link, or our own stop."""
    at_work = log[: len(_at_work())] == _at_work()
    phases = (*BEFORE["agent"], "agent") if at_work else ()
    known = {"ours": True, "provisioned": at_work} | facts
    return End(_evidence(log, **known), log, phases, ran, details)


def _foreign(text: str, code: int, **facts: Any) -> End:
    """An image without our guest that ran to its end."""
    lines = _pull(FOREIGN) + _app(text) + _exited(code)
    return End(_evidence(lines, ours=False, **facts), lines)


def _api(status: int) -> str:
    return f"The model API answered HTTP {status}."


_PULLING = _pull(OURS)
_NOT_PULLED = _PULLING + _platform(f"Failed to pull container image {OURS}: not found")
_OTHER_PROGRAM = _PULLING + _app("Server listening on port 3000.")
_BAD_ENTRYPOINT = _PULLING + _app("exec /usr/local/bin/start: exec format error") + _exited(126)
_TERMINATED = _at_work() + _app(exit_line(143)) + _exited(143)
_OTHER_PROTOCOL = "The image speaks protocol 2, this action speaks 1."

ENDS: dict[str, End] = {
    "machine_boot_timeout": _broken(_PULLING, ran=False, own_stop=OwnStop("machine_boot_timeout", 0.0)),
    "machine_exec_refused": _broken(_PULLING, trouble="machine_exec_refused"),
    "boot_marker_missing": _broken(_OTHER_PROGRAM, trouble="boot_marker_missing"),
    "entrypoint_crashed": _broken(_BAD_ENTRYPOINT, exit=ExitEvent(exit_code=126)),
    "environment_unusable": _told("environment_unusable", "Only 212 MiB of disk space are free.",
                                  phase="checks", code=70),
    "protocol_mismatch": _broken(_PULLING, ran=False, trouble="protocol_mismatch", details=_OTHER_PROTOCOL),
    "clone_auth_failed": _told("clone_auth_failed", "The server answered HTTP 403.",
                               "remote: Write access to repository not granted.", phase="fetch", log=""),
    "clone_ref_not_found": _told("clone_ref_not_found", "The repository answers but has no such ref.",
                                 phase="fetch", log=""),
    "clone_failed": _told("clone_failed", "git exited with 128.",
                          "fatal: unable to access: Could not resolve host: github.com",
                          phase="fetch", log=""),
    "clone_archive_unusable": _told("clone_archive_unusable", phase="fetch", log=""),
    "setup_command_failed": _told("setup_command_failed", "It ended with exit code 2.", phase="setup",
                                  log=SETUP, code=2, findings=FINDINGS),
    "agent_start_failed": _told("agent_start_failed", "Claude Code exited with 1.",
                                "error: unknown option '--modle'",
                                log="claude: error: unknown option '--modle'", changed=False, agent=None),
    "model_auth_failed": _at_once("model_auth_failed", _api(401), "Invalid bearer token"),
    "model_permission_denied": _at_once("model_permission_denied", _api(403),
                                     "Your organization does not have access to Claude Code."),
    "model_not_found": _at_once("model_not_found", _api(404), "model: claude-oups-4"),
    "model_billing": _at_once("model_billing", _api(400),
                           "Your credit balance is too low to access the Anthropic API."),
    "model_usage_limit": _told("model_usage_limit", _api(429), "You've hit your limit", retry_at=RESETS_AT),
    "model_rate_limited": _told("model_rate_limited", _api(429), "This request would exceed your rate limit"),
    "model_overloaded": _at_once("model_overloaded", _api(529), "Overloaded"),
    "model_server_error": _told("model_server_error", _api(500), "Internal server error"),
    "model_unreachable": _at_once("model_unreachable", "The model API gave no HTTP answer.",
                               "Connection error."),
    "model_stream_stalled": _told("model_stream_stalled", "No tool was running; the model was silent.",
                                  code=124),
    "model_invalid_request": _told("model_invalid_request", _api(400),
                                   "messages.3.content.0: unexpected `tool_use_id`"),
    "model_refused": _told("model_refused", line="I can't help with that."),
    "model_output_limit": _told("model_output_limit", "",
                                "Claude's response exceeded the 64000 output token maximum."),
    "request_too_large": _told("request_too_large", _api(413), "Request too large (max 32MB)."),
    "context_overflow_initial": _at_once("context_overflow_initial", "", "Prompt is too long"),
    "context_overflow": _told("context_overflow", line="Prompt is too long"),
    "compaction_failed": _told("compaction_failed", line="Error during compaction: overloaded"),
    "max_turns_reached": _told("max_turns_reached"),
    "budget_exhausted": _told("budget_exhausted"),
    "structured_output_invalid": _told("structured_output_invalid"),
    "structured_output_missing": _told("structured_output_missing"),
    "hook_blocked": _told("hook_blocked"),
    "agent_error": _told("agent_error", "The result is an error of no known kind.",
                         "Something new went wrong."),
    "agent_interrupted": _told("agent_interrupted"),
    "result_missing": _told("result_missing", "Claude Code exited with 0."),
    "agent_oom": _told("agent_oom", "Processes killed for memory: 1.", code=137),
    "agent_silent_timeout": _told("agent_silent_timeout", "A tool was running.",
                                  "last tool: Bash: npm run dev", code=124),
    "run_timeout": _told("run_timeout", code=124),
    "machine_oom": _broken(_at_work() + _exited(137, "Process appears to have been OOM killed!"),
                           exit=ExitEvent(exit_code=137, oom_killed=True)),
    "machine_stopped_externally": _broken(_TERMINATED, exit=ExitEvent(requested_stop=True, exit_code=143)),
    "killed_by_signal": _broken(_at_work() + _exited(137), exit=ExitEvent(exit_code=137)),
    "machine_failed": _broken(_NOT_PULLED, ran=False, state="failed", never_started=True),
    "machine_exit_nonzero": _foreign("Traceback (most recent call last):\nKeyError: 'TOKEN'", 1,
                                     exit=ExitEvent(exit_code=1)),
    "machine_lost": _broken(_at_work(), gone=True),
    "guest_lost": _broken(_at_work(), trouble="guest_lost"),
    "log_marker_missing": _foreign("The page count is right now.", 0),
    "permission_blocked": _told("permission_blocked", "Uses denied: 4. No file was changed.", changed=False),
    "disk_full": _told("disk_full", "The changeset could not be written.", "No space left on device",
                       phase="collect", changed=False),
    "collect_failed": _good(work_lost=True, problem="The file 'patch' could not be fetched whole."),
    "secret_in_changes": _good(secret_in_changes=True),
    "result_tampered": _broken(_at_work(), result_tampered=True),
    "outcome_unknown": _broken(_at_work(), exit=ExitEvent(unknown_keys=("evicted",))),
    # Only warnings
    "log_stream_lost": _good(log_complete=False),
    "agent_linger": _good("agent_linger", "Its process was ended after the result."),
    "agent_config_ignored": _good("agent_config_ignored", "MCP servers that did not start: 1."),
    "tool_oom": _good("tool_oom", "Processes killed for memory: 2."),
    "verdict_unconfirmed": _foreign(f"The page count is right now.\n{exit_line(0)}", 0),
    "cleanup_failed": _good(cleanup="leaked:148e2d1c"),
}  # fmt: skip
"""By the failure's id."""
