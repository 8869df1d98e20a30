"""Evidence in, verdict out: pure, and the only place that says whether a run passed.

Who gathers the evidence is `machine` and `run`; the agent's own verdict is made on the machine from Claude
Code's event stream and arrives here inside the guest's result document.

Strongest first, each with the name it bears in output `exit_code_source`:

    guest_result   the document our guest kept, whole and with the right digest
    api_event      the newest exit or crash event of this launch
    api_status     the state Fly reports, without an exit event
    log_marker     `[flaude:exit:N]` as the workload's last line
    platform_log   Fly's own log line "machine exited with exit code N"
    none           nothing: failure

    rule  when                                             verdict
    a     our deadline or cancel came first                its type, unless a good result is older
    b     our image, good document                         the document decides; later signs are notices
    c     our image, document missing                      event, then marker may pass a job that was handed
                                                           over and has nothing to deliver; all else fails
    c, d  an exit event that cannot be read                never passes: the log may only name the failure
    d     foreign image                                    event decides; silent API: marker 0 passes only as
                                                           the last line of a complete log in which Fly says
                                                           0 too, with a warning
    e     document says not ok, digest wrong, no evidence, failure
          changes that did not reach us, or in which a credential stands
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from flaude_action.evidence import moment

if TYPE_CHECKING:
    from flaude_action.evidence import Evidence, ExitEvent, OwnStop

Conclusion = Literal["success", "failure", "cancelled", "skipped"]
Source = Literal["guest_result", "api_event", "api_status", "log_marker", "platform_log", "none"]

# The guest's own exit codes, for when its document is lost (flaude_guest.supervisor).
_GUEST_CODES = {70: "environment_unusable", 75: "boot_marker_missing", 124: "run_timeout", 130: "cancelled"}
_UNREADABLE = "Fly told of the end, but not in words that this version knows."
_NEVER_STARTED = "Nothing ever ran on it: an image that Fly cannot pull is the usual cause."
_NOT_STARTED_CODES = {126, 127}  # POSIX shells and init: command not executable, not found


@dataclass(frozen=True)
class Verdict:
    """What the step says. `type` is a catalog id, empty on success; `warnings` and `notices` never decide."""

    conclusion: Conclusion
    type: str = ""
    exit_code: int | None = None
    source: Source = "none"
    signal: int | None = None
    oom_killed: bool = False
    details: str = ""
    line: str = ""
    retry_at: float | None = None
    warnings: tuple[tuple[str, str], ...] = ()
    notices: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        return self.conclusion == "success"


def judge(evidence: Evidence) -> Verdict:
    """Apply the rules of the module's table. Never raises on any evidence."""
    stop = evidence.own_stop
    if stop is not None and not _good_result_before(evidence.result, stop.at):
        return _stopped_by_us(evidence, stop)
    if evidence.ours and evidence.result is not None:
        return _by_document(evidence, evidence.result)
    if evidence.result_tampered:
        return _failed("result_tampered")
    return _by_platform(evidence)


def _good_result_before(result: dict[str, Any] | None, stopped_at: float) -> bool:
    if result is None or result.get("ok") is not True:
        return False
    agent = result.get("agent")
    told = agent.get("result_at") if isinstance(agent, dict) else None
    finished = moment(told) or moment(result.get("finished_at"))
    return finished is not None and finished <= stopped_at


def _stopped_by_us(evidence: Evidence, stop: OwnStop) -> Verdict:
    conclusion: Conclusion = "cancelled" if stop.type == "cancelled" else "failure"
    code = 130 if stop.type == "cancelled" else 124
    source: Source = "guest_result" if evidence.result is not None else "none"
    warnings = _guest_warnings(evidence.result) if evidence.result is not None else ()
    return Verdict(conclusion, stop.type, code, source, details=stop.details, warnings=warnings)


def _by_document(evidence: Evidence, result: dict[str, Any]) -> Verdict:
    """Rule b. Signs that came after the document are our own destroy's doing: told, not weighed."""
    code = result.get("exit_code")
    code = code if type(code) is int else None  # True is an int too
    verdict = Verdict(
        "success",
        exit_code=code,
        source="guest_result",
        signal=_signal_of(code),
        warnings=_guest_warnings(result),
        notices=_contradictions(evidence, code),
    )
    if result.get("ok") is True and code == 0 and not result.get("error"):
        if evidence.secret_in_changes:
            return replace(verdict, conclusion="failure", type="secret_in_changes")
        if evidence.work_lost:
            return replace(verdict, conclusion="failure", type="collect_failed")
        return verdict
    error = result.get("error")
    error = error if isinstance(error, dict) else {}
    type_ = error.get("type")
    type_ = type_ if isinstance(type_, str) and type_ else "agent_error"
    return replace(
        verdict,
        conclusion="cancelled" if type_ == "cancelled" else "failure",
        type=type_,
        exit_code=code or 1,
        oom_killed=type_ in ("agent_oom", "machine_oom"),
        details=str(error.get("details") or ""),
        line=str(error.get("line") or ""),
        retry_at=moment(error.get("retry_at")),
    )


