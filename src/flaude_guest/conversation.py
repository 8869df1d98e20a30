"""What Claude Code's event stream says, reduced to the codes that decide: kept small however long it runs.

Which codes mean which failure is in `judgement`. Events: https://code.claude.com/docs/en/headless and what
Claude Code 2.1.330 was seen to print (tests/reference/claude-runs).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Mapping

from flaude_guest.events import blocks, fits, number, whole, word
from flaude_guest.secrecy import NOTHING, Secrecy

RESULT_MAX_BYTES = 64 * 1024
STRUCTURED_MAX_BYTES = 256 * 1024
"""With the text and all else the result stays small enough for one exec answer."""
LINE_CHARS = 500
NAME_CHARS = 200
DENIALS_MAX = 100
OPEN_TOOLS_MAX = 1000
_SYNTHETIC = "<synthetic>"
_SAID_STATUS = re.compile(r"\bAPI Error: (?:Request rejected \()?([45]\d\d)\b")


@dataclass(frozen=True)
class ApiError:
    """The machine-readable cause of a failed request to the model; fields that were absent are '' or None."""

    error: str = ""
    api_error: str = ""
    type: str = ""
    status: int | None = None
    text: str = ""


@dataclass
class Conversation:
    """Facts of one run so far. `result` is the last result event, `result_at` when it came (epoch).

    A result is taken back when another turn begins after it or the model speaks on: a background task's end
    starts one, and only that turn's result tells how it all ended. `command` is the task of a prompt that is
    a command with an agent of its own, like `/review`, and `command_status` how that task ended.
    """

    started: bool = False
    model: str = ""
    mcp_failed: int = 0
    model_turns: int = 0
    compacted: bool = False
    compaction_failed: bool = False
    informed: bool = False
    command: str = ""
    command_status: str = ""
    session_writes_lost: bool = False
    credential_refusals: int = 0
    resets_at: float | None = None
    api_error: ApiError | None = None
    result: Mapping[str, Any] | None = None
    result_at: float | None = None
    open_tools: dict[str, str] = field(default_factory=dict)
    silent_in: str | None = None
    secrecy: Secrecy = NOTHING

    def note(self, event: Mapping[str, Any], now: float) -> None:
        """Take in one event. Never raises: a shape we do not know changes nothing, and so proves nothing."""
        kind = event.get("type")
        if kind == "system":
            self._system(event)
        elif kind == "assistant":
            self._assistant(event)
        elif kind == "user":
            for block in blocks(event):
                self.open_tools.pop(_key(block.get("tool_use_id")), None)
        elif kind == "rate_limit_event":
            self._limit(event.get("rate_limit_info"))
        elif kind == "result":
            self.result, self.result_at = event, now

    def fell_silent(self) -> None:
        """Remember which tool was running, at the first call: ended by us, Claude Code closes its tools."""
        if self.silent_in is None:
            self.silent_in = next(reversed(list(self.open_tools.values())), "")

    @property
    def good_result(self) -> bool:
        """A result that claims success: is_error is exactly false and the turn was completed."""
        result = self.result
        return (
            result is not None
            and result.get("is_error") is False
            and result.get("subtype") == "success"
            and result.get("terminal_reason") in (None, "completed")
        )

    @property
    def asked_model(self) -> bool:
        """Whether the model was asked for the task: it spoke here, or to the command's own agent."""
        usage = (self.result or {}).get("modelUsage")
        used = usage.values() if self.command and isinstance(usage, dict) else ()
        return self.model_turns > 0 or any(
            isinstance(one, dict) and number(one.get("outputTokens")) for one in used
        )

    def text(self) -> str:
        """The final text, at most 64 KiB."""
        said = (self.result or {}).get("result")
        return self.secrecy.cut_bytes(said, RESULT_MAX_BYTES) if isinstance(said, str) else ""

    def line(self, text: Any) -> str:
        """What the stream said, as the beginning of an untrusted line."""
        return self.secrecy.cut(str(text), LINE_CHARS)

    def structured(self) -> tuple[Any, bool]:
        """The structured answer, and whether there is one that cannot be handed on; that one is None."""
        given = (self.result or {}).get("structured_output")
        return (given, False) if fits(given, STRUCTURED_MAX_BYTES) else (None, True)

    def denials(self) -> list[str]:
        """Names of tools that were denied, as often as they were."""
        given = (self.result or {}).get("permission_denials")
        listed = given if isinstance(given, list) else []
        return [self._name(one.get("tool_name")) for one in listed[:DENIALS_MAX] if isinstance(one, dict)]

    def _name(self, given: Any) -> str:
        return self.secrecy.cut(str(given), NAME_CHARS)

    def _system(self, event: Mapping[str, Any]) -> None:
        subtype = event.get("subtype")
        if subtype == "init":
            self.started = True
            self.result = self.result_at = None
            self.model = self._name(event.get("model") or "")
            servers = event.get("mcp_servers")
            if isinstance(servers, list):
                self.mcp_failed = sum(
                    isinstance(one, dict) and one.get("status") == "failed" for one in servers
                )
        elif subtype == "status" and "compact_result" in event:
            self.compaction_failed = event["compact_result"] != "success"
        elif subtype == "compact_boundary":
            self.compacted = True
        elif subtype == "informational":
            self.informed = True
        elif subtype == "api_retry" and event.get("error") == "authentication_failed":
            self.credential_refusals += 1
        elif subtype == "session_writes_lost":
            self.session_writes_lost = True
        elif subtype in ("task_started", "task_notification") and "tool_use_id" not in event:
            self._task(event)

    def _task(self, event: Mapping[str, Any]) -> None:
        """A task that no tool call of the model's began."""
        if event["subtype"] == "task_started" and event.get("task_type") == "local_agent":
            self.command = _key(event.get("task_id"))
        elif self.command and _key(event.get("task_id")) == self.command:
            self.command_status = word(event.get("status")) or ""

    def _limit(self, limit: Any) -> None:
        status = limit.get("status") if isinstance(limit, dict) else None
        if status == "rejected":
            self.resets_at = number(limit.get("resetsAt"))
        elif str(status).startswith("allowed"):
            self.resets_at = None

    def _assistant(self, event: Mapping[str, Any]) -> None:
        self.result = self.result_at = None
        message = event.get("message")
        model = message.get("model") if isinstance(message, dict) else None
        if event.get("is_api_error_message") is True or event.get("error"):
            self.api_error = ApiError(
                error=word(event.get("error")) or "",
                api_error=word(event.get("api_error")) or "",
                type=word(event.get("api_error_type")) or "",
                status=whole(event.get("api_error_status")),
                text=next((self.line(block.get("text")) for block in blocks(event) if "text" in block), ""),
            )
        elif model != _SYNTHETIC:
            self.model_turns += 1
            self.api_error = self.resets_at = None  # the model answered after all
            self.credential_refusals = 0
        for block in blocks(event):
            if block.get("type") == "tool_use":
                self.open_tools[_key(block.get("id"))] = self._name(block.get("name"))
                if len(self.open_tools) > OPEN_TOOLS_MAX:
                    del self.open_tools[next(iter(self.open_tools))]


def cause(conversation: Conversation) -> ApiError:
    """The API error that ended the run: the synthetic message's codes, or those on the result itself."""
    if conversation.api_error is not None:
        return conversation.api_error
    result = conversation.result or {}
    return ApiError(
        api_error=word(result.get("api_error")) or "",
        type=word(result.get("api_error_type")) or "",
        status=whole(result.get("api_error_status")),
        text=conversation.line(result.get("result") or ""),
    )


def command_cause(conversation: Conversation) -> ApiError:
    """Why a command's own agent failed. There is no code for it, so Claude Code's words may name it."""
    text = conversation.text()
    status = _SAID_STATUS.search(text)
    return ApiError(status=int(status[1]) if status else None, text=conversation.line(text))


def _key(value: Any) -> str:
    return str(value)[:NAME_CHARS]
