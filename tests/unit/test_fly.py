import asyncio
import contextlib
import json
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
import stamina
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.scripted_http import EndlessBody, ScriptedTransport, Step

from flaude_action import fly_http, http_body
from flaude_action.errors import ConfigError, FlyAPIError
from flaude_action.fly import Fly
from flaude_action.fly_access import BaseUrls, authorization, base_urls

TOKEN = "fm2_lJPECAAAAAAAAAAAxBCsecretsecretsecret"
MACHINE = {"id": "1857156b526dd8", "state": "created", "instance_id": "01HEPA330HZ37A78TK080NAK1M"}


@pytest.fixture(autouse=True)
def _no_pauses() -> Any:
    """Retries happen without their pauses, three attempts at most."""
    with stamina.set_testing(True, attempts=3, cap=True):
        yield


def client(*steps: Step, retry_for: float = 30.0) -> tuple[Fly, ScriptedTransport]:
    transport = ScriptedTransport(steps)
    return Fly(TOKEN, transport=transport, retry_for=retry_for), transport


def answer(document: object = None, status: int = 200, **headers: str) -> httpx.Response:
    if document is None:
        return httpx.Response(status, headers=headers)
    return httpx.Response(status, json=document, headers=headers)


# Who we are and where Fly is.


@pytest.mark.parametrize(
    ("token", "header"),
    [
        ("fm2_abc", "FlyV1 fm2_abc"),
        ("FlyV1 fm2_abc,fm2_def", "FlyV1 fm2_abc,fm2_def"),
        ("Bearer FlyV1 fm2_abc", "FlyV1 fm2_abc"),
        ("bearer fm1r_abc", "FlyV1 fm1r_abc"),
        (" FlyV1  fm1a_abc, fm1r_def \n", "FlyV1 fm1a_abc,fm1r_def"),
        ("FlyV1 fm2_abc,fo1_user,fm2_def", "FlyV1 fm2_abc,fm2_def"),
        ("fo1_abc", "Bearer fo1_abc"),
        ("Bearer fo1_abc", "Bearer fo1_abc"),
    ],
)
def test_authorization(token: str, header: str) -> None:
    """Every form a token is stored in becomes the one form both hosts take."""
    assert authorization(token) == header


@pytest.mark.parametrize("token", ["", " ", "FlyV1 ", "Bearer", ",", "fm2_a\nfm2_b", "fm2_ü", "fm2_a b"])
def test_what_is_no_token(token: str) -> None:
    """An empty token, or one that no header can carry, is refused before a request, without being shown."""
    with pytest.raises(ConfigError) as caught:
        authorization(token)
    assert "fm2_" not in str(caught.value)


def test_base_urls() -> None:
    """flyctl's own variables move the client, and nonsense in them is refused."""
    assert base_urls({}) == ("https://api.machines.dev", "https://api.fly.io")
    moved = {"FLY_FLAPS_BASE_URL": "http://_api.internal:4280/", "FLY_API_BASE_URL": "http://127.0.0.1:9"}
    assert base_urls(moved) == ("http://_api.internal:4280", "http://127.0.0.1:9")
    for wrong in ("api.fly.io", "ftp://x", "http://", "https://x/?y=1"):
        with pytest.raises(ConfigError) as caught:
            base_urls({"FLY_API_BASE_URL": wrong})
        assert "FLY_API_BASE_URL" in caught.value.message
        assert "FLY_API_BASE_URL" in caught.value.hint


async def test_secret_wrapper_and_hosts() -> None:
    """A SecretStr is unwrapped; the Machines API and the logs each get their own host."""

    class Wrapped:
        def get_secret_value(self) -> str:
            return TOKEN

    transport = ScriptedTransport([answer({"name": "a"}), answer({"data": []})])
    async with Fly(
        Wrapped(), flaps_url="http://flaps:1", api_url="http://api:2/", transport=transport
    ) as fly:
        await fly.get_app("a")
        await fly.logs_page("a")
    assert [str(request.url) for request in transport.requests] == [
        "http://flaps:1/v1/apps/a",
        "http://api:2/api/v1/apps/a/logs",
    ]
    assert {request.headers["authorization"] for request in transport.requests} == {f"FlyV1 {TOKEN}"}


