"""Hostile answers to every client: none is decoded, read without bound, or waited for for ever."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.support.hostile_http import (
    COMPRESSED,
    ENDLESS,
    MALFORMED,
    PART,
    REDIRECT,
    REFUSALS,
    TOO_LARGE,
    bombs,
    chunk,
    for_ever,
    head,
    hostile,
    once,
)
from tests.support.scripted_http import ScriptedTransport

from flaude_action import fly_http
from flaude_action.errors import FlaudeError, FlyAPIError
from flaude_action.fly_access import BaseUrls
from flaude_action.github import GitHub
from flaude_action.http_body import whole_answer
from flaude_action.image_errors import pull_failed
from flaude_action.image_reference import parse_reference
from flaude_action.registry import Registry
from flaude_action.registry_http import RegistryRefused
from flaude_action.secret import SecretStr

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.support.hostile_http import Hostile

    Ask = Callable[[Hostile, float], Awaitable[FlaudeError]]

PEAK_MB = 40
AMPLE_S = 30.0
SHORT_S = 0.3
UNREPEATED_S = 0.45
"""Too short for a second question to a registry."""
STUCK_S = 20.0
"""A test fails then, instead of waiting for ever."""


async def ask_fly(server: Hostile, seconds: float) -> FlaudeError:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fly_http, "MARGIN_S", 0.0)
        urls = BaseUrls(server.url, server.url)
        connection = fly_http.Connection("FlyV1 x", urls, transport=None, user_agent="", retry_for=0)
        try:
            with pytest.raises(FlyAPIError) as refused:
                await connection.call("GET", "/v1/apps/a", timeout=seconds)
        finally:
            await connection.aclose()
    return refused.value


async def ask_github(server: Hostile, seconds: float) -> FlaudeError:
    async with GitHub(server.url, SecretStr("ghs_x"), pause_s=0, answer_s=seconds) as github:
        with pytest.raises(FlaudeError) as refused:
            await github.get_repository("a/b")
    return refused.value


async def ask_registry(server: Hostile, seconds: float) -> FlaudeError:
    image = parse_reference(f"{server.address}/tools:1")
    async with Registry(patience_s=seconds) as registry:
        with pytest.raises(RegistryRefused) as refused:
            await registry.labels(image)
    return pull_failed(image, refused.value.said, refused.value.status)


CLIENTS: dict[str, tuple[Ask, str, str]] = {
    # how it is asked; the type of an answer that is no good; that of HTTP 403
    "fly": (ask_fly, "machine_api_unavailable", "machine_auth_failed"),
    "github": (ask_github, "clone_failed", "clone_auth_failed"),
    "registry": (ask_registry, "image_pull_failed", "image_pull_failed"),
}
clients = pytest.mark.parametrize("client", CLIENTS)


async def failure(client: str, server: Hostile, seconds: float) -> FlaudeError:
    """How the client's call fails, which takes little memory and ends by itself."""
    tracemalloc.start()
    try:
        async with asyncio.timeout(STUCK_S):
            error = await CLIENTS[client][0](server, seconds)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < PEAK_MB * 2**20
    return error


@clients
@pytest.mark.parametrize("name", COMPRESSED)
async def test_a_compressed_answer(client: str, name: str) -> None:
    """Nobody asked for it: it is refused in words of ours, decoded by nobody, and not asked for again."""
    async with hostile(COMPRESSED[name]) as server:
        error = await failure(client, server, AMPLE_S)
    assert error.type == CLIENTS[client][1]
    assert "compressed" in error.details
    assert len(server.asked) == 1
    assert "accept-encoding: identity\r\n" in server.heads[0].lower()


@clients
@pytest.mark.parametrize("name", TOO_LARGE)
async def test_an_answer_that_is_too_large(client: str, name: str) -> None:
    """It is read to a limit; one that tells its length beforehand is not read at all."""
    async with hostile(TOO_LARGE[name]) as server:
        error = await failure(client, server, AMPLE_S)
    assert error.type == CLIENTS[client][1]
    assert "too large" in error.details
    assert len(server.asked) == 1


@clients
@pytest.mark.parametrize("name", ENDLESS)
async def test_an_answer_that_never_ends(client: str, name: str) -> None:
    """One limit holds for all of an answer: connection, headers and body."""
    async with hostile(ENDLESS[name]) as server:
        error = await failure(client, server, SHORT_S)
    assert error.type == CLIENTS[client][1]


@clients
@pytest.mark.parametrize("name", MALFORMED)
async def test_an_answer_that_is_no_http(client: str, name: str) -> None:
    """It ends the call as no answer would, whatever about it is wrong."""
    async with hostile(MALFORMED[name]) as server:
        error = await failure(client, server, UNREPEATED_S)
    assert error.type == CLIENTS[client][1]


@clients
@pytest.mark.parametrize("name", REFUSALS)
async def test_a_refusal_is_one_whatever_its_text(client: str, name: str) -> None:
    """The status decides; of the text a little is read, and nothing that is compressed."""
    async with hostile(REFUSALS[name]) as server:
        error = await failure(client, server, AMPLE_S)
    assert error.type == CLIENTS[client][2]
    assert "403" in error.details
    assert len(error.dev) <= 2000


