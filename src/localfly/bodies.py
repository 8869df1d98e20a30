"""Request bodies as the Machines API reads them, with Go's words for what cannot be read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from localfly.wire import refused

if TYPE_CHECKING:
    from starlette.requests import Request

_GO_KINDS = {list: "array", str: "string", int: "number", float: "number", bool: "bool"}


async def json_object(request: Request, go_type: str = "main.request") -> dict[str, Any]:
    """The body as an object. Raises ApiError 400."""
    raw = await request.body()
    if not raw:
        raise refused(400, "EOF")
    return _object(raw, go_type)


async def json_object_or_empty(request: Request, go_type: str) -> dict[str, Any]:
    """As `json_object`, but no body at all is an empty object."""
    raw = await request.body()
    return _object(raw, go_type) if raw else {}


def _object(raw: bytes, go_type: str) -> dict[str, Any]:
    try:
        document = json.loads(raw)
    except ValueError as error:
        raise refused(400, "invalid character in request body") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        kind = _GO_KINDS.get(type(document), "value")
        raise refused(400, f"json: cannot unmarshal {kind} into Go value of type {go_type}")
    return document
