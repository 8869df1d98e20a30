"""The client against localfly as a process: two programs that share no model, with Fly's document between."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from tests.support.fly import SHELL, TOKEN, LocalFlyHandle, localfly
from tests.support.openapi import request_errors

from flaude_action.errors import FlyAPIError
from flaude_action.fly import Fly
from flaude_action.fly_errors import may_have_happened, name_taken
from flaude_action.fly_models import Machine
from flaude_action.logs import LogFollower, Pace
from flaude_guest.protocol import event_line

ENDED = ["stopped", "failed", "destroyed"]


@pytest.fixture
async def here() -> AsyncIterator[LocalFlyHandle]:
    async with localfly(tokens=[TOKEN]) as handle:
        yield handle
        for request in await handle.requests():
            body = json.loads(request["body"]) if request["body"] else None
            errors = request_errors(request["method"], request["path"], request["query"], body)
            assert errors == []


@pytest.fixture
async def fly(here: LocalFlyHandle) -> AsyncIterator[Fly]:
    async with Fly(here.token, flaps_url=here.flaps_url, api_url=here.api_url) as client:
        yield client


async def create(fly: Fly, here: LocalFlyHandle, script: str, name: str = "", **metadata: str) -> Machine:
    config = {
        "image": SHELL,
        "init": {"cmd": [script]},
        "auto_destroy": True,
        "restart": {"policy": "no"},
        "stop_config": {"signal": "SIGTERM", "timeout": "5s"},
        "guest": {"cpu_kind": "shared", "cpus": 1, "memory_mb": 256},
        "metadata": metadata,
    }
    return await fly.create_machine(here.app, config, name=name)


async def until_ended(fly: Fly, here: LocalFlyHandle, machine: Machine) -> None:
    """Wait; a machine that is destroyed already answers 404, as Fly's does."""
    for _ in range(10):
        try:
            if await fly.wait(here.app, machine.id, ENDED, machine.instance_id, 10):
                return
        except FlyAPIError as error:
            if error.type != "machine_lost":
                raise
            return
    raise AssertionError("the machine did not end")


async def test_a_machine_from_create_to_its_exit_code(fly: Fly, here: LocalFlyHandle) -> None:
    """Create, wait, events, get: the exit code of the program comes back, also after auto_destroy."""
    machine = await create(fly, here, "echo hello; sleep 0.3; exit 7", name="job", run="r1")
    assert machine.id
    assert machine.instance_id
    assert machine.metadata == {"run": "r1"}
    await until_ended(fly, here, machine)
    exits = [event.exit for event in await fly.events(here.app, machine.id) if event.exit]
    assert [one.exit_code for one in exits] == [7]
    assert exits[0].unknown_keys == frozenset()


async def test_wait_times_out_with_none(fly: Fly, here: LocalFlyHandle) -> None:
    """A wait that ends first is None; destroying by force ends the machine."""
    machine = await create(fly, here, "sleep 60")
    assert await fly.wait(here.app, machine.id, ENDED, machine.instance_id, 1) is None
    await fly.destroy_machine(here.app, machine.id)
    await until_ended(fly, here, machine)
    assert (await fly.get_machine(here.app, machine.id)).state in ("destroying", "destroyed")


async def test_list_by_metadata_and_conflicts(fly: Fly, here: LocalFlyHandle) -> None:
    """Machines are found by their metadata; a taken name is recognised."""
    first = await create(fly, here, "sleep 60", name="one", nonce="n1")
    await create(fly, here, "sleep 60", name="two", nonce="n2")
    assert [one.id for one in await fly.list_machines(here.app, metadata={"nonce": "n1"})] == [first.id]
    assert len(await fly.list_machines(here.app)) == 2
    assert await fly.metadata(here.app, first.id) == {"nonce": "n1"}
    with pytest.raises(FlyAPIError) as caught:
        await create(fly, here, "true", name="one")
    assert name_taken(caught.value)
    assert not may_have_happened(caught.value)


async def test_refusals_have_their_types(fly: Fly, here: LocalFlyHandle) -> None:
    """A wrong token, a machine and an app that do not exist."""
    async with Fly("fm2_wrong", flaps_url=here.flaps_url, api_url=here.api_url) as stranger:
        with pytest.raises(FlyAPIError) as caught:
            await stranger.list_machines(here.app)
        assert caught.value.type == "machine_auth_failed"
        assert caught.value.request_id
    with pytest.raises(FlyAPIError) as caught:
        await fly.get_machine(here.app, "e286551c305860")
    assert caught.value.type == "machine_lost"
    with pytest.raises(FlyAPIError) as caught:
        await fly.get_app("nobody-has-this-app")
    assert caught.value.type == "app_not_found"