@pytest.mark.parametrize(
    "step",
    [
        answer({"error": "Authenticate: token validation error"}, 401),
        httpx.ReadError("broken"),
        httpx.LocalProtocolError("odd"),
        answer(["no machine"]),
    ],
)
async def test_token_is_in_no_error(step: Step) -> None:
    """Neither an error, nor its traceback, nor the client's own text shows the token."""
    fly, _ = client(step, retry_for=0)
    with pytest.raises(FlyAPIError) as caught:
        await fly.get_machine("a", "1")
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(fly)
    assert TOKEN not in shown
    assert TOKEN not in json.dumps(caught.value.as_json(debug=True))


async def test_cookie_goes_back_to_its_own_host_only() -> None:
    """Fly's affinity cookie comes back to the Machines API and never reaches the logs host."""
    cookie = {"set-cookie": "fly_flaps_affinity=abc; Path=/v1/apps/a"}
    fly, transport = client(
        answer(MACHINE, **cookie), answer(MACHINE), answer({"data": []}), answer({"name": "b"})
    )
    await fly.create_machine("a", {"image": "i"})
    await fly.get_machine("a", "1")
    await fly.logs_page("a")
    await fly.get_app("b")
    cookies = [request.headers.get("cookie", "") for request in transport.requests]
    assert cookies == ["", "fly_flaps_affinity=abc", "", ""]


@pytest.mark.parametrize("name", ["", ".", ".."])
async def test_names_a_path_would_swallow(name: str) -> None:
    """A machine without a name must not become a request to its whole app."""
    fly, transport = client()
    with pytest.raises(ValueError, match="no name for a path"):
        await fly.destroy_machine("a", name)
    assert transport.requests == []


async def test_names_stay_one_segment() -> None:
    """A name with a slash stays one segment of the path."""
    fly, transport = client(answer(MACHINE))
    await fly.get_machine("a/../b", "1?force=true")
    assert transport.requests[0].url.raw_path == b"/v1/apps/a%2F..%2Fb/machines/1%3Fforce%3Dtrue"


# Answers.


async def test_wait_tells_a_timeout_from_a_failure() -> None:
    """408 is None, an answer is an answer, and 404 raises."""
    timed_out = {
        "error": "deadline_exceeded: machine failed to reach desired state, started, currently created"
    }
    fly, transport = client(
        answer(timed_out, 408),
        answer({"ok": True, "state": "stopped", "version": "01H", "event_id": "01E"}),
        answer({"error": "machine not found"}, 404),
    )
    assert await fly.wait("a", "1", ["stopped", "failed"], "01H", 0.2) is None
    ended = await fly.wait("a", "1", ["stopped"], "01H", 999)
    assert ended is not None
    assert ended.state == "stopped"
    with pytest.raises(FlyAPIError) as caught:
        await fly.wait("a", "1", ["stopped"], "01H", 30)
    assert caught.value.type == "machine_lost"
    queries = [request.url.query.decode() for request in transport.requests]
    assert queries[0] == "state=stopped&state=failed&timeout=1&version=01H"
    assert queries[1] == "state=stopped&timeout=60&version=01H"


async def test_list_takes_every_page_and_only_ours() -> None:
    """Pages are followed by cursor, and machines without the wanted metadata are never returned."""
    ours, theirs = {"config": {"metadata": {"by": "us"}}}, {"config": {"metadata": {"by": "them"}}}
    fly, transport = client(
        answer([{"id": "1", **ours}, {"id": "2", **theirs}], **{"fly-next-cursor": "c1"}),
        answer([], **{"fly-next-cursor": "c2"}),
        answer([{"id": "3", **ours}, {"id": "1", **ours}, {"id": "4"}]),
    )
    found = await fly.list_machines("a", metadata={"by": "us"}, include_deleted=True)
    assert [machine.id for machine in found] == ["1", "3"]
    assert [request.url.params.get("cursor") for request in transport.requests] == [None, "c1", "c2"]
    assert transport.requests[0].url.params["metadata.by"] == "us"


