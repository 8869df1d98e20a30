"""Before any route: who is calling, how often, and the headers Fly puts on every answer."""

from __future__ import annotations

import re
import secrets
import time
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse

from localfly import identifiers
from localfly.rate_limits import RateLimits
from localfly.requests_seen import CONTROL
from localfly.wire import ApiError, refused, unauthenticated

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from localfly.settings import Settings

_MACAROON = re.compile(r"(?:^|,)fm(?:1r|1a|2)_")
_AFFINITY_PATH = re.compile(r"^/v1/apps/[^/]+")
AFFINITY_COOKIE = "fly_flaps_affinity"


class PlatformHeaders:
    """Request id and trace on every answer; after a write, the cookie that reads should come back with."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(CONTROL):
            await self._app(scope, receive, send)
            return
        app_path = _AFFINITY_PATH.match(scope["path"])
        sets_cookie = app_path and scope["method"] != "GET" and self._settings.flaps_affinity

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["fly-request-id"] = identifiers.request_id(self._settings.region)
                headers["fly-trace-id"] = secrets.token_hex(16)
                headers["fly-span-id"] = secrets.token_hex(8)
                headers["server"] = "Fly/localfly (2026-11-21)"
                headers["via"] = "1.1 fly.io"
                if sets_cookie and app_path:
                    cookie: SimpleCookie = SimpleCookie({AFFINITY_COOKIE: secrets.token_hex(8)})
                    cookie[AFFINITY_COOKIE]["path"] = app_path[0]
                    headers.append("set-cookie", cookie[AFFINITY_COOKIE].OutputString())
            await send(message)

        await self._app(scope, receive, with_headers)


class Gate:
    """401 for callers Fly would not know, 429 for those who call too often."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._limits = RateLimits()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] == "http" and path.startswith(("/v1/", "/api/v1/")):
            authorization = Headers(scope=scope).get("authorization", "")
            if not self._admits(path, authorization):
                await _refusal(unauthenticated())(scope, receive, send)
                return
            if self._settings.rate_limits and not self._limits.take(scope["method"], path, time.monotonic()):
                await _refusal(refused(429, "rate limit exceeded"))(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _admits(self, path: str, authorization: str) -> bool:
        scheme, token = split_authorization(authorization)
        known = bool(token) and (not self._settings.tokens or token in self._settings.tokens)
        if not path.startswith("/api/v1/"):
            return known
        if self._settings.logs_refuse_bearer_macaroon and scheme != "FlyV1" and _MACAROON.search(token):
            return False
        return known and self._settings.logs_readable


def _refusal(error: ApiError) -> JSONResponse:
    return JSONResponse(error.body, error.status)


def split_authorization(header: str) -> tuple[str, str]:
    """The first scheme and the token without any: `Bearer FlyV1 fm2_x` is how Fly's own examples look."""
    first = ""
    token = header.strip()
    while True:
        scheme, space, rest = token.partition(" ")
        if not space or scheme not in ("Bearer", "FlyV1"):
            return first, token
        first = first or scheme
        token = rest.strip()
