"""localfly as a program with real processes as machines: their lives, their ends, and its own restarts."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.fly import SHELL, SOURCE, LocalFlyHandle, eventually, localfly


async def exit_event(fly: LocalFlyHandle, machine: str) -> dict[str, Any]:
    """The newest exit event's payload."""
    events = (await fly.call("GET", f"/machines/{machine}/events", params={"limit": "50"})).json()
    event: dict[str, Any] = next(each["request"]["exit_event"] for each in events if each["type"] == "exit")
    return event


async def execute(fly: LocalFlyHandle, machine: str, *command: str, **more: Any) -> httpx.Response:
    return await fly.call("POST", f"/machines/{machine}/exec", {"command": list(command)} | more)


def alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


async def until_dead(*pids: int) -> None:
    async def dead() -> bool:
        return not any(map(alive, pids))

    await eventually(dead)


async def written(path: Path) -> str:
    """What a machine's program wrote to a file, once it did."""

    def read() -> str:
        return path.read_text() if path.exists() else ""

    async def there() -> bool:
        return read() != ""

    await eventually(there)
    return read()


async def test_a_program_runs_once_and_everything_about_it_is_told() -> None:
    """Lines in order and complete, the exit code, the ladder to destroyed."""
    async with localfly() as fly:
        machine = (await fly.create("seq 350; echo done >&2; exit 7"))["id"]
        await fly.until(machine, "destroyed")
        lines = await fly.lines(machine)
        assert lines[:351] == [*map(str, range(1, 351)), "done"]
        assert (await exit_event(fly, machine))["exit_code"] == 7
        assert "machine exited with exit code 7, not restarting" in await fly.lines(machine, "runner")
        assert not (fly.state / "m" / machine / "root").exists()


async def test_the_environment_is_the_machine_s_own() -> None:
    """The configuration's variables and Fly's, a private folder, and nothing of whoever started localfly."""
    image = {"argv": ["env"], "env": {"FOLDER": "{root}/x", "WHO": "{machine_id}"}, "path": ["/opt/first"]}
    async with localfly(images={"env:1": image}) as fly:
        machine = (await fly.create(image="env:1", env={"MINE": "1"}))["id"]
        await fly.until(machine, "destroyed")
        variables = dict(line.split("=", 1) for line in await fly.lines(machine) if "=" in line)
        root = str(fly.state / "m" / machine / "root")
        assert (variables["MINE"], variables["FLY_MACHINE_ID"], variables["WHO"]) == ("1", machine, machine)
        assert (variables["FOLDER"], variables["HOME"], variables["PWD"]) == (f"{root}/x", root, root)
        assert variables["PATH"].startswith("/opt/first:")
        assert "PYTHONPATH" not in variables


async def test_commands_run_beside_the_program() -> None:
    """With stdin to its end, both outputs, the code, the machine's folder and environment."""
    async with localfly() as fly:
        machine = (await fly.create("echo > seen; echo ready; sleep 30", env={"A": "b"}))["id"]
        await fly.says(machine, "ready")
        stdin = "x" * 300_000
        answer = await execute(
            fly, machine, "sh", "-c", "wc -c; echo $A; ls; echo no >&2; exit 3", stdin=stdin
        )
        document = answer.json()
        assert document["stdout"].split() == ["300000", "b", "seen"]
        assert (document["stderr"], document["exit_code"]) == ("no\n", 3)
        missing = await execute(fly, machine, "no-such-program")
        assert (missing.status_code, "No such file" in missing.text) == (400, True)


async def test_a_command_out_of_time_is_killed() -> None:
    """408, and the process is gone, though the machine goes on."""
    async with localfly() as fly:
        machine = (await fly.create("sleep 600"))["id"]
        await fly.wait(machine, "started")
        answer = await execute(fly, machine, "sh", "-c", "echo $$ > pid; exec sleep 600", timeout=1)
        assert answer.status_code == 408
        await until_dead(int((fly.state / "m" / machine / "root" / "pid").read_text()))