@clients
async def test_a_redirect_with_an_endless_body(client: str) -> None:
    """Its text is nobody's; the registry's redirect is followed, and the answer there counts."""
    redirect = head("Location: /there", "Transfer-Encoding: chunked", status=REDIRECT)
    async with hostile(for_ever(redirect, chunk(PART)), once(b"{}", status="403 Forbidden")) as server:
        error = await failure(client, server, AMPLE_S)
    assert error.type == CLIENTS[client][1]
    assert (server.asked[1:] == ["GET /there"]) is (client == "registry")


@clients
async def test_a_redirect_with_a_bomb(client: str) -> None:
    """Nor is it decoded."""
    location = "gzip, gzip\r\nLocation: /there"
    redirect = bombs(location, "gzip", "gzip", status=REDIRECT)
    async with hostile(redirect, once(b"{}", status="403 Forbidden")) as server:
        error = await failure(client, server, AMPLE_S)
    assert error.type == CLIENTS[client][1]


async def test_a_registry_that_redirects_for_ever() -> None:
    """After a few it is enough."""
    async with hostile(once(b"", "Location: /there", status=REDIRECT)) as server:
        error = await failure("registry", server, AMPLE_S)
    assert error.type == "image_pull_failed"
    assert len(server.asked) <= 12


@pytest.mark.parametrize(
    ("there", "why"),
    [
        ("http://registry.example/v2/", "without TLS"),
        ("ftp://registry.example/", "without TLS"),
        ("https://a:b/", "Invalid URL"),
    ],
)
async def test_a_redirect_that_is_not_followed(there: str, why: str) -> None:
    """Nobody takes us off TLS, or to an address that is none."""
    async with hostile(once(b"", f"Location: {there}", status=REDIRECT)) as server:
        error = await failure("registry", server, UNREPEATED_S)
    assert error.type == "image_pull_failed"
    assert "registry.example" not in error.details
    assert why in error.dev
    assert len(server.asked) == 1


async def test_others_have_their_turn() -> None:
    """A body of many small pieces, all of them there, does not keep the event loop to itself."""
    turns = 0

    class Pieces(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for _ in range(100_000):
                yield b" "

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    transport = ScriptedTransport([httpx.Response(200, stream=Pieces())])
    counting = asyncio.ensure_future(count())
    async with httpx.AsyncClient(transport=transport) as client:
        request = client.build_request("GET", "http://127.0.0.1/")
        _, body = await whole_answer(client, request, most=2**20, seconds=AMPLE_S)
    counting.cancel()
    assert len(body) == 100_000
    assert turns > 100


@clients
async def test_cookies_without_end(client: str) -> None:
    """A server that sets other cookies with each answer makes neither memory nor requests grow."""
    sets = [once(b"[]", *(f"Set-Cookie: c{n}-{k}={'x' * 3000}" for k in range(30))) for n in range(6)]
    async with hostile(*sets) as server:
        if client == "fly":
            urls = BaseUrls(server.url, server.url)
            connection = fly_http.Connection("FlyV1 x", urls, transport=None, user_agent="", retry_for=0)
            for _ in sets:
                await connection.call("GET", "/v1/apps/a")
            await connection.aclose()
        elif client == "github":
            async with GitHub(server.url, None, pause_s=0) as github:
                for _ in sets:
                    with pytest.raises(FlaudeError):
                        await github.get_repository("a/b")
        else:
            async with Registry() as registry:
                for _ in sets:
                    await registry.check_access(parse_reference(f"{server.address}/tools:1"))
    assert len(server.asked) == len(sets)
    assert max(map(len, server.heads)) < 8192


@clients
@pytest.mark.parametrize("coding", ["identity", "Identity", "", "identity, identity", ","])
async def test_an_answer_as_it_was_asked_for(client: str, coding: str) -> None:
    """To say that nothing was done to it is no offence."""
    document = b'{"private":true,"name":"a"}'
    async with hostile(once(document, f"Content-Encoding: {coding}")) as server:
        if client == "fly":
            urls = BaseUrls(server.url, server.url)
            connection = fly_http.Connection("FlyV1 x", urls, transport=None, user_agent="", retry_for=0)
            assert (await connection.call("GET", "/v1/apps/a")).document == json.loads(document)
            await connection.aclose()
        elif client == "github":
            async with GitHub(server.url, None) as github:
                assert (await github.get_repository("a/b")).private
        else:
            async with Registry() as registry:
                await registry.check_access(parse_reference(f"{server.address}/tools:1"))


async def test_no_body_has_no_coding() -> None:
    """What a HEAD or an empty answer says of a body that does not come hurts nobody."""

    digest = "sha256:" + "a" * 64

    async with hostile(once(b"", "Content-Encoding: gzip")) as server, Registry() as registry:
        image = parse_reference(f"{server.address}/tools:1")
        await registry.check_access(image)
        told = ("Content-Encoding: gzip", "Content-Length: 10000000000", f"Docker-Content-Digest: {digest}")
        server.to_head = head(*told)
        assert await registry.digest(image) == digest
