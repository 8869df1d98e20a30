"""The Docker SDK from asyncio: each blocking call in its own thread, logs as lines, exec as a stream.

What a container means for a machine is in `docker_backend`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

from localfly.backend import BackendUnavailable, NotRunning

T = TypeVar("T")

_LONGEST_LINE = 1 << 20
DEFAULT_HOST = "unix:///var/run/docker.sock"


class EngineUnreachable(Exception):
    """The engine answered with an error of its own."""


async def in_thread(work: Callable[[], T]) -> T:
    """Run a blocking call in a daemon thread: a call that hangs must not keep the program alive."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type] # None only beside an error

    def run() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = work()
        except Exception as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, daemon=True).start()
    return await future


class LineJoiner:
    """Lines with their times from the engine's log entries (`<RFC3339 time> <text>`).

    The engine cuts long lines into entries of 16 KiB, all but the last without line end, and the entries of
    stdout and stderr come in between each other. Entries up to `after_ns` were told before and are dropped.
    """

    def __init__(self, after_ns: int = 0) -> None:
        self._after_ns = after_ns
        self._rests: dict[int, tuple[int, bytearray]] = {}

    def take(self, stream: int, entry: bytes) -> tuple[int, bytes] | None:
        """The line that this entry ends, if it does."""
        stamp, _, text = entry.partition(b" ")
        at_ns = _nanoseconds(stamp.decode("ascii"))
        if at_ns <= self._after_ns:
            return None
        line = self._rests.pop(stream, (0, bytearray()))[1]
        line += text
        if text.endswith(b"\n") or len(line) >= _LONGEST_LINE:
            return at_ns, bytes(line.removesuffix(b"\n"))
        self._rests[stream] = (at_ns, line)
        return None

    def unfinished(self) -> list[tuple[int, bytes]]:
        """What came without a line end, when nothing more comes."""
        return sorted((at_ns, bytes(rest)) for at_ns, rest in self._rests.values())


def _nanoseconds(stamp: str) -> int:
    """A time as the engine writes it, nine digits or fewer after the point; floats would lose some."""
    seconds, _, fraction = stamp.rstrip("Z").partition(".")
    whole = datetime.strptime(seconds, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    return int(whole.timestamp()) * 10**9 + int(fraction.ljust(9, "0") or 0)


async def follow_lines(container: str, after_ns: int) -> AsyncGenerator[tuple[int, bytes], None]:
    """A container's lines with their times, from the first later than `after_ns` until it ends.

    Spoken without the SDK, which does not tell stdout from stderr. In HTTP/1.0, so that the answer is not
    cut into chunks. https://docs.docker.com/reference/api/engine/version/v1.41/#operation/ContainerLogs
    Raises NotRunning when there is no such container, EngineUnreachable, OSError.
    """
    query = f"follow=1&stdout=1&stderr=1&timestamps=1&since={after_ns // 10**9}"
    head = f"GET /containers/{container}/logs?{query} HTTP/1.0\r\nHost: docker\r\n\r\n"
    joiner = LineJoiner(after_ns)
    async with _conversation(head.encode()) as (reader, _):
        async for stream, entry in _frames(reader):
            line = joiner.take(stream, entry)
            if line is not None:
                yield line
    for line in joiner.unfinished():
        yield line


@dataclass(frozen=True)
class ExecOutput:
    stdout: bytes
    stderr: bytes


async def exec_stream(exec_id: str, stdin: bytes, output_max_bytes: int) -> ExecOutput:
    """Start a created exec: send stdin, half-close, read both streams to their end, keep their beginnings.

    Spoken without the SDK, whose socket loses what the engine sends together with the headers.
    https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Exec/operation/ExecStart
    Raises NotRunning, EngineUnreachable, OSError.
    """
    body = json.dumps({"Detach": False, "Tty": False}).encode()
    head = (
        f"POST /exec/{exec_id}/start HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\n"
        f"Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    kept = {1: bytearray(), 2: bytearray()}
    async with _conversation(head.encode() + body) as (reader, writer):
        sending = asyncio.create_task(_send(writer, stdin))
        try:
            async for stream, payload in _frames(reader):
                kept[stream] += payload[: output_max_bytes - len(kept[stream])]
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
    return ExecOutput(bytes(kept[1]), bytes(kept[2]))


@asynccontextmanager
async def _conversation(request: bytes) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to the engine, the request sent and the head of a good answer read."""
    reader, writer = await _connect()
    try:
        writer.write(request)
        answer = await reader.readuntil(b"\r\n\r\n")
        status = int(answer.split(b" ", 2)[1])
        if status in (404, 409):
            raise NotRunning("no such container, or it ended")
        if status not in (101, 200):
            raise EngineUnreachable(f"the engine answered {status}")
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def engine_address() -> tuple[str, str]:
    """DOCKER_HOST as scheme and address. Raises BackendUnavailable: only the SDK could speak to it."""
    scheme, _, where = (os.environ.get("DOCKER_HOST") or DEFAULT_HOST).partition("://")
    if scheme == "unix" or (scheme == "tcp" and not os.environ.get("DOCKER_TLS_VERIFY")):
        return scheme, where
    raise BackendUnavailable(f"DOCKER_HOST must be unix:// or plain tcp://, not {scheme}://")


async def _connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    scheme, where = engine_address()
    if scheme == "unix":
        return await asyncio.open_unix_connection(where)
    host, _, port = where.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        writer.write(data)
        await writer.drain()
        writer.write_eof()


async def _frames(reader: asyncio.StreamReader) -> AsyncIterator[tuple[int, bytes]]:
    """Frames of eight bytes head (stream, length) and payload to the end; 1 is stdout, 2 stderr."""
    while True:
        try:
            head = await reader.readexactly(8)
            payload = await reader.readexactly(int.from_bytes(head[4:], "big"))
        except asyncio.IncompleteReadError:
            return
        yield (2 if head[0] == 2 else 1), payload