async def test_commands_can_run_as_nobody() -> None:
    """The other answer to an open question about Fly."""
    if os.geteuid() != 0:
        pytest.skip("only root can become nobody")
    async with localfly(exec_as_root=False) as fly:
        machine = (await fly.create("sleep 30"))["id"]
        await fly.wait(machine, "started")
        assert (await execute(fly, machine, "id", "-u")).json()["stdout"] == "65534\n"


async def test_nothing_of_a_machine_survives_its_end() -> None:
    """Orphans in sessions and environments of their own, and what commands left, die with the program."""
    async with localfly() as fly:
        script = (
            "(env -i setsid sh -c 'echo $$ > orphan; exec sleep 60' &);"
            " until [ -s leftover ] && [ -s orphan ]; do sleep 0.02; done"
        )
        machine = (await fly.create(script, auto_destroy=False))["id"]
        await fly.wait(machine, "started")
        leave = "(setsid sleep 60 >/dev/null 2>&1 & echo $! > leftover.new; mv leftover.new leftover)"
        assert (await execute(fly, machine, "sh", "-c", leave)).status_code == 200
        await fly.wait(machine, "stopped")
        root = fly.state / "m" / machine / "root"
        await until_dead(int((root / "orphan").read_text()), int((root / "leftover").read_text()))


@pytest.mark.parametrize("forced", ["true", ""])
async def test_a_running_machine_is_destroyed_only_by_force(forced: str) -> None:
    """412 without; with it the whole tree is killed and the end told as requested."""
    async with localfly() as fly:
        machine = (await fly.create("trap '' TERM INT; echo $$ > pid; while :; do sleep 0.05; done"))["id"]
        await fly.wait(machine, "started")
        pid_file = fly.state / "m" / machine / "root" / "pid"
        pid = int(await written(pid_file))
        answer = await fly.call("DELETE", f"/machines/{machine}", params={"force": forced})
        if not forced:
            assert (answer.status_code, alive(pid)) == (412, True)
            return
        assert answer.json() == {"ok": True}
        await fly.until(machine, "destroyed")
        await until_dead(pid)
        end = await exit_event(fly, machine)
        assert (end["exit_code"], end["signal"], end["requested_stop"]) == (137, 9, True)


async def test_a_stop_reaches_the_program_as_its_signal() -> None:
    """The program may end in its own way."""
    async with localfly() as fly:
        script = "trap 'echo stopping; exit 9' TERM; echo ready; while :; do sleep 0.02; done"
        stop = {"signal": "SIGTERM", "timeout": "10s"}
        machine = (await fly.create(script, stop_config=stop, auto_destroy=False))["id"]
        await fly.wait(machine, "started")
        await fly.says(machine, "ready")
        await fly.call("POST", f"/machines/{machine}/stop", {})
        await fly.wait(machine, "stopped")
        assert "stopping" in await fly.lines(machine)
        end = await exit_event(fly, machine)
        assert (end["exit_code"], end["requested_stop"]) == (9, True)


async def test_a_stop_right_after_the_start_is_the_program_s_too() -> None:
    """A signal that comes while init is still starting waits for the program instead of ending init."""
    async with localfly() as fly:
        stop = {"signal": "SIGTERM", "timeout": "20s"}
        machine = (await fly.create("exec sleep 60", stop_config=stop))["id"]
        await fly.wait(machine, "started")
        await fly.call("POST", f"/machines/{machine}/stop", {})
        await fly.until(machine, "destroyed")
        end = await exit_event(fly, machine)
        assert (end["exit_code"], end["signal"], end["error"]) == (143, 15, "")


async def test_a_program_begins_with_no_signal_ignored_or_blocked() -> None:
    """Init's own way with signals is not inherited: a broken pipe ends its writer, as everywhere."""
    async with localfly() as fly:
        machine = (await fly.create("grep -E '^Sig(Blk|Ign)' /proc/self/status"))["id"]
        await fly.until(machine, "destroyed")
        blocked, ignored = (int(line.split()[1], 16) for line in (await fly.lines(machine))[:2])
        libc_own = 0b11 << 31  # signals 32 and 33, which only the C library can change
        assert (blocked, ignored & ~libc_own) == (0, 0)


