"""An HTTP server on loopback that answers as no good server does, byte for byte, until it is hung up on.

What a client makes of it is the tests'. `ANSWERS` are by name; each writes one whole answer, or never ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import zlib
from contextlib import asynccontextmanager
from itertools import repeat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator

    Send = Callable[[bytes], Awaitable[None]]
    Answer = Callable[[Send], Awaitable[None]]

BOMB_MB = 96
"""What a bomb is when it has gone off; enough to be seen, too little to take the computer along."""
PART = b"x" * 65536
DRIP_S = 0.01

NOTHING = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@functools.cache
def bomb(*codings: str) -> bytes:
    """Zeros, coded by each in turn. They are never whole in our own memory."""
    parts: Iterable[bytes] = repeat(bytes(2**20), BOMB_MB)
    for coding in codings:
        parts = _coded(parts, zlib.compressobj(9, zlib.DEFLATED, 15 if coding == "deflate" else 31))
    return b"".join(parts)


def _coded(parts: Iterable[bytes], coder: zlib._Compress) -> Iterator[bytes]:
    for part in parts:
        yield coder.compress(part)
    yield coder.flush()


def whole(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """One answer of a known length."""
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def once(body: bytes, *headers: str, status: str = "200 OK") -> Answer:
    async def answer(send: Send) -> None:
        await send(whole(body, *headers, status=status))

    return answer


def chunked(*pieces: bytes) -> Answer:
    """A whole body in chunks."""
    return raw(CHUNKED + b"".join(map(chunk, pieces)) + b"0\r\n\r\n")


def raw(data: bytes) -> Answer:
    async def answer(send: Send) -> None:
        await send(data)

    return answer


def bombs(coding: str, *codings: str, status: str = "200 OK") -> Answer:
    """Sent as if it were of this content coding."""

    async def answer(send: Send) -> None:
        await send(whole(bomb(*codings), f"Content-Encoding: {coding}", status=status))

    return answer


def for_ever(head: bytes, part: bytes, pause_s: float = 0) -> Answer:
    async def answer(send: Send) -> None:
        await send(head)
        while True:
            await send(part)
            await asyncio.sleep(pause_s)

    return answer


def head(*headers: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode()


CHUNKED = head("Transfer-Encoding: chunked")
REDIRECT = "302 Found"

COMPRESSED = {
    "gzip": bombs("gzip", "gzip"),
    "gzip in capitals": bombs("GZIP", "gzip"),
    "x-gzip": bombs("x-gzip", "gzip"),
    "deflate": bombs("deflate", "deflate"),
    "gzip twice": bombs("gzip, gzip", "gzip", "gzip"),
    "identity and gzip": bombs("identity, gzip", "gzip"),
    "gzip, in two headers": bombs("gzip\r\nContent-Encoding: gzip", "gzip", "gzip"),
    "br": once(b"\x1b\x00\x00\x00", "Content-Encoding: br"),
    "zstd": once(b"(\xb5/\xfd\x00\x00", "Content-Encoding: zstd"),
    "one that nobody knows": once(b"{}", "Content-Encoding: odd"),
}
"""Bodies with a content coding, which nobody asked for."""
TOO_LARGE = {
    "endless, in chunks": for_ever(CHUNKED, chunk(PART)),
    "endless, to the end of the connection": for_ever(head(), PART),
    "a length of 10 GB": for_ever(head("Content-Length: 10000000000"), b" ", 1),
}
"""More than any good answer has."""
ENDLESS = {
    "a drip": for_ever(CHUNKED, chunk(b" "), DRIP_S),
    "a body in single bytes": for_ever(CHUNKED, chunk(b" ") * 8192),
    "headers that drip": for_ever(b"HTTP/1.1 200 OK\r\nX: ", b"x", DRIP_S),
    "a status line that drips": for_ever(b"HTTP/1.1 200 ", b"x", DRIP_S),
    "100 Continue for ever": for_ever(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "nothing": for_ever(b"", b"", DRIP_S),
}
"""Answers that are never whole."""
MALFORMED = {
    "endless headers": for_ever(b"HTTP/1.1 200 OK\r\n", b"X: %s\r\n" % (b"x" * 1000)),
    "an endless header": for_ever(b"HTTP/1.1 200 OK\r\nX: ", PART),
    "endless trailers": for_ever(CHUNKED + b"0\r\n", b"X: %s\r\n" % (b"x" * 1000)),
    "an endless chunk size": for_ever(CHUNKED, b"0" * 1000),
    "a length of 5,000 digits": raw(head(f"Content-Length: {'9' * 5000}")),
    "two lengths": raw(head("Content-Length: 2", "Content-Length: 3") + b"{}"),
    "a transfer coding": raw(head("Transfer-Encoding: gzip, chunked") + chunk(b"{}")),
    "a redirect to a name too long": once(b"", f"Location: http://xn--a.{'b' * 300}/", status=REDIRECT),
    "a negative length": raw(head("Content-Length: -1")),
    "no HTTP": raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
}
"""What is no HTTP, or has no end that an answer may have."""
REFUSALS = {
    "a bomb": bombs("gzip", "gzip", status="403 Forbidden"),
    "a bomb in a bomb": bombs("gzip, gzip", "gzip", "gzip", status="403 Forbidden"),
    "an endless text": for_ever(head("Transfer-Encoding: chunked", status="403 Forbidden"), chunk(PART)),
    "a text of 10 GB": for_ever(head("Content-Length: 10000000000", status="403 Forbidden"), PART),
}
"""HTTP 403, and more than anyone reads."""


class Hostile:
    """`url` is where it is; `heads` are the requests as they came, `asked` their first lines' beginnings."""

    def __init__(self, answers: tuple[Answer, ...]) -> None:
        self._answers = answers
        self.url = ""
        self.to_head = NOTHING
        self.heads: list[str] = []
        self.talking: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        return self.url.removeprefix("http://")

    @property
    def asked(self) -> list[str]:
        return [head.partition(" HTTP/")[0] for head in self.heads]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self.talking.add(task)
        with contextlib.suppress(asyncio.CancelledError, ConnectionError, asyncio.IncompleteReadError):
            await task
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def send(data: bytes) -> None:
            writer.write(data)
            await writer.drain()

        while True:
            self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            if self.asked[-1].startswith("HEAD "):
                await send(self.to_head)
                continue
            number = sum(not one.startswith("HEAD ") for one in self.asked)
            await self._answers[min(number, len(self._answers)) - 1](send)


@asynccontextmanager
async def hostile(*answers: Answer) -> AsyncIterator[Hostile]:
    """Serve these, one a request, the last of them for ever; to HEAD it says 200 and nothing else."""
    here = Hostile(answers)
    server = await asyncio.start_server(here.serve, "127.0.0.1", 0)
    here.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield here
    finally:
        server.close()
        for task in here.talking:
            task.cancel()
        await asyncio.gather(*here.talking, return_exceptions=True)
