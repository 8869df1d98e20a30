"""One machine's life where Fly is slow, forgetful or in trouble: every answer as the test says it."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import stamina
from tests.support.scripted_http import ScriptedTransport, Step

from flaude_action import machine as module
from flaude_action import waiting
from flaude_action.errors import FlyAPIError
from flaude_action.fly import Fly
from flaude_action.fly_models import Machine as FlyMachine
from flaude_action.launch import META_LAUNCH, META_NONCE, Launch
from flaude_action.machine import End, Machine, destroy
from flaude_action.waiting import Cancellation, Deadline

if TYPE_CHECKING:
    from collections.abc import Iterator

MACHINE: dict[str, Any] = {
    "id": "1857156b526dd8",
    "state": "created",
    "instance_id": "01HEPA330HZ37A78TK080NAK1M",
}
LAUNCH = Launch("run", "0123456789abcdef", {"image": "x"})
OURS = MACHINE | {"config": {"metadata": {META_NONCE: LAUNCH.nonce, META_LAUNCH: "1"}}}
OK = httpx.Response(200, json={"ok": True})


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "WATCH_PAUSE_S", 0.001)
    with stamina.set_testing(True, attempts=1):
        yield


def said(status: int, document: object = None) -> httpx.Response:
    return httpx.Response(status, json=document if document is not None else {"error": "no"})


def state(name: str) -> httpx.Response:
    """The answer of a wait."""
    return said(200, {"ok": True, "state": name})


def record(name: str) -> httpx.Response:
    """The answer of a GET."""
    return said(200, MACHINE | {"state": name})


async def created(*steps: Step) -> tuple[Machine, ScriptedTransport]:
    transport = ScriptedTransport([said(200, MACHINE), *steps])
    machine = Machine(Fly("fm2_x", transport=transport), "app", LAUNCH)
    await machine.__aenter__()
    return machine, transport


def asked(transport: ScriptedTransport) -> list[str]:
    return [f"{request.method} {request.url.path.rpartition('/')[2]}" for request in transport.requests]


@pytest.mark.parametrize("trouble", [said(502), said(429), said(408), httpx.ReadTimeout("slow")])
async def test_a_boot_waits_out_trouble_with_the_api(trouble: Step) -> None:
    """A machine that boots is not given up because one question about it went wrong."""
    machine, _ = await created(trouble, state("started"))
    assert await machine.started(Deadline.after(5)) == "started"


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_boot_does_not_wait_after_a_refusal(status: int) -> None:
    """What will not pass is told at once."""
    machine, _ = await created(said(status))
    with pytest.raises(FlyAPIError) as raised:
        await machine.started(Deadline.after(5))
    assert raised.value.status_code == status


async def test_a_machine_that_lives_elsewhere_is_not_over() -> None:
    """One server has not heard of it, another says that it runs: then it runs, until both know of its end."""
    machine, _ = await created(
        said(404), record("started"), said(404), said(503), said(404), record("stopped")
    )
    assert await machine.ended() == End("stopped", gone=True)


async def test_a_machine_that_nobody_knows_is_gone() -> None:
    """404 on wait and on GET is the end."""
    machine, _ = await created(said(404), said(404))
    assert await machine.ended() == End("", gone=True)


async def test_an_answer_without_a_state_is_looked_up() -> None:
    """Fly may say no more than ok; what a GET says then counts, and `destroying` is over too."""
    machine, transport = await created(OK, record("started"), OK, record("destroying"))
    assert await machine.ended() == End("destroying")
    assert asked(transport)[1:] == ["GET wait", f"GET {MACHINE['id']}"] * 2


async def test_an_answer_with_another_state_is_none() -> None:
    """A wait that ends with a state nobody asked for has not ended: the machine still boots."""
    machine, _ = await created(state("created"), record("created"), state("started"))
    assert await machine.started(Deadline.after(5)) == "started"


async def test_a_machine_that_has_been_and_gone_is_adopted() -> None:
    """The answer to create was lost and the machine has ended since: it is not started a second time."""
    gone = OURS | {"state": "destroyed"}
    transport = ScriptedTransport([said(502), said(200, [gone])])
    machine = Machine(Fly("fm2_x", transport=transport), "app", LAUNCH)
    await machine.__aenter__()
    assert (machine.id, machine.record.state) == (MACHINE["id"], "destroyed")
    assert transport.requests[1].url.params["include_deleted"] == "true"


async def test_of_two_the_living_one_is_adopted() -> None:
    """Where two carry our nonce, the one that is not over."""
    dead, living = OURS | {"id": "dead", "state": "destroyed"}, OURS | {"id": "living", "state": "started"}
    transport = ScriptedTransport([said(502), said(200, [dead, living])])
    machine = Machine(Fly("fm2_x", transport=transport), "app", LAUNCH)
    await machine.__aenter__()
    assert machine.id == "living"


class Hanging(httpx.AsyncBaseTransport):
    """Never answers requests of some methods; the others as scripted."""

    def __init__(self, inner: ScriptedTransport, *methods: str) -> None:
        self._inner, self._methods = inner, methods

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method in self._methods:
            await asyncio.sleep(60)
        return await self._inner.handle_async_request(request)


async def test_a_cancelled_create_without_an_answer_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The create call hangs when the cancel comes: what it made is found by its nonce and destroyed."""
    monkeypatch.setattr(module, "CREATE_CLEANUP_S", 0.01)
    scripted = ScriptedTransport([said(200, [OURS]), OK, state("destroyed")])
    machine = Machine(Fly("fm2_x", transport=Hanging(scripted, "POST")), "app", LAUNCH)
    entering = asyncio.ensure_future(machine.__aenter__())
    await asyncio.sleep(0.01)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert asked(scripted) == ["GET machines", f"DELETE {MACHINE['id']}", "GET wait"]
    assert machine.cleanup == "destroyed"