async def test_a_kill_is_told_as_sigkill() -> None:
    """Through the control API, as the kernel would do it."""
    async with localfly() as fly:
        machine = (await fly.create("sleep 60"))["id"]
        await fly.wait(machine, "started")
        await fly.kill(machine)
        await fly.until(machine, "destroyed")
        end = await exit_event(fly, machine)
        assert (end["exit_code"], end["signal"]) == (137, 9)
        assert (
            " INFO Main child exited with signal (with signal 'SIGKILL', core dumped? false)"
            in await fly.lines(machine)
        )


async def test_a_program_that_cannot_start_is_127() -> None:
    """Init says which, like a shell would."""
    async with localfly() as fly:
        machine = (await fly.create(init={"exec": ["/no/such/program"]}))["id"]
        await fly.until(machine, "destroyed")
        assert (await exit_event(fly, machine))["exit_code"] == 127
        assert any("/no/such/program" in line for line in await fly.lines(machine))


@pytest.mark.parametrize("env", [{"A": "x" * 200_000}, {"A=B": "x"}, {"A": "\0"}])
async def test_a_machine_that_no_process_can_be_made_of_fails(env: dict[str, str]) -> None:
    """An environment the kernel refuses: the runner says why, and nobody waits for ever."""
    async with localfly() as fly:
        machine = (await fly.create("true", env=env))["id"]
        await fly.until(machine, "failed")
        assert any(
            line.startswith("Failed to start the machine") for line in await fly.lines(machine, "runner")
        )


async def test_a_machine_outlives_its_image() -> None:
    """What runs goes on running, though the next localfly does not know the image any more."""
    async with localfly(images={"brief:1": {"argv": ["sh", "-c"]}}) as fly:
        machine = (await fly.create("while [ ! -e go ]; do sleep 0.02; done; exit 4", image="brief:1"))["id"]
        await fly.wait(machine, "started")
        await fly.crash()
        (fly.state / "images.json").write_text("{}")
        await fly.start()
        assert (await execute(fly, machine, "touch", "go")).status_code == 200
        await fly.until(machine, "destroyed")
        assert (await exit_event(fly, machine))["exit_code"] == 4


async def test_a_running_machine_survives_localfly() -> None:
    """After a crash of localfly the next one tells every line once and the true exit code."""
    async with localfly() as fly:
        machine = (await fly.create("echo one; while [ ! -e go ]; do sleep 0.02; done; echo two; exit 4"))[
            "id"
        ]
        await fly.wait(machine, "started")
        await fly.says(machine, "one")
        await fly.crash()
        await fly.start()
        assert (await fly.call("GET", f"/machines/{machine}")).json()["state"] == "started"
        assert (await execute(fly, machine, "touch", "go")).status_code == 200
        await fly.until(machine, "destroyed")
        assert (await exit_event(fly, machine))["exit_code"] == 4
        assert [line for line in await fly.lines(machine) if line in ("one", "two")] == ["one", "two"]


async def test_the_lines_of_a_second_launch_survive_localfly_too() -> None:
    """However much the first launch had printed."""
    async with localfly() as fly:
        script = (
            "if [ ! -e again ]; then touch again; seq 2000; exit; fi;"
            " echo one; while [ ! -e go ]; do sleep 0.02; done; echo two; sleep 60"
        )
        machine = (await fly.create(script, auto_destroy=False))["id"]
        await fly.until(machine, "stopped")
        await fly.call("POST", f"/machines/{machine}/start")
        await fly.says(machine, "one")
        await fly.crash()
        await fly.start()
        assert (await execute(fly, machine, "touch", "go")).status_code == 200
        await fly.says(machine, "two")
        assert [line for line in await fly.lines(machine) if line in ("1", "one", "two")] == [
            "1",
            "one",
            "two",
        ]


