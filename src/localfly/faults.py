"""Faults on demand: the next matching requests are answered wrongly, late, or not at all.

Asked for through `control`; a fault strikes before authentication and before the request reaches any route.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from starlette.responses import JSONResponse, PlainTextResponse, Response

from localfly.connections import close_connection
from localfly.requests_seen import CONTROL

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

Action = Literal["respond", "drop", "delay", "lose_answer", "alter"]
ACTIONS: tuple[Action, ...] = ("respond", "drop", "delay", "lose_answer", "alter")


class FaultError(ValueError):
    """A fault that cannot be understood."""


@dataclass
class Fault:
    """One order, for requests with that method (empty: any) in whose `path?query` the pattern is found, and
    in whose body the pattern `asks` is.

    The first `skip` of them are spared, the next `times` struck. `respond` answers with status, body (JSON or
    a text) and headers; `drop` closes the connection unanswered; `delay` waits `seconds`, then serves;
    `lose_answer` performs the request and then closes the connection; `alter` performs it and answers with
    `put` in the place of what the pattern `find` finds in the answer's body.
    """

    path: str
    method: str = ""
    times: int = 1
    skip: int = 0
    action: Action = "respond"
    status: int = 500
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.5
    asks: str = ""
    find: str = ""
    put: str = ""
    struck: int = 0

    def strikes(self, method: str, target: str, asked: str) -> bool:
        if self.method not in ("", method) or not re.search(self.path, target):
            return False
        if not re.search(self.asks, asked):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.struck >= self.times:
            return False
        self.struck += 1
        return True

    def response(self) -> Response:
        if isinstance(self.body, str) or self.body is None:
            return PlainTextResponse(self.body or "", self.status, headers=self.headers)
        return JSONResponse(self.body, self.status, headers=self.headers)


class Faults:
    """The orders given so far; the first that fits a request strikes it."""

    def __init__(self) -> None:
        self.orders: list[Fault] = []

    def add(self, document: dict[str, Any]) -> Fault:
        """Take an order. Raises FaultError."""
        if document.get("action", "respond") not in ACTIONS:
            raise FaultError(f"action is one of {', '.join(ACTIONS)}")
        try:
            fault = Fault(**document)
            for pattern in (fault.path, fault.asks, fault.find):
                re.compile(pattern)
        except (TypeError, re.error) as error:
            raise FaultError(str(error)) from error
        self.orders.append(fault)
        return fault

    def striking(self, method: str, target: str, asked: str) -> Fault | None:
        return next((fault for fault in self.orders if fault.strikes(method, target, asked)), None)


class FaultLayer:
    """Where the orders are carried out."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app, self._faults = app, faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(CONTROL):
            await self._app(scope, receive, send)
            return
        query = scope["query_string"].decode("latin-1")
        target = f"{scope['path']}?{query}" if query else scope["path"]
        asked = ""
        if any(order.asks for order in self._faults.orders):
            asked, receive = await _asked(receive)
        fault = self._faults.striking(scope["method"], target, asked)
        if fault is None:
            await self._app(scope, receive, send)
        else:
            await self._strike(fault, scope, receive, send)

    async def _strike(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        if fault.action == "delay":
            await asyncio.sleep(fault.seconds)
            await self._app(scope, receive, send)
            return
        if fault.action == "respond":
            await _read_body(receive)
            await fault.response()(scope, receive, send)
            return
        if fault.action == "alter":
            await self._app(scope, receive, _Altered(fault, send))
            return
        if fault.action == "lose_answer":
            await self._app(scope, receive, _swallow)
        else:
            await _read_body(receive)
        await close_connection(scope, receive)


class _Altered:
    """Sends an answer on when it is whole, with something else in it."""

    def __init__(self, fault: Fault, send: Send) -> None:
        self._fault, self._send = fault, send
        self._start: Message = {}
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        find, put = self._fault.find.encode(), self._fault.put.encode()
        body = re.sub(find, put, self._body, count=1, flags=re.DOTALL)
        headers = [pair for pair in self._start["headers"] if pair[0] != b"content-length"]
        headers.append((b"content-length", str(len(body)).encode()))
        await self._send({**self._start, "headers": headers})
        await self._send({**message, "body": body})


async def _asked(receive: Receive) -> tuple[str, Receive]:
    """The request's body, and where it can be received again."""
    messages: list[Message] = []
    while True:
        messages.append(await receive())
        if not messages[-1].get("more_body"):
            break
    body = b"".join(message.get("body", b"") for message in messages)

    async def again() -> Message:
        return messages.pop(0) if messages else await receive()

    return body.decode("utf-8", "replace"), again


async def _read_body(receive: Receive) -> None:
    """Let the request arrive whole, so that it is recorded and the client is not cut off while sending."""
    while True:
        message = await receive()
        if message["type"] != "http.request" or not message.get("more_body"):
            return


async def _swallow(_message: Message) -> None:
    return
