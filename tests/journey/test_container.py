"""The action's own container as the runner runs it: `docker run` per stage, signals to its client, mounts."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.step import FILES, Running, Stage, bash, script, stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.docker

SLOW = script(bash("echo half > half.txt"), bash("sleep 60"), "Too late.")
ENTRYPOINTS = {"main": "/usr/local/bin/flaude-main", "post": "/usr/local/bin/flaude-post"}


def docker_run(variables: dict[str, str], image: str, verb: str) -> list[str]:
    """The runner's command line: values in the client's environment, mounts below /github, no init, no user.

    https://github.com/actions/runner/blob/main/src/Runner.Worker/Container/DockerCommandManager.cs
    """
    home = Path(variables["GITHUB_OUTPUT"]).parent
    mounts = {home: "/github/file_commands", Path(variables["GITHUB_WORKSPACE"]): "/github/workspace"}
    names = [name for name in variables if name.startswith(("GITHUB_", "INPUT_", "FLY_", "STATE_"))]
    words = ["docker", "run", "--rm", "--workdir", "/github/workspace", "--network", "host"]
    words += [word for name in [*names, "HOME"] for word in ("-e", name)]
    words += [word for host, inside in mounts.items() for word in ("-v", f"{host}:{inside}")]
    return [*words, "--entrypoint", ENTRYPOINTS[verb], image]


def inside(variables: dict[str, str]) -> dict[str, str]:
    """The same variables with the container's paths."""
    paths = {f"GITHUB_{name}": f"/github/file_commands/{name}" for name in FILES}
    paths |= {
        "GITHUB_EVENT_PATH": "/github/file_commands/event.json",
        "GITHUB_WORKSPACE": "/github/workspace",
    }
    return variables | paths | {"HOME": "/github/home"}


async def start(here: Stage, image: str, **inputs: str) -> Running:
    variables = here.variables(inputs, {})
    process = await asyncio.create_subprocess_exec(
        *docker_run(variables, image, "main"),
        env=inside(variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        limit=1 << 24,
    )
    return Running(process, variables)


@pytest.fixture
async def here(tmp_path: Path, machine_image: str) -> AsyncIterator[Stage]:
    async with stage(tmp_path, SLOW, image=machine_image) as here:
        yield here


async def test_cancel_by_the_runners_signals(here: Stage, action_image: str) -> None:
    """SIGINT to the docker client: the work so far is saved, the machine is gone, within six seconds."""
    running = await start(here, action_image)
    await running.until("> Bash: sleep")
    began = time.monotonic()
    running.signal(signal.SIGINT)
    ended = await running.ended()
    seconds = time.monotonic() - began
    left = await here.machines_left()
    assert ended.exit_code == 130
    assert ended.outputs["conclusion"] == "cancelled"
    assert json.loads(ended.outputs["changed_files"]) == ["half.txt"]
    assert ended.outputs["cleanup"] == "destroyed"
    assert left == []
    assert seconds < 6


async def test_second_signal_destroys_at_once(here: Stage, action_image: str) -> None:
    """SIGTERM to the docker client: nothing is saved, the machine is gone."""
    running = await start(here, action_image)
    await running.until("> Bash: sleep")
    running.signal(signal.SIGTERM)
    ended = await running.ended()
    assert ended.outputs["conclusion"] == "cancelled"
    assert await here.machines_left() == []


async def test_killed_container_is_reaped_by_post(here: Stage, action_image: str) -> None:
    """SIGKILL to the container itself: the post stage, a container of its own, destroys the machine."""
    running = await start(here, action_image)
    await running.until("> Bash: sleep")
    [container] = subprocess.check_output(  # noqa: ASYNC221 - quick
        ["docker", "ps", "-q", "--filter", f"ancestor={action_image}"], text=True
    ).split()
    await asyncio.to_thread(subprocess.run, ["docker", "kill", container], check=True, capture_output=True)
    await running.ended()
    assert len(await here.machines_left()) == 1
    variables = running.variables
    done = await asyncio.to_thread(
        subprocess.run,
        docker_run(variables, action_image, "post"),
        env=inside(variables),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "was still there and is destroyed" in done.stdout
    assert await here.machines_left() == []


async def test_files_belong_to_the_owner_of_the_workspace(here: Stage, action_image: str) -> None:
    """What the container's root leaves in the workspace belongs to the runner's user, like a checkout."""
    variables = here.variables({"timeout": "3s"}, {})
    workspace = Path(variables["GITHUB_WORKSPACE"])
    os.chown(workspace, 1234, 1234)
    done = await asyncio.to_thread(
        subprocess.run,
        docker_run(variables, action_image, "main"),
        env=inside(variables),
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 1
    left = list((workspace / ".flaude").rglob("*"))
    assert {path.name for path in left} >= {"machine.log", "report.json", ".gitignore"}
    assert {path.stat().st_uid for path in left} == {1234}


def test_container_holds_no_tools(action_image: str) -> None:
    """There is Python and our two programs: no shell, nothing that could install or compile."""
    look = """
import importlib.util, json, os
folders = ["/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"]
programs = [name for folder in folders if os.path.isdir(folder) for name in os.listdir(folder)]
installers = [name for name in ("pip", "ensurepip") if importlib.util.find_spec(name)]
print(json.dumps({"programs": programs, "installers": installers}))
"""
    done = subprocess.run(
        ["docker", "run", "--rm", "--entrypoint", "/opt/flaude/bin/python", action_image, "-c", look],
        capture_output=True,
        text=True,
        timeout=60,
    )
    found = json.loads(done.stdout)
    programs = {name.rstrip(".0123456789") for name in found["programs"]}
    assert programs == {"python", "flaude-main", "flaude-post"}
    assert found["installers"] == []