async def test_an_end_while_localfly_was_away_is_told_afterwards() -> None:
    """The program's init wrote it down."""
    async with localfly() as fly:
        machine = (await fly.create("while [ ! -e go ]; do sleep 0.02; done; echo late; exit 6"))["id"]
        await fly.wait(machine, "started")
        await fly.crash()
        (fly.state / "m" / machine / "root" / "go").touch()
        await written(fly.state / "m" / machine / "exit.json")
        await fly.start()
        await fly.until(machine, "destroyed")
        assert (await exit_event(fly, machine))["exit_code"] == 6
        assert "late" in await fly.lines(machine)


async def test_sigterm_ends_the_machines_and_localfly() -> None:
    """Exit code 0, and no process is left."""
    async with localfly() as fly:
        machine = (await fly.create("trap '' TERM; echo $$ > pid; while :; do sleep 0.05; done"))["id"]
        pid_file = fly.state / "m" / machine / "root" / "pid"
        pid = int(await written(pid_file))
        waiting = asyncio.create_task(
            fly.call("GET", f"/machines/{machine}/wait", params={"state": "stopped", "timeout": "60"})
        )
        await asyncio.sleep(0.05)
        began = time.monotonic()
        assert await fly.stop() == 0
        assert time.monotonic() - began < 5
        await until_dead(pid)
        with contextlib.suppress(httpx.HTTPError):
            assert (await waiting).status_code != 200


@pytest.mark.parametrize(("action", "made"), [("drop", 0), ("lose_answer", 1)])
async def test_a_lost_answer_may_have_been_obeyed(action: str, made: int) -> None:
    """The connection ends without an answer; after lose_answer the machine exists all the same."""
    async with localfly() as fly:
        await fly.fault("/machines$", "POST", action=action)
        with pytest.raises(httpx.RemoteProtocolError):
            await fly.create("sleep 30")
        assert len((await fly.call("GET", "/machines")).json()) == made
        [request] = await fly.requests("POST", "/machines")
        assert request["status"] is None
        assert SHELL in request["body"]


def run_localfly(*options: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "localfly", *options],
        env={"PYTHONPATH": str(SOURCE)} | env,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_it_explains_its_settings() -> None:
    """Every assumption with its default and reason is one option away."""
    told = run_localfly("--help-settings")
    assert (told.returncode, "exit_event_shape=" in told.stdout) == (0, True)


def test_it_says_in_a_line_that_there_is_no_engine() -> None:
    """Exit code 1 and no traceback."""
    told = run_localfly("--backend", "docker", DOCKER_HOST="unix:///nowhere/docker.sock")
    assert (told.returncode, told.stderr) == (1, "localfly: no Docker engine answers (see DOCKER_HOST)\n")


async def test_two_cannot_share_a_state_directory() -> None:
    """The second says so and leaves the first one's machines alone."""
    async with localfly() as fly:
        machine = (await fly.create("sleep 60"))["id"]
        await fly.wait(machine, "started")
        second = await asyncio.to_thread(run_localfly, *fly.command[3:])
        assert (second.returncode, second.stderr) == (1, f"localfly: another localfly uses {fly.state}\n")
        assert (await execute(fly, machine, "true")).status_code == 200


async def test_a_taken_port_costs_no_machine() -> None:
    """What an earlier localfly left running goes on running when the next one cannot serve."""
    async with localfly() as fly:
        machine = (await fly.create("sleep 60"))["id"]
        await fly.wait(machine, "started")
        await fly.crash()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            second = await asyncio.to_thread(run_localfly, *fly.command[3:], "--port", port)
        assert (second.returncode, len(second.stderr.splitlines())) == (1, 1)
        assert f"port {port}: Address already in use" in second.stderr
        await fly.start()
        assert (await execute(fly, machine, "true")).status_code == 200


async def test_a_second_signal_is_not_needed() -> None:
    """SIGINT ends it like SIGTERM."""
    async with localfly() as fly:
        assert fly.process is not None
        fly.process.send_signal(signal.SIGINT)
        assert await fly.process.wait() == 0
