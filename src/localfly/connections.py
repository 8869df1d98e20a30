"""Open TCP connections by peer, so that a fault can close one in the middle of a request.

ASGI has no word for that; uvicorn tells its protocol class when a connection comes and goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio

    from starlette.types import Receive, Scope

_open: dict[tuple[str, int], asyncio.Transport] = {}


class KnownConnection(H11Protocol):
    """uvicorn's HTTP/1.1 protocol, noted while it is open."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        super().connection_made(transport)
        self._peer = tuple(transport.get_extra_info("peername")[:2])
        _open[self._peer] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        _open.pop(self._peer, None)
        super().connection_lost(exc)


async def close_connection(scope: Scope, receive: Receive) -> None:
    """Abort the request's connection: the client sees it end without an answer."""
    transport = _open.get(tuple(scope["client"] or ()))
    if transport is None:
        raise RuntimeError("only localfly's own server can close connections")
    transport.abort()
    while (await receive())["type"] != "http.disconnect":
        continue