def _guest_warnings(result: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    told = result.get("warnings")
    rows = told if isinstance(told, list) else []
    return tuple(
        (str(row["type"]), str(row.get("details") or ""))
        for row in rows
        if isinstance(row, dict) and row.get("type")
    )


def _contradictions(evidence: Evidence, code: int | None) -> tuple[str, ...]:
    notices = []
    event = evidence.exit
    if event is not None and event.oom_killed:
        notices.append("Fly reports an out-of-memory kill after the result was in.")
    elif event is not None and event.code is not None and event.code != code:
        notices.append(f"Fly reports exit code {event.code} for the machine's end, after the result was in.")
    if evidence.state == "failed":
        notices.append("Fly reports the machine as failed, after the result was in.")
    return tuple(notices)


def _by_platform(evidence: Evidence) -> Verdict:
    """Rules c and d: no document, so Fly's events, its state, then the log."""
    if evidence.exit is not None and (judged := _by_event(evidence, evidence.exit)) is not None:
        return judged
    if evidence.state == "failed":
        failed = _failed("machine_failed", source="api_status", code=evidence.platform_code)
        return replace(failed, details=_NEVER_STARTED if evidence.never_started else "")
    if evidence.marker is not None and (judged := _by_marker(evidence, evidence.marker)) is not None:
        return judged
    if evidence.platform_code:
        return _by_code(evidence, evidence.platform_code, "platform_log")
    if evidence.trouble:
        return _failed(evidence.trouble)
    if evidence.exit is not None:
        return replace(_failed("outcome_unknown"), details=_UNREADABLE)
    if evidence.platform_code == 0:
        return _failed(_owed(evidence) or "log_marker_missing", source="platform_log", code=0)
    if evidence.gone or evidence.state:
        return replace(_failed("machine_lost"), details=_NEVER_STARTED if evidence.never_started else "")
    return _failed("outcome_unknown")


def _by_event(evidence: Evidence, event: ExitEvent) -> Verdict | None:
    code = event.code
    if event.oom_killed:
        return _failed("machine_oom", source="api_event", code=code or 137, oom=True)
    if event.requested_stop:
        return _failed("machine_stopped_externally", source="api_event", code=code)
    fatal = event.fatal_signal
    if fatal is not None or event.type == "crash" or (event.exit_code or 0) < 0:
        number = fatal if fatal is not None else _signal_of(code)
        failed = _failed("killed_by_signal", source="api_event", code=code or (128 + (number or 9)))
        return replace(failed, signal=number, details=_signalled(number) if number else "")
    if event.error and not code:
        return _failed("machine_failed", source="api_event", code=code)
    if code is None:
        return None
    if evidence.state == "failed" and code == 0:
        return _failed("machine_failed", source="api_status", code=code)
    return _by_code(evidence, code, "api_event")


def _by_marker(evidence: Evidence, marker: int) -> Verdict | None:
    if marker != 0:
        return _by_code(evidence, marker, "log_marker")
    if evidence.exit is not None or not evidence.marker_is_last or evidence.platform_code:
        return None
    if not evidence.ours and not (evidence.log_complete and evidence.platform_code == 0):
        return None
    judged = _by_code(evidence, 0, "log_marker")
    return replace(judged, warnings=(("verdict_unconfirmed", ""),)) if judged.ok else judged


def _by_code(evidence: Evidence, code: int, source: Source) -> Verdict:
    """A bare exit code of the machine's main process: our supervisor's, or a foreign image's."""
    if code == 0:
        owed = _owed(evidence)
        return (
            _failed(owed, source=source, code=0) if owed else Verdict("success", exit_code=0, source=source)
        )
    type_, details = "machine_exit_nonzero", f"It ended with exit code {code}."
    if code in _NOT_STARTED_CODES:
        type_ = "entrypoint_crashed"
    elif evidence.ours and code in _GUEST_CODES:
        type_, details = _GUEST_CODES[code], ""
    elif (number := _signal_of(code)) is not None:
        type_, details = "killed_by_signal", _signalled(number)
    return replace(_failed(type_, source=source, code=code), details=details)


def _owed(evidence: Evidence) -> str:
    """Why an exit with 0 proves too little without our guest's document; "" when it does not."""
    if not evidence.ours:
        return ""
    if not evidence.provisioned:
        return "boot_marker_missing"
    return "collect_failed" if evidence.has_delivery else ""


def _failed(type_: str, *, source: Source = "none", code: int | None = None, oom: bool = False) -> Verdict:
    conclusion: Conclusion = "cancelled" if type_ == "cancelled" else "failure"
    return Verdict(conclusion, type_, code, source, signal=_signal_of(code), oom_killed=oom)


def _signal_of(code: int | None) -> int | None:
    """The signal a shell-style exit code above 128 stands for."""
    return code - 128 if code is not None and 128 < code < 128 + 65 else None


def _signalled(number: int) -> str:
    name = f" ({signal.Signals(number).name})" if number in set(signal.Signals) else ""
    return f"Signal {number}{name} ended the machine's main process."
