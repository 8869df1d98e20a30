"""One line of Claude Code's stream as an event, and its fields as values that can be relied on.

Processes of the agent's uid can write into the stream, so nothing in it is sure to have the shape it should
have, or to be a number that anybody could work with. What the events mean is `conversation`'s.
"""

from __future__ import annotations

import json
from typing import Any, Mapping, NoReturn

DEPTH_MAX = 200
"""Reading, showing and sending on what is nested deeper could end in a RecursionError."""
WORD_CHARS = 100


def parse(line: bytes) -> Mapping[str, Any] | None:
    """An event, or None for anything that is not a JSON object that any reader could take."""
    try:
        event = json.loads(line, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict):
        return None
    if line.count(b"[") + line.count(b"{") > DEPTH_MAX and _depth(event) > DEPTH_MAX:
        return None
    return event


def blocks(event: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The content blocks of an assistant or user event, as dicts."""
    message = event.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []


def word(value: Any) -> str | None:
    """A code of the stream: a short text."""
    return value if isinstance(value, str) and len(value) <= WORD_CHARS else None


def number(value: Any) -> float | None:
    """A number from 0 up that a float can hold; 1e11 seconds are three thousand years."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 <= value < 1e11 else None


def whole(value: Any) -> int | None:
    return value if isinstance(value, int) and number(value) is not None else None


def fits(value: Any, most: int) -> bool:
    """Whether it is JSON of at most that many bytes, with no number in it that JSON does not know."""
    try:
        return len(json.dumps(value, allow_nan=False)) <= most
    except ValueError:
        return False


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        inner = (part for one in level for part in (one.values() if isinstance(one, dict) else one))
        level = [part for part in inner if isinstance(part, (dict, list))]
    return depth


def _no_number(_: str) -> NoReturn:
    raise ValueError("NaN and infinity are not JSON")