async def test_a_cancelled_create_whose_machine_cannot_be_found(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The cancel is passed on, and the log says that something may be left."""
    monkeypatch.setattr(module, "CREATE_CLEANUP_S", 0.01)
    machine = Machine(Fly("fm2_x", transport=Hanging(ScriptedTransport([said(403)]), "POST")), "app", LAUNCH)
    entering = asyncio.ensure_future(machine.__aenter__())
    await asyncio.sleep(0.01)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert [entry.levelno for entry in caplog.records if "cut off" in entry.message] == [logging.WARNING]
    assert machine.cleanup == ""


@pytest.mark.parametrize("hanging", ["DELETE", "GET"])
async def test_destroying_takes_no_longer_than_the_runner_gives(
    monkeypatch: pytest.MonkeyPatch, hanging: str
) -> None:
    """Once a stop is asked for, an API that hangs costs a moment and the id is told for post."""
    monkeypatch.setattr(module, "DESTROY_HURRIED_S", 0.05)
    fly = Fly("fm2_x", transport=Hanging(ScriptedTransport([OK]), hanging))
    cancellation = Cancellation()
    began = time.monotonic()
    going = asyncio.ensure_future(destroy(fly, "app", FlyMachine.parse(MACHINE), cancellation))
    await asyncio.sleep(0.01)
    assert not going.done()
    cancellation.request()
    assert await going == f"leaked:{MACHINE['id']}"
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_trouble_while_destroying_is_waited_out(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """Not only no answer at all: in an outage most answers come from what stands before Fly."""
    monkeypatch.setattr(waiting, "PAUSE_S", 0.01)
    monkeypatch.setattr(module, "DESTROY_CONFIRM_S", 0)
    steps = said(status), said(status), OK, said(status), OK, state("destroyed")
    scripted = ScriptedTransport(steps)
    fly = Fly("fm2_x", transport=scripted, retry_for=0.0)
    assert await destroy(fly, "app", FlyMachine.parse(MACHINE), None, Deadline.after(60)) == "destroyed"
    assert len(asked(scripted)) == len(steps)


async def test_a_refusal_to_destroy_is_told_at_once() -> None:
    """A lease of somebody else's does not go by itself."""
    fly = Fly("fm2_x", transport=ScriptedTransport([said(409), OK]), retry_for=0.0)
    leaked = f"leaked:{MACHINE['id']}"
    assert await destroy(fly, "app", FlyMachine.parse(MACHINE), None, Deadline.after(60)) == leaked
