"""localfly with real containers as machines: memory, lines, commands, ends, and its own restarts."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.support import engines
from tests.support.fly import LocalFlyHandle, localfly

pytestmark = pytest.mark.docker

IMAGE = engines.BASE_IMAGE


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=True).stdout.strip()


def containers(machine: str) -> str:
    """Ids of the containers of a machine, running or not."""
    return docker("ps", "-aq", "--filter", f"label=localfly.machine={machine}")


@asynccontextmanager
async def fly_on_docker(**settings: Any) -> AsyncIterator[LocalFlyHandle]:
    engines.base_image()
    async with localfly(backend="docker", **settings) as fly:
        yield fly


async def create(fly: LocalFlyHandle, script: str, **config: Any) -> str:
    """A machine that runs a shell script in the base image; its id."""
    machine = await fly.create(image=IMAGE, init={"exec": ["sh", "-c", script]}, **config)
    return str(machine["id"])


async def exit_event(fly: LocalFlyHandle, machine: str) -> dict[str, Any]:
    events = (await fly.call("GET", f"/machines/{machine}/events")).json()
    event: dict[str, Any] = next(each["request"]["exit_event"] for each in events if each["type"] == "exit")
    return event


async def execute(fly: LocalFlyHandle, machine: str, *command: str, **more: Any) -> dict[str, Any]:
    answer = await fly.call("POST", f"/machines/{machine}/exec", {"command": list(command)} | more)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def test_a_fast_container_is_told_whole_and_removed() -> None:
    """No line of a container that ends at once is lost, long lines are joined, the code is right."""
    async with fly_on_docker(log_line_max_bytes=100_000) as fly:
        machine = await create(fly, "seq 350; head -c 40000 /dev/zero | tr '\\0' x; echo; echo e >&2; exit 7")
        await fly.until(machine, "destroyed")
        lines = await fly.lines(machine)
        # The engine reads the two outputs on their own: each has its order, both together have none.
        assert lines.count("e") == 1
        printed = [line for line in lines if line != "e"]
        assert printed[:351] == [*map(str, range(1, 351)), "x" * 40_000]
        assert (await exit_event(fly, machine))["exit_code"] == 7
        assert containers(machine) == ""


async def test_memory_is_limited_for_real() -> None:
    """A program over the guest's memory is killed by the kernel and told as oom_killed, without any swap."""
    async with fly_on_docker() as fly:
        # tail keeps the last line in memory, and this line never ends.
        guest = {"cpu_kind": "shared", "cpus": 1, "memory_mb": 256}
        machine = await create(fly, "exec tail -n 1 /dev/zero", guest=guest)
        await fly.until(machine, "destroyed")
        end = await exit_event(fly, machine)
        assert (end["exit_code"], end["signal"], end["oom_killed"]) == (137, 9, True)
        assert "Process appears to have been OOM killed!" in await fly.lines(machine)


async def test_an_oom_has_the_crash_shape_too() -> None:
    """The other recorded encoding of the same death, from a real one."""
    async with fly_on_docker(exit_event_shape="crash") as fly:
        machine = await create(fly, "exec tail -n 1 /dev/zero")
        await fly.until(machine, "destroyed")
        events = (await fly.call("GET", f"/machines/{machine}/events")).json()
        [crash] = [event for event in events if event["type"] == "crash"]
        assert crash["request"]["exit_event"] == {"exit_code": -1, "guest_signal": 9, "oom_killed": True}


async def test_commands_run_as_root_with_stdin_to_its_end() -> None:
    """Half a megabyte goes in and comes out, both outputs and the code come back, whatever the user is."""
    async with fly_on_docker() as fly:
        machine = await create(fly, "echo ready; sleep 60", env={"A": "b"})
        await fly.says(machine, "ready")
        stdin = "0123456789abcde\n" * 32_768
        document = await execute(fly, machine, "sh", "-c", "cat; id -u >&2; echo $A >&2; exit 5", stdin=stdin)
        assert document["stdout"] == stdin
        assert (document["stderr"], document["exit_code"]) == ("0\nb\n", 5)
        assert (await execute(fly, machine, "wc", "-c"))["stdout"] == "0\n"


async def test_commands_answer_at_once_each() -> None:
    """Twenty quick commands at the same time lose none of their output."""
    async with fly_on_docker() as fly:
        machine = await create(fly, "echo ready; sleep 60")
        await fly.says(machine, "ready")
        answers = await asyncio.gather(*(execute(fly, machine, "echo", str(number)) for number in range(20)))
        assert [answer["stdout"] for answer in answers] == [f"{number}\n" for number in range(20)]


async def test_commands_that_cannot_run_or_end() -> None:
    """No such program: 400; out of time: 408 and killed; machine over: 412. As nobody if set so."""
    async with fly_on_docker() as fly:
        machine = await create(fly, "echo ready; sleep 60", auto_destroy=False)
        await fly.says(machine, "ready")
        path = f"/machines/{machine}/exec"
        assert (await fly.call("POST", path, {"command": ["no-such-program"]})).status_code == 400
        slow = {"command": ["sleep", "4321"], "timeout": 1}
        assert (await fly.call("POST", path, slow)).status_code == 408
        assert "4321" not in docker("top", containers(machine))
        await fly.settings(exec_as_root=False)
        assert (await execute(fly, machine, "id", "-u"))["stdout"] == "65534\n"
        await fly.kill(machine)
        await fly.until(machine, "stopped")
        assert (await fly.call("POST", path, {"command": ["true"]})).status_code == 412


