"""One streaming call of the Docker SDK as an async iterator, in a thread of its own, that can be cut off.

What is asked for and what the events mean is `engine`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any, Final

import requests
import urllib3
from docker.errors import DockerException
from docker.types import CancellableStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from requests import Response

    import docker

Event = dict[str, Any]
BROKEN: Final = (DockerException, requests.RequestException, urllib3.exceptions.HTTPError, OSError)
"""All that the SDK raises when an engine refuses, breaks off or is not there."""
AHEAD: Final = 1000
"""Events read before the consumer has taken them; then the engine has to wait."""
CLOSE_S: Final = 3.0


class EngineStream:
    """The events of `call`, made with a client of its own. Raises, on iteration, what the SDK raises.

    Leaving the block cuts the connection, by which the engine gives the work up, and waits for the thread.
    """

    def __init__(
        self, connect: Callable[[], docker.APIClient], call: Callable[[docker.APIClient], Iterable[Event]]
    ) -> None:
        self._connect = connect
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event | Exception | None] = asyncio.Queue(AHEAD)
        self._response: Response | None = None
        self._cut_off = False
        self._ended = False

    async def __aenter__(self) -> EngineStream:
        # No executor: at the program's end its threads are waited for, and this one may hang on an engine.
        threading.Thread(target=self._read, name="flaude-engine", daemon=True).start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._cut_off = True
        self._cut()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                while not self._ended:
                    self._ended = await self._events.get() is None

    def __aiter__(self) -> EngineStream:
        return self

    async def __anext__(self) -> Event:
        if self._ended:
            raise StopAsyncIteration
        event = await self._events.get()
        if event is None:
            self._ended = True
            raise StopAsyncIteration
        if isinstance(event, Exception):
            raise event
        return event

    def _read(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
            try:
                with contextlib.closing(self._connect()) as client:
                    client.hooks["response"].append(self._answered)
                    for event in self._call(client):
                        self._put(event)
            except Exception as error:
                self._put(error)
            finally:
                self._put(None)

    def _put(self, event: Event | Exception | None) -> None:
        asyncio.run_coroutine_threadsafe(self._events.put(event), self._loop).result()

    def _answered(self, response: Response, *_: object, **__: object) -> None:
        self._response = response
        if self._cut_off:
            self._cut()

    def _cut(self) -> None:
        """Shut the socket under the thread's read. The SDK knows where it lies, for its own streams."""
        if self._response is not None:
            with contextlib.suppress(AttributeError, OSError, DockerException):  # it is closed already
                CancellableStream(iter(()), self._response).close()