async def test_exec(fly: Fly, here: LocalFlyHandle) -> None:
    """A command gets its words, its stdin, and gives back output and code."""
    machine = await create(fly, here, "sleep 60")
    await fly.wait(here.app, machine.id, ["started"], machine.instance_id, 10)
    text = "x" * 300_000 + "ü"
    result = await fly.exec(here.app, machine.id, ["cat"], text, 20)
    assert (result.stdout, result.exit_code) == (text, 0)
    result = await fly.exec(here.app, machine.id, ["sh", "-c", "echo $0 >&2; exit 3", "a b"], "", 20)
    assert (result.stderr, result.exit_code) == ("a b\n", 3)


async def test_a_lost_answer(fly: Fly, here: LocalFlyHandle) -> None:
    """A create whose answer is lost raises at once and says that it may have happened; it did, once."""
    await here.fault("/machines$", "POST", action="lose_answer")
    with pytest.raises(FlyAPIError) as caught:
        await create(fly, here, "sleep 60", nonce="n1")
    assert may_have_happened(caught.value)
    assert len(await fly.list_machines(here.app, metadata={"nonce": "n1"})) == 1


async def test_reads_survive_trouble(fly: Fly, here: LocalFlyHandle) -> None:
    """A dropped connection, a 502 and a 429 with Retry-After cost a read nothing but time."""
    machine = await create(fly, here, "sleep 60")
    await here.fault("/machines/", "GET", action="drop")
    await here.fault("/machines/", "GET", action="respond", status=502, body="<html>Bad gateway</html>")
    await here.fault("/machines/", "GET", action="respond", status=429, headers={"Retry-After": "0.05"})
    assert (await fly.get_machine(here.app, machine.id)).id == machine.id
    assert len(await here.requests("GET", f"/machines/{machine.id}")) == 4


async def test_the_log_of_a_guest(fly: Fly, here: LocalFlyHandle) -> None:
    """Hundreds of lines come once, in order and complete, with the platform's lines told apart."""
    boot = event_line({"seq": 1, "type": "boot"})
    last = event_line({"seq": 2, "type": "result", "ok": True, "lines": 402})
    script = f"echo '{boot}'; for i in $(seq 400); do echo line $i; done; sleep 0.3; echo '{last}'"
    machine = await create(fly, here, script)
    follower = LogFollower(fly, here.app, machine.id, machine.created_at, pace=Pace(quick=0.05, quiet=0.1))
    reader = asyncio.ensure_future(_collected(follower))
    await until_ended(fly, here, machine)
    follower.end(402)
    lines = await asyncio.wait_for(reader, 20)
    guest = [message for provider, message in lines if provider == "app" and "line " in message]
    assert guest == [f"line {number}" for number in range(1, 401)]
    assert follower.complete
    assert follower.refused == ""


@pytest.mark.parametrize("boundary", ["after", "repeat"])
@pytest.mark.parametrize("form", ["string", "number"])
async def test_cursors_of_every_form(fly: Fly, here: LocalFlyHandle, boundary: str, form: str) -> None:
    """However the host spells its cursor and treats its own nanosecond, each line comes once."""
    await here.settings(log_cursor_form=form, log_boundary=boundary)
    machine = await create(fly, here, "seq 250")
    follower = LogFollower(fly, here.app, machine.id, machine.created_at, pace=Pace(quick=0.02, quiet=0.1))
    await until_ended(fly, here, machine)
    follower.end()
    lines = await asyncio.wait_for(_collected(follower), 20)
    numbers = [message for provider, message in lines if provider == "app" and message.isdigit()]
    assert numbers == [str(number) for number in range(1, 251)]


async def test_logs_that_may_not_be_read(fly: Fly, here: LocalFlyHandle) -> None:
    """A token that may not read logs costs the lines and nothing else."""
    await here.settings(logs_readable=False)
    machine = await create(fly, here, "echo work")
    follower = LogFollower(fly, here.app, machine.id, machine.created_at)
    assert await asyncio.wait_for(_collected(follower), 5) == []
    assert follower.refused == "HTTP 401"


async def test_the_platforms_last_word(fly: Fly, here: LocalFlyHandle) -> None:
    """Without a guest, the log ends with the platform's own line and is known to be complete."""
    machine = await create(fly, here, "echo work; exit 3")
    follower = LogFollower(fly, here.app, machine.id, machine.created_at, pace=Pace(quick=0.05, quiet=0.1))
    await until_ended(fly, here, machine)
    follower.end()
    lines = await asyncio.wait_for(_collected(follower), 20)
    assert ("app", "work") in lines
    assert any(
        provider == "runner" and message.startswith("machine exited with exit code 3")
        for provider, message in lines
    )
    assert follower.complete


async def _collected(follower: LogFollower) -> list[tuple[str, str]]:
    return [(line.provider, line.message) async for line in follower]