async def test_commands_that_meet_the_end_are_told_so() -> None:
    """Whenever the container dies under them: an answer or 412, no other."""
    async with fly_on_docker() as fly:
        for pause_s in (0.0, 0.01, 0.02, 0.03, 0.04):
            machine = await create(fly, "echo ready; sleep 60")
            await fly.says(machine, "ready")
            body = {"command": ["true"]}
            commands = [
                asyncio.create_task(fly.call("POST", f"/machines/{machine}/exec", body)) for _ in range(10)
            ]
            await asyncio.sleep(pause_s)
            await fly.kill(machine)
            answers = [await command for command in commands]
            assert {answer.status_code for answer in answers} <= {200, 412}
            assert not [answer.text for answer in answers if answer.is_success and answer.json()["stdout"]]


async def test_stop_signals_reach_the_program_through_init() -> None:
    """Its own exit code is told; a program without a handler is told as killed by the signal."""
    stop = {"signal": "SIGTERM", "timeout": "20s"}
    async with fly_on_docker() as fly:
        script = "trap 'echo stopping; exit 9' TERM; echo ready; while :; do sleep 0.05; done"
        polite = await create(fly, script, stop_config=stop)
        rude = await create(fly, "echo ready; exec sleep 60", stop_config=stop)
        for machine, code, fatal in ((polite, 9, -1), (rude, 143, 15)):
            await fly.says(machine, "ready")
            await fly.call("POST", f"/machines/{machine}/stop", {})
            await fly.until(machine, "destroyed")
            end = await exit_event(fly, machine)
            assert (end["exit_code"], end["signal"], end["requested_stop"]) == (code, fatal, True)
        assert "stopping" in await fly.lines(polite)


async def test_a_code_over_128_is_no_signal_by_itself() -> None:
    """Programs may exit with 130 or 137 of their own will."""
    async with fly_on_docker() as fly:
        machine = await create(fly, "exit 130")
        await fly.until(machine, "destroyed")
        end = await exit_event(fly, machine)
        assert (end["exit_code"], end["signal"]) == (130, -1)


async def test_a_container_survives_localfly_and_is_found_again() -> None:
    """After a crash the next localfly goes on with the same container: each line once, commands, the code."""
    async with fly_on_docker() as fly:
        machine = await create(fly, "echo one; while [ ! -e /go ]; do sleep 0.05; done; echo two; exit 4")
        await fly.says(machine, "one")
        before = containers(machine)
        await fly.crash()
        await fly.start()
        assert containers(machine) == before
        await execute(fly, machine, "touch", "/go")
        await fly.until(machine, "destroyed")
        assert [line for line in await fly.lines(machine) if line in ("one", "two")] == ["one", "two"]
        assert (await exit_event(fly, machine))["exit_code"] == 4
        assert containers(machine) == ""


async def test_a_container_removed_behind_its_back_is_no_success() -> None:
    """Nobody knows how it ended."""
    async with fly_on_docker() as fly:
        machine = await create(fly, "echo ready; sleep 60")
        await fly.says(machine, "ready")
        await fly.crash()
        docker("rm", "-f", containers(machine))
        await fly.start()
        await fly.until(machine, "destroyed")
        assert (await exit_event(fly, machine))["exit_code"] == 137


async def test_the_end_of_localfly_removes_its_containers_only() -> None:
    """SIGTERM: its own are gone, running or stopped; with keep_machines they stay."""
    async with fly_on_docker() as fly:
        machine = await create(fly, "echo ready; sleep 60")
        await fly.says(machine, "ready")
        assert await fly.stop() == 0
        assert containers(machine) == ""
    async with fly_on_docker(keep_machines=True) as fly:
        machine = await create(fly, "echo ready; sleep 60")
        await fly.says(machine, "ready")
        assert await fly.stop() == 0
        kept = containers(machine)
        assert kept != ""
        docker("rm", "-f", kept)


async def test_the_image_s_own_words_are_told() -> None:
    """Labels and digest come from the engine; an image it does not have fails the machine."""
    async with fly_on_docker() as fly:
        machine = await fly.create(image=IMAGE, init={"exec": ["true"]})
        labels = json.loads(docker("image", "inspect", "-f", "{{json .Config.Labels}}", IMAGE))
        assert machine["image_ref"]["labels"] == (labels or {})
        missing = (await fly.create(image="no-such-image:1"))["id"]
        await fly.until(missing, "failed")
        assert any("no such image" in line for line in await fly.lines(missing, "runner"))


async def test_containers_reach_loopback_on_the_host_s_network() -> None:
    """So that a guest in a container can talk to stand-ins on this computer."""
    async with fly_on_docker() as fly:
        port = fly.flaps_url.rsplit(":", 1)[1]
        script = (
            f'python3 -c \'import socket; socket.create_connection(("127.0.0.1", {port})); print("reached")\''
        )
        machine = await create(fly, script)
        await fly.until(machine, "destroyed")
        assert "reached" in await fly.lines(machine)
