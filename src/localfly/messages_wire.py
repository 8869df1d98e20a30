"""The Messages API's answers on the wire: one message as JSON, or as the same message in server-sent events.

https://docs.claude.com/en/docs/build-with-claude/streaming gives the order of events. What to answer is
decided in `messages`.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from localfly.messages_script import Tool

Json = dict[str, Any]

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
"""https://docs.claude.com/en/api/errors; anything else is `api_error`."""

USAGE = {
    "input_tokens": 1000,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "output_tokens": 50,
    "service_tier": "standard",
}

_DELTA_CHARS = 24


def error_body(status: int, message: str) -> Json:
    """The API's error document."""
    kind = ERROR_TYPES.get(status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": _id("req")}


def message(model: str, text: str, tools: list[Tool], stop_reason: str, usage: Json) -> Json:
    """A whole assistant message, as a request without `stream` gets it."""
    content: list[Json] = [{"type": "text", "text": text}] if text else []
    content += [
        {"type": "tool_use", "id": _id("toolu"), "name": tool.name, "input": tool.input} for tool in tools
    ]
    return {
        "id": _id("msg"),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {**USAGE, **usage},
    }


def events(whole: Json) -> Iterator[bytes]:
    """The events of a message made by `message`, one encoded event at a time."""
    start = {
        **whole,
        "content": [],
        "stop_reason": None,
        "usage": {**whole["usage"], "output_tokens": 1},
    }
    yield event({"type": "message_start", "message": start})
    yield event({"type": "ping"})
    for index, block in enumerate(whole["content"]):
        yield event({"type": "content_block_start", "index": index, "content_block": _opened(block)})
        for delta in _deltas(block):
            yield event({"type": "content_block_delta", "index": index, "delta": delta})
        yield event({"type": "content_block_stop", "index": index})
    end = {"stop_reason": whole["stop_reason"], "stop_sequence": whole["stop_sequence"]}
    yield event({"type": "message_delta", "delta": end, "usage": whole["usage"]})
    yield event({"type": "message_stop"})


def event(data: Json) -> bytes:
    """One server-sent event; its name repeats the data's `type`."""
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()


def _opened(block: Json) -> Json:
    return {**block, "text": ""} if block["type"] == "text" else {**block, "input": {}}


def _deltas(block: Json) -> Iterator[Json]:
    if block["type"] == "text":
        for piece in _pieces(block["text"]):
            yield {"type": "text_delta", "text": piece}
        return
    yield {"type": "input_json_delta", "partial_json": ""}
    for piece in _pieces(json.dumps(block["input"])):
        yield {"type": "input_json_delta", "partial_json": piece}


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), _DELTA_CHARS):
        yield text[start : start + _DELTA_CHARS]


def _id(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex[:24]}"
