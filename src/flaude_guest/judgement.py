"""From the facts of Claude Code's run to its verdict: success, or one failure type of the catalog.

Pure. The verdict rests on codes: the last result event, the codes of the last API error, how the process
ended, and what we did to it. Whatever is unknown is a failure; text never turns a failure into anything else
than a better-named failure.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flaude_guest.conversation import ApiError, Conversation, cause, command_cause
from flaude_guest.events import number

if TYPE_CHECKING:
    from flaude_guest.processes import Ended

LINGER = "linger"
"""Why a process was ended that had given its result and stayed."""

REFUSED = "refused"
"""Why a process was ended that kept on asking with a credential that is refused."""

_CUT = {
    "timeout": "run_timeout",
    "cancelled": "cancelled",
    "terminated": "machine_stopped_externally",
    REFUSED: "model_auth_failed",
}
_TERMINAL = {
    "max_turns": "max_turns_reached",
    "budget_exhausted": "budget_exhausted",
    "structured_output_retry_exhausted": "structured_output_invalid",
    "image_error": "request_too_large",
    "aborted_streaming": "agent_interrupted",
    "aborted_tools": "agent_interrupted",
    "hook_stopped": "hook_blocked",
    "stop_hook_prevented": "hook_blocked",
}
_SUBTYPE = {
    "error_max_turns": "max_turns_reached",
    "error_max_budget_usd": "budget_exhausted",
    "error_max_structured_output_retries": "structured_output_invalid",
}
_API_ERROR = {"usage_limit_reached": "model_usage_limit", "connection_failed": "model_unreachable"}
_API_TYPE = {
    "permission_error": "model_permission_denied",
    "overloaded_error": "model_overloaded",
    "request_too_large": "request_too_large",
}
_ERROR = {
    "authentication_failed": "model_auth_failed",
    "cloud_credential_error": "model_auth_failed",
    "oauth_org_not_allowed": "model_permission_denied",
    "account_on_hold": "model_permission_denied",
    "verification_required": "model_permission_denied",
    "billing_error": "model_billing",
    "rate_limit": "model_rate_limited",
    "overloaded": "model_overloaded",
    "model_not_found": "model_not_found",
    "max_output_tokens": "model_output_limit",
    "server_error": "model_server_error",
    "invalid_request": "model_invalid_request",
}
_STATUS = {
    400: "model_invalid_request",
    401: "model_auth_failed",
    402: "model_billing",
    403: "model_permission_denied",
    404: "model_not_found",
    413: "request_too_large",
    429: "model_rate_limited",
    529: "model_overloaded",
}
# Node prints a system error's code first: https://nodejs.org/api/errors.html#common-system-errors
_SYSTEM_ERROR = re.compile(r"^(EACCES|EROFS|ENOSPC|EDQUOT|EPERM)\b")


@dataclass(frozen=True)
class Judgement:
    """`type` is '' for success. `line` is untrusted text for the job log."""

    type: str = ""
    details: str = ""
    line: str = ""
    retry_at: float | None = None
    warnings: tuple[tuple[str, str], ...] = ()

    @property
    def ok(self) -> bool:
        return not self.type


def judge(
    said: Conversation, ended: Ended, *, schema_given: bool = False, oom_kills: int = 0, stderr: str = ""
) -> Judgement:
    """`oom_kills` counts the kernel's kills for memory during the run; `stderr` is its first line."""
    failure = (
        _ended_by_us(said, ended)
        or _killed(ended, oom_kills)
        or _without_result(said, ended, stderr)
        or _by_result(said, ended, schema_given)
    )
    warnings = tuple(_warnings(said, ended, oom_kills, failure))
    if failure is None:
        return Judgement(warnings=warnings)
    return Judgement(failure.type, failure.details, failure.line, failure.retry_at, warnings)


def _ended_by_us(said: Conversation, ended: Ended) -> Judgement | None:
    """A good result that came before our signal wins; otherwise our own reason is the failure."""
    in_time = said.result_at is not None and ended.cut_at is not None and said.result_at <= ended.cut_at
    if not ended.cut or ended.cut == LINGER or (said.good_result and in_time):
        return None
    if ended.cut == "silence":
        if said.silent_in:
            return Judgement("agent_silent_timeout", "A tool was running.", "last tool: " + said.silent_in)
        return Judgement("model_stream_stalled", "No tool was running; the model was silent.")
    return Judgement(_CUT[ended.cut])


def _killed(ended: Ended, oom_kills: int) -> Judgement | None:
    if ended.cut or ended.code not in (128 + number for number in signal.valid_signals()):
        return None
    if ended.code == 128 + signal.SIGKILL and oom_kills:
        return Judgement("agent_oom", "Processes killed for memory: %d." % oom_kills)
    return Judgement("killed_by_signal", "Claude Code was killed by signal %d." % (ended.code - 128))