async def test_list_ends_when_the_cursor_goes_round() -> None:
    """A server that repeats its cursor does not keep us reading for ever."""
    page = {"fly-next-cursor": "c1"}
    fly, transport = client(answer([{"id": "1"}], **page), answer([{"id": "1"}], **page))
    assert len(await fly.list_machines("a")) == 1
    assert len(transport.requests) == 2


async def test_other_answers() -> None:
    """Events, exec, metadata and logs come typed."""
    fly, transport = client(
        answer([{"id": "01A", "type": "exit", "request": {"exit_event": {}}}, "junk"]),
        answer({"stdout": "{}", "exit_code": 2}),
        answer({"a": "b", "c": 1}),
        answer({"data": [{"id": "1"}], "meta": {"next_token": 1790000000000000001}}),
    )
    assert [event.id for event in await fly.events("a", "1")] == ["01A"]
    assert (await fly.exec("a", "1", ["flaude-guest", "status"], "{}", 25)).exit_code == 2
    assert await fly.metadata("a", "1") == {"a": "b"}
    assert (await fly.logs_page("a", "1", "7", "cdg")).next_token == "1790000000000000001"
    assert transport.requests[0].url.query == b"limit=50"
    sent = {"command": ["flaude-guest", "status"], "timeout": 25, "stdin": "{}"}
    assert json.loads(transport.requests[1].content) == sent
    assert transport.requests[3].url.query == b"next_token=7&instance=1&region=cdg"


@pytest.mark.parametrize(
    "call",
    [
        lambda fly: fly.get_machine("a", "1"),
        lambda fly: fly.create_machine("a", {"image": "i"}),
        lambda fly: fly.list_machines("a"),
        lambda fly: fly.events("a", "1"),
        lambda fly: fly.exec("a", "1", ["true"]),
    ],
)
@pytest.mark.parametrize("body", [b"", b"null", b"<html>", b'"x"', b"7", b"[" * 100_000, b"9" * 5000])
async def test_answers_that_are_not_understood(call: Callable[[Fly], Awaitable[Any]], body: bytes) -> None:
    """A success that is not what was asked for is an error, not an empty result."""
    fly, _ = client(httpx.Response(200, content=body))
    with pytest.raises(FlyAPIError, match="the answer is not"):
        await call(fly)


async def test_huge_answers_are_cut_off() -> None:
    """An endless answer is an error after a few MiB; of an endless error only the head is read."""
    good, bad = EndlessBody(), EndlessBody()
    fly, _ = client(httpx.Response(200, stream=good), httpx.Response(400, stream=bad))
    with pytest.raises(FlyAPIError, match="answer too large"):
        await fly.get_machine("a", "1")
    assert good.sent <= fly_http.ANSWER_MAX_BYTES + 2 * 65536
    with pytest.raises(FlyAPIError, match="HTTP 400"):
        await fly.get_machine("a", "1")
    assert bad.sent <= http_body.ERROR_MAX_BYTES + 2 * 65536
    assert good.closed
    assert bad.closed


