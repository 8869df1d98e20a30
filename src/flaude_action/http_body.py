"""How every client reads an answer: its bytes as they are, at most so many, in at most so many seconds.

Fly's hosts, GitHub's and above all registries are others' computers, and what they send is not believed.
What is asked of whom, and what a refusal means, is the clients'; what the bytes say is `json_document`'s.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

import httpx

if TYPE_CHECKING:
    from http.cookiejar import CookieJar

AS_IT_IS: Final = {"accept-encoding": "identity"}
"""To be sent with every request. https://www.rfc-editor.org/rfc/rfc9110#name-accept-encoding"""
ERROR_MAX_BYTES: Final = 64 * 1024
"""As much is read of an answer that is no good one."""
COOKIES_MAX: Final = 16
"""Fly sets one. Who sets more would have all of them kept, and sent with every request, for a whole run."""

COMPRESSED: Final = "answer compressed, which was not asked for"
TOO_LARGE: Final = "answer too large"
TOO_SLOW: Final = "no whole answer in time"
OUR_WORDS: Final = frozenset({COMPRESSED, TOO_LARGE, TOO_SLOW})

_PIECES: Final = 256
"""After so many, which may be of one byte each, others have their turn on the event loop."""


class BodyRefused(Exception):
    """A good answer whose body we do not take. Its text is one of `OUR_WORDS`; asking again is no use."""

    def __init__(self, response: httpx.Response, why: str) -> None:
        super().__init__(why)
        self.response = response


async def whole_answer(
    client: httpx.AsyncClient, request: httpx.Request, *, most: int, seconds: float, redirects: int = 0
) -> tuple[httpx.Response, bytes]:
    """The answer, closed, and its body: of a good status the whole, of any other the beginning.

    `most` bounds a good answer's bytes, `seconds` all of it from the connection on, `redirects` how many are
    followed, as httpx does it: to another host without our Authorization. Of a redirect no body is read.
    Raises BodyRefused, TimeoutError, and httpx.HTTPError for what else is no whole answer.
    """
    async with asyncio.timeout(seconds):
        while True:
            try:
                response = await client.send(request, stream=True, follow_redirects=False)
            except ValueError as error:  # of the parsers below httpx
                raise httpx.RemoteProtocolError(f"unreadable: {type(error).__name__}") from error
            try:
                _forget_too_many(client.cookies.jar)
                if response.next_request is None:
                    return response, await _body(response, most)
                if not redirects:
                    return response, b""
            finally:
                await response.aclose()
            request, redirects = response.next_request, redirects - 1


async def _body(response: httpx.Response, most: int) -> bytes:
    """Without a body there is nothing compressed in it, whatever is said to HEAD."""
    good = response.is_success
    limit = most if good else ERROR_MAX_BYTES
    if good and response.request.method != "HEAD" and _length(response) > limit:
        raise BodyRefused(response, TOO_LARGE)
    coded = _is_coded(response)
    body, pieces = bytearray(), 0
    # `aiter_raw` refuses an answer that a test's transport has in memory.
    assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - an AsyncClient's are
    async for piece in response.stream:
        if coded and piece:
            if good:
                raise BodyRefused(response, COMPRESSED)
            return f"({COMPRESSED})".encode()
        body += piece
        if len(body) > limit:
            if good:
                raise BodyRefused(response, TOO_LARGE)
            return bytes(body[:limit])
        pieces += 1
        if pieces % _PIECES == 0:
            await asyncio.sleep(0)
    return bytes(body)


def _length(response: httpx.Response) -> int:
    """What the answer tells beforehand, 0 when it does not."""
    told = response.headers.get("content-length", "")
    return int(told) if re.fullmatch(r"[0-9]{1,20}", told) else 0


def _is_coded(response: httpx.Response) -> bool:
    """https://www.rfc-editor.org/rfc/rfc9110#name-content-encoding"""
    codings = response.headers.get("content-encoding", "").split(",")
    return any(coding.strip().lower() not in ("", "identity") for coding in codings)


def _forget_too_many(jar: CookieJar) -> None:
    if len(jar) > COOKIES_MAX:
        jar.clear()
