"""Serve one ASGI app on one port: inside a running loop (`serve`), or as a whole program (`serve_forever`).

What is served is elsewhere: `messages`, `githost`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from starlette.types import ASGIApp


class _Server(uvicorn.Server):
    """uvicorn's server, ended at once; its own notices within a tenth of a second and then waits another."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.told_to_end = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the program: a server inside a test or a rehearsal must not swallow Ctrl-C."""
        yield

    async def main_loop(self) -> None:
        """The ticks that uvicorn counts are tenths of a second; it needs one in ten, for the Date header."""
        tick = 0
        while not self.told_to_end.is_set():
            await self.on_tick(tick)
            tick += 10
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.told_to_end.wait(), 1.0)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        tasks = list(self.server_state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def listen(host: str, port: int) -> socket.socket:
    """A socket for `serve`: callers wait in its backlog from now on. Raises OSError if the port is taken."""
    listener = socket.create_server((host, port), backlog=128)
    # asyncio sets this only on sockets that name their protocol; without it an answer waits 40 ms for an ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


@asynccontextmanager
async def serve(
    app: ASGIApp, listener: socket.socket, *, http: type[H11Protocol] = H11Protocol
) -> AsyncIterator[str]:
    """Serve `app` until the block ends; yields its URL. Requests still open at the end are cut.

    `http` is the class of uvicorn's that speaks on each connection.
    """
    config = uvicorn.Config(
        app,
        http=http,
        proxy_headers=False,
        server_header=False,
        log_level="critical",
        log_config=None,
        lifespan="off",
    )
    server = _Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        host, port = listener.getsockname()[:2]
        yield f"http://{host}:{port}"
    finally:
        server.told_to_end.set()
        await running


def serve_forever(app: ASGIApp, *, host: str, port: int, **announce: Any) -> None:
    """Print `{"url": ...}` (and `announce`) as one JSON line when ready; serve until SIGTERM or SIGINT."""

    async def program() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, stop.set)
        async with serve(app, listen(host, port)) as url:
            print(json.dumps({"url": url, **announce}), flush=True)  # noqa: T201 - the program's one answer
            await stop.wait()

    asyncio.run(program())