async def test_an_answer_that_trickles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that sends a byte now and then cannot hold a call beyond its limit."""

    class Trickle(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                await asyncio.sleep(0.002)
                yield b" "

    monkeypatch.setattr(fly_http, "MARGIN_S", 0.02)
    monkeypatch.setattr(fly_http, "REQUEST_S", 0.0)
    connection = fly_http.Connection(
        "Bearer x",
        BaseUrls(),
        transport=ScriptedTransport([httpx.Response(200, stream=Trickle())]),
        user_agent="",
        retry_for=0,
    )
    with pytest.raises(FlyAPIError, match="no whole answer in time"):
        await connection.call("GET", "/v1/apps/a", timeout=0.01)


@given(
    status=st.integers(200, 599),
    body=st.binary(max_size=200) | st.text(max_size=200).map(json.dumps).map(str.encode),
)
@settings(max_examples=60)
async def test_junk_raises_nothing_else(status: int, body: bytes) -> None:
    """Whatever a server answers, a method gives its result or a FlyAPIError."""
    calls: list[Callable[[Fly], Awaitable[Any]]] = [
        lambda fly: fly.get_app("a"),
        lambda fly: fly.get_machine("a", "1"),
        lambda fly: fly.list_machines("a", metadata={"a": "b"}),
        lambda fly: fly.wait("a", "1", ["stopped"], "01H", 1),
        lambda fly: fly.exec("a", "1", ["true"]),
        lambda fly: fly.metadata("a", "1"),
        lambda fly: fly.logs_page("a"),
    ]
    for call in calls:
        fly, _ = client(httpx.Response(status, content=body), retry_for=0)
        with contextlib.suppress(FlyAPIError):
            await call(fly)


# What is sent again.


@pytest.mark.parametrize("trouble", [httpx.ReadError("x"), httpx.ReadTimeout("x"), 503, 429])
@pytest.mark.parametrize(
    ("call", "good"),
    [
        (lambda fly: fly.get_machine("a", "1"), MACHINE),
        (lambda fly: fly.events("a", "1"), []),
        (lambda fly: fly.destroy_machine("a", "1"), {"ok": True}),
        (lambda fly: fly.stop_machine("a", "1"), {"ok": True}),
        (lambda fly: fly.wait("a", "1", ["stopped"], "01H", 1), {"ok": True}),
    ],
)
async def test_harmless_requests_are_repeated(
    trouble: Exception | int, call: Callable[[Fly], Awaitable[Any]], good: object
) -> None:
    """Reads, destroy and stop survive a lost connection, a 5xx and a 429."""
    fly, transport = client(answer(status=trouble) if isinstance(trouble, int) else trouble, answer(good))
    await call(fly)
    assert len(transport.requests) == 2


@pytest.mark.parametrize(
    "call",
    [
        lambda fly: fly.create_machine("a", {"image": "i"}),
        lambda fly: fly.create_app("a", "personal"),
        lambda fly: fly.exec("a", "1", ["true"]),
    ],
)
async def test_other_requests_are_sent_once_when_in_doubt(call: Callable[[Fly], Awaitable[Any]]) -> None:
    """A create or exec that may have happened is never sent twice; one that cannot have, is."""
    for trouble in (httpx.ReadError("x"), httpx.ReadTimeout("x"), answer(status=500), answer(status=408)):
        fly, transport = client(trouble)
        with pytest.raises(FlyAPIError):
            await call(fly)
        assert len(transport.requests) == 1
    for refusal in (httpx.ConnectError("x"), httpx.ConnectTimeout("x"), answer(status=429)):
        fly, transport = client(refusal, answer(MACHINE))
        await call(fly)
        assert len(transport.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 412, 422])
async def test_refusals_are_not_repeated(status: int) -> None:
    """What Fly refused, it would refuse again."""
    fly, transport = client(answer(status=status))
    with pytest.raises(FlyAPIError):
        await fly.destroy_machine("a", "1")
    assert len(transport.requests) == 1


async def test_retries_end() -> None:
    """The last failure is raised when the attempts are used up, and none is made without a budget."""
    fly, transport = client(*[answer({"error": f"no {number}"}, 500) for number in range(3)])
    with pytest.raises(FlyAPIError, match="no 2"):
        await fly.get_machine("a", "1")
    assert len(transport.requests) == 3
    fly, transport = client(answer(status=500))
    with pytest.raises(FlyAPIError):
        await fly.get_machine("a", "1", retry_for=0)
    assert len(transport.requests) == 1


async def test_retry_after_is_honoured() -> None:
    """The pause Fly asks for is made, unless it is longer than the budget: then the refusal is raised."""
    stamina.set_testing(False)
    loop = asyncio.get_running_loop()
    fly, transport = client(answer(status=429, **{"retry-after": "0.04"}), answer(MACHINE))
    start = loop.time()
    await fly.create_machine("a", {"image": "i"})
    assert 0.039 <= loop.time() - start < 5
    fly, transport = client(answer(status=429, **{"retry-after": "3600"}))
    with pytest.raises(FlyAPIError) as caught:
        await fly.create_machine("a", {"image": "i"})
    assert caught.value.retry_after == 3600
    assert len(transport.requests) == 1


async def test_cancelling_a_call_cancels_it() -> None:
    """An outer cancel goes through at once and is no FlyAPIError."""

    class Silence(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await asyncio.sleep(60)
            raise AssertionError

    task = asyncio.ensure_future(Fly(TOKEN, transport=Silence()).get_machine("a", "1"))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
