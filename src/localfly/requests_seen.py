"""What was asked of localfly, for tests: a bounded record of every request, with headers and body.

In memory only, because it holds Authorization headers and whatever secrets the bodies carry.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTROL = "/_localfly/"
"""Requests under this path are not part of any Fly, and are not recorded."""

_MOST_REQUESTS = 20_000
_MOST_BODY_BYTES = 1 << 20


class RequestsSeen:
    def __init__(self) -> None:
        self.seen: deque[dict[str, Any]] = deque(maxlen=_MOST_REQUESTS)


class Recorder:
    """The outermost layer: records method, path, query, headers, body and the status that was answered.

    `status` stays null while the answer is due, and when the connection was closed without one.
    """

    def __init__(self, app: ASGIApp, requests_seen: RequestsSeen) -> None:
        self._app, self._requests_seen = app, requests_seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(CONTROL):
            await self._app(scope, receive, send)
            return
        request: dict[str, Any] = {
            "method": scope["method"],
            "path": scope["path"],
            "query": scope["query_string"].decode("latin-1"),
            "headers": {
                name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
            },
            "body": "",
            "status": None,
            "at": time.time(),
        }
        self._requests_seen.seen.append(request)
        body = bytearray()

        async def recorded_receive() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                body.extend(message.get("body", b"")[: _MOST_BODY_BYTES - len(body)])
                request["body"] = body.decode("utf-8", "replace")
            return message

        async def recorded_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                request["status"] = message["status"]
            await send(message)

        await self._app(scope, recorded_receive, recorded_send)
