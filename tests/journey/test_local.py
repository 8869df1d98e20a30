"""The verb `local` as its user meets it: what it says, that a step runs on it, and that nothing stays."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from typing import TYPE_CHECKING

import pytest
from tests.support import engines
from tests.support.step import ROOT, stage

if TYPE_CHECKING:
    from pathlib import Path


def environment(folder: Path) -> dict[str, str]:
    """A user's, with the tests' own Claude Code on PATH."""
    (folder / "bin").mkdir()
    (folder / "bin" / "claude").symlink_to(engines.claude())
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(folder), "PYTHONPATH": str(ROOT / "src")}


async def start(folder: Path, *words: str) -> asyncio.subprocess.Process:
    command = [sys.executable, "-m", "flaude_action", "local", *words]
    return await asyncio.create_subprocess_exec(
        *command,
        env=environment(folder),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@pytest.mark.claude
async def test_a_step_runs_on_what_it_says(tmp_path: Path) -> None:
    """With the address, app and image that it prints a step passes; SIGTERM ends it with 0."""
    process = await start(tmp_path, "--backend", "process", "--port", str(engines.free_port()))
    assert process.stdout is not None
    said = (await process.stdout.readuntil(b"image: flaude-machine:local")).decode()
    url = re.findall(r"FLY_FLAPS_BASE_URL=(\S+)", said)[0]
    app = re.findall(r"fly_app: (\S+)", said)[0]
    try:
        async with stage(tmp_path) as here:
            there = {"FLY_FLAPS_BASE_URL": url, "FLY_API_BASE_URL": url}
            ended = await here.step(environ=there, fly_app=app, image="flaude-machine:local")
            asked = await here.fly.requests("POST")
    finally:
        process.terminate()
        code = await process.wait()
    assert ended.outputs["conclusion"] == "success"
    assert asked == []
    assert code == 0


@pytest.mark.claude
async def test_unknown_setting(tmp_path: Path) -> None:
    """A setting that there is none of is named on stderr; exit code 2."""
    process = await start(tmp_path, "--set", "no_such_setting=1")
    _, complaint = await process.communicate()
    assert "no_such_setting" in complaint.decode()
    assert process.returncode == 2


@pytest.mark.claude
async def test_port_in_use(tmp_path: Path) -> None:
    """A port that somebody listens on is named on stderr; exit code 2."""
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as server:
        port = str(server.sockets[0].getsockname()[1])
        process = await start(tmp_path, "--backend", "process", "--port", port)
        _, complaint = await process.communicate()
    assert f"cannot serve on port {port}" in complaint.decode()
    assert process.returncode == 2
