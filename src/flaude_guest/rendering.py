"""Claude Code's events as lines for people: what it said, which tools it used, what came back.

Text only; making it harmless is `output`'s job, what it means `conversation`'s. What is
shortened here has its secrets hidden first.
"""

from __future__ import annotations

import json
import re
from typing import Any, Iterator, Mapping, Match

from flaude_guest.events import blocks, number
from flaude_guest.output import seen
from flaude_guest.secrecy import NOTHING, Secrecy

TOOL_INPUT_CHARS = 200
TOOL_RESULT_LINES = 5
_ESCAPED = re.compile(r"\\(u00[01][0-9a-f]|[^u])")
# The one argument that says what a tool was used for, by how telling it is.
_TELLING = ("command", "file_path", "path", "pattern", "url", "query", "description", "prompt")
# Progress notes without news for a reader.
_QUIET = frozenset(
    {"status", "task_started", "task_updated", "background_tasks_changed", "hook_started", "hook_response"}
)


def render(event: Mapping[str, Any], *, full: bool, secrecy: Secrecy = NOTHING) -> Iterator[str]:
    """Lines for one event; with `full` nothing is shortened or left out."""
    kind = event.get("type")
    if kind == "assistant":
        for block in blocks(event):
            yield from _said(block, full, secrecy)
    elif kind == "user":
        for block in blocks(event):
            if block.get("type") == "tool_result":
                yield from _came_back(block, full)
    elif kind == "system":
        yield from _system(event, full)
    elif kind == "result":
        yield _result(event)
    elif kind == "rate_limit_event":
        limit = event.get("rate_limit_info")
        if full or not isinstance(limit, dict) or limit.get("status") != "allowed":
            yield "rate limit: " + _json(limit)
    else:
        yield "event: " + _json(event if full else {"type": kind})


def _said(block: Mapping[str, Any], full: bool, secrecy: Secrecy) -> Iterator[str]:
    kind = block.get("type")
    if kind == "text":
        yield from str(block.get("text")).splitlines()
    elif kind == "tool_use":
        yield "> %s: %s" % (block.get("name"), _tool_input(block.get("input"), full, secrecy))
    elif full:
        yield from str(block.get("thinking") or _json(block)).splitlines()


def _tool_input(given: Any, full: bool, secrecy: Secrecy) -> str:
    if full or not isinstance(given, dict):
        return _json(given)
    telling = next((given[name] for name in _TELLING if isinstance(given.get(name), str)), None)
    # Hidden before its lines are joined, too: a secret may have more than one.
    shown = _json(given) if telling is None else "\n".join(map(seen, telling.splitlines()))
    text = " ".join(secrecy.hide(shown).split())
    return text if len(text) <= TOOL_INPUT_CHARS else secrecy.cut(text, TOOL_INPUT_CHARS) + " ..."


def _came_back(block: Mapping[str, Any], full: bool) -> Iterator[str]:
    content = block.get("content")
    if isinstance(content, list):
        texts = [one.get("text") if isinstance(one, dict) else None for one in content]
        content = "\n".join(text if isinstance(text, str) else "(not text)" for text in texts)
    lines = str(content).splitlines() if content is not None else []
    shown = lines if full else lines[:TOOL_RESULT_LINES]
    mark = "  ! " if block.get("is_error") is True else "  | "
    for line in shown:
        yield mark + line
    if len(lines) > len(shown):
        yield "%s... %d more lines" % (mark, len(lines) - len(shown))


def _system(event: Mapping[str, Any], full: bool) -> Iterator[str]:
    subtype = event.get("subtype")
    if subtype == "init":
        yield "Claude Code %s, model %s" % (event.get("claude_code_version"), event.get("model"))
    elif subtype == "api_retry":
        yield _again(event)
    elif subtype == "permission_denied":
        yield "permission denied: %s" % event.get("tool_name")
    elif subtype == "compact_boundary":
        yield "the conversation was compacted"
    elif full or subtype not in _QUIET:
        yield "%s: %s" % (
            subtype,
            event.get("content") if isinstance(event.get("content"), str) else _json(event),
        )
        return
    if full:
        yield _json(event)


def _again(event: Mapping[str, Any]) -> str:
    status = event.get("error_status")
    error = "model API error %s (%s)" % (status, event.get("error"))
    return "%s: attempt %s of %s, again in %s ms" % (
        "no answer from the model API" if status is None else error,
        *(event.get(name) for name in ("attempt", "max_retries", "retry_delay_ms")),
    )


def _result(event: Mapping[str, Any]) -> str:
    cost = number(event.get("total_cost_usd"))
    money = "" if cost is None else ", %.4f USD" % cost
    ending = event.get("terminal_reason") or event.get("subtype")
    error = " with an error" if event.get("is_error") is not False else ""
    return "Claude Code ended%s: %s, %s turns%s" % (error, ending, event.get("num_turns"), money)


def _json(value: Any) -> str:
    """As JSON, but for ends of lines, and for what is not seen, which would hide a secret it stands in."""
    return seen(_ESCAPED.sub(_unescaped, json.dumps(value, ensure_ascii=False)))


def _unescaped(code: Match[str]) -> str:
    if code[1] in "nrt":
        return " "
    return chr(int(code[1][1:], 16)) if code[1][0] == "u" else "" if code[1] in "bf" else code[0]
