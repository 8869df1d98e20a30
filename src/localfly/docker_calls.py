"""The Docker SDK from asyncio: each blocking call in its own thread, logs as lines, exec as a stream.

What a container means for a machine is in `docker_backend`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

from localfly.backend import NotRunning

T = TypeVar("T")

_LONGEST_LINE = 1 << 20
DEFAULT_HOST = "unix:///var/run/docker.sock"


class EngineUnreachable(Exception):
    """No Docker engine where DOCKER_HOST points, or not one that can be spoken to."""


async def in_thread(work: Callable[[], T]) -> T:
    """Run a blocking call in a daemon thread: an endless log stream must not keep the program alive."""
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


def log_lines(entries: Iterator[bytes], after_ns: int) -> Iterator[tuple[int, bytes]]:
    """Lines with their times from the engine's entries (`<RFC3339 time> <text>`), later than `after_ns`.

    The engine cuts long lines into entries of 16 KiB; all but the last come without line end.
    """
    at_ns, rest = 0, bytearray()
    for entry in entries:
        stamp, _, text = entry.partition(b" ")
        at_ns = _nanoseconds(stamp.decode("ascii"))
        if at_ns <= after_ns:
            continue
        rest += text
        if text.endswith(b"\n") or len(rest) >= _LONGEST_LINE:
            yield at_ns, bytes(rest.removesuffix(b"\n"))
            rest.clear()
    if rest:
        yield at_ns, bytes(rest)


def _nanoseconds(stamp: str) -> int:
    """A time as the engine writes it, nine digits or fewer after the point; floats would lose some."""
    seconds, _, fraction = stamp.rstrip("Z").partition(".")
    whole = datetime.strptime(seconds, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    return int(whole.timestamp()) * 10**9 + int(fraction.ljust(9, "0") or 0)


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
    reader, writer = await _connect()
    body = json.dumps({"Detach": False, "Tty": False}).encode()
    head = (
        f"POST /exec/{exec_id}/start HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\n"
        f"Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    sending: asyncio.Task[None] | None = None
    try:
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        status = int(answer.split(b" ", 2)[1])
        if status == 409:
            raise NotRunning("the container ended")
        if status not in (101, 200):
            raise EngineUnreachable(f"the engine answered {status} to an exec")
        sending = asyncio.create_task(_send(writer, stdin))
        return await _read_frames(reader, output_max_bytes)
    finally:
        if sending is not None:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    scheme, _, where = (os.environ.get("DOCKER_HOST") or DEFAULT_HOST).partition("://")
    if scheme == "unix":
        return await asyncio.open_unix_connection(where)
    if scheme == "tcp" and not os.environ.get("DOCKER_TLS_VERIFY"):
        host, _, port = where.rpartition(":")
        return await asyncio.open_connection(host, int(port))
    raise EngineUnreachable(f"exec needs a DOCKER_HOST of unix:// or plain tcp://, not {scheme}://")


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        writer.write(data)
        await writer.drain()
        writer.write_eof()


async def _read_frames(reader: asyncio.StreamReader, limit: int) -> ExecOutput:
    """Frames of eight bytes head (stream, length) and payload, until the engine closes."""
    streams: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
    while True:
        try:
            head = await reader.readexactly(8)
            payload = await reader.readexactly(int.from_bytes(head[4:], "big"))
        except asyncio.IncompleteReadError:
            return ExecOutput(bytes(streams[1]), bytes(streams[2]))
        kept = streams[2 if head[0] == 2 else 1]
        kept += payload[: limit - len(kept)]


def entries_of(container: str, client: Any, *, since_s: int) -> Iterator[bytes]:
    """The engine's log entries of a container until it ends, each with its time in front."""
    since = since_s or None
    stream: Iterator[bytes] = client.api.logs(
        container, stdout=True, stderr=True, stream=True, follow=True, timestamps=True, since=since
    )
    return stream
