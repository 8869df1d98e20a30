"""A transport for httpx that answers from a list, so that a test says everything the server does."""

import asyncio
from collections.abc import Callable, Iterable

import httpx

Step = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


class ScriptedTransport(httpx.AsyncBaseTransport):
    """Each request takes the next step: an answer, a failure to raise, or a function of the request.

    `requests` are those received. A request beyond the script fails the test.
    """

    def __init__(self, steps: Iterable[Step]) -> None:
        self._steps = iter(steps)
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        step = next(self._steps, None)
        assert step is not None, f"nothing scripted for {request.method} {request.url}"
        if isinstance(step, Exception):
            raise step
        return step if isinstance(step, httpx.Response) else step(request)


class EndlessBody(httpx.AsyncByteStream):
    """A body that never ends; `sent` counts its bytes."""

    def __init__(self) -> None:
        self.sent = 0
        self.closed = False

    async def __aiter__(self):  # type: ignore[no-untyped-def]
        while True:
            await asyncio.sleep(0)
            self.sent += 65536
            yield b"x" * 65536

    async def aclose(self) -> None:
        self.closed = True