def _without_result(said: Conversation, ended: Ended, stderr: str) -> Judgement | None:
    exited = "Claude Code exited with %d." % ended.code
    if said.result is not None:
        if said.started or said.result.get("is_error") is False or said.result.get("terminal_reason"):
            return None
        return Judgement("agent_start_failed", exited, stderr)
    if said.started:
        return Judgement("result_missing", exited, stderr)
    if _SYSTEM_ERROR.match(stderr):
        return Judgement("environment_unusable", exited, stderr)
    return Judgement("agent_start_failed", exited, stderr)


def _by_result(said: Conversation, ended: Ended, schema_given: bool) -> Judgement | None:
    result = said.result or {}
    if said.good_result:
        return _doubt(said, ended, result, schema_given)
    subtype, terminal = result.get("subtype"), result.get("terminal_reason")
    named = _SUBTYPE.get(str(subtype)) or _TERMINAL.get(str(terminal))
    if named:
        return Judgement(named, line=_first_error(said, result))
    if terminal in ("prompt_too_long", "blocking_limit", "rapid_refill_breaker"):
        return _overflow(said)
    if result.get("stop_reason") == "refusal":
        return Judgement("model_refused", line=said.text())
    if terminal == "api_error":
        return _api(said, cause(said))
    return Judgement("agent_error", "The result is an error of no known kind.", _first_error(said, result))


def _doubt(said: Conversation, ended: Ended, result: Any, schema_given: bool) -> Judgement | None:
    """What can be wrong with a result that claims success."""
    if not ended.cut and ended.code != 0:
        return Judgement("agent_error", "Claude Code exited with %d after its result." % ended.code)
    if result.get("stop_reason") == "refusal":
        return Judgement("model_refused", line=said.text())
    no_turns = result.get("terminal_reason") is None and not result.get("num_turns")
    if no_turns and (failure := _without_turns(said, result)):
        return failure
    answer, unfit = said.structured()
    if unfit:
        return Judgement("structured_output_invalid", "It is too large to be handed on, or not JSON.")
    if schema_given and answer is None:
        return Judgement("structured_output_missing")
    return None


def _without_turns(said: Conversation, result: Any) -> Judgement | None:
    """The prompt was a command, or was stopped. Of a command's own agent only the status tells."""
    if said.command and said.command_status != "completed":
        if number(result.get("safety_stops")):
            return Judgement("model_refused", line=said.text())
        error = command_cause(said)
        failed = Judgement("agent_error", "The command's own agent failed.", error.text)
        return _api(said, error) if error.status else failed
    if said.compaction_failed:
        return Judgement("compaction_failed", line=said.text())
    if said.informed and not said.command:
        return Judgement("hook_blocked", line=said.text())
    if said.compacted or said.asked_model:  # compacting alone is work, when that was what was asked for
        return None
    return Judgement("agent_error", "Claude Code ended without asking the model.", said.text())


def _overflow(said: Conversation) -> Judgement:
    if said.compaction_failed:
        return Judgement("compaction_failed", line=said.text())
    return Judgement("context_overflow" if said.model_turns else "context_overflow_initial", line=said.text())


def _api(said: Conversation, error: ApiError) -> Judgement:
    """The most particular code first: CLI's own cause, the API's type, the CLI's class, the HTTP status."""
    status = error.status or 0
    answered = "The model API answered HTTP %d." % status if status else "The model API gave no HTTP answer."
    named = (
        _API_ERROR.get(error.api_error)
        or _API_TYPE.get(error.type)
        or (_STATUS[529] if status == 529 else None)
        or _ERROR.get(error.error)
        or _STATUS.get(status)
        or ("model_server_error" if status >= 500 else None)
        or _nameless(error)
    )
    if named == "model_permission_denied" and said.credential_refusals:
        named = "model_auth_failed"  # Claude Code asks again only where the credential itself is in doubt
    if named == "model_rate_limited" and said.resets_at is not None:
        named = "model_usage_limit"
    retry_at = said.resets_at if named == "model_usage_limit" else None
    return Judgement(named, answered, error.text, retry_at)


def _nameless(error: ApiError) -> str:
    """A request that failed without any code; only the CLI's words tell a stalled stream from the rest."""
    return "model_stream_stalled" if "stream idle" in error.text else "agent_error"


def _first_error(said: Conversation, result: Any) -> str:
    errors = result.get("errors")
    return said.line(errors[0] if isinstance(errors, list) and errors else result.get("result") or "")


def _warnings(
    said: Conversation, ended: Ended, oom_kills: int, failure: Judgement | None
) -> list[tuple[str, str]]:
    found = []
    if ended.cut and said.good_result:
        found.append(("agent_linger", "Its process was ended after the result."))
    if oom_kills and (failure is None or failure.type != "agent_oom"):
        found.append(("tool_oom", "Processes killed for memory: %d." % oom_kills))
    denials = said.denials()
    if denials:
        found.append(("permission_blocked", "Uses denied: %d." % len(denials)))
    if said.mcp_failed:
        found.append(("agent_config_ignored", "MCP servers that did not start: %d." % said.mcp_failed))
    if said.session_writes_lost:
        found.append(("disk_full", "Claude Code could not write its session."))
    return found
