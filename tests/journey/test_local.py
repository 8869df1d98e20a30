"""The verb `local` as its user meets it: what it says, that a step runs on it, and that nothing stays."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
import sys
from typing import TYPE_CHECKING

import pytest
from tests.support import engines
from tests.support.step import ROOT, stage

from flaude_action import REPOSITORY_URL
from localfly.settings import Settings

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


async def refused(folder: Path, *words: str) -> str:
    """What it says on stderr when it cannot serve: never a traceback; exit code 2."""
    process = await start(folder, *words)
    _, complaint = await process.communicate()
    print(complaint.decode())  # pytest shows it with a failure
    assert process.returncode == 2
    assert "Traceback" not in complaint.decode()
    return complaint.decode()


@pytest.mark.claude
async def test_unknown_setting(tmp_path: Path) -> None:
    """A setting that there is none of is named on stderr, and where to find those there are."""
    complaint = await refused(tmp_path, "--set", "no_such_setting=1")
    assert "no_such_setting" in complaint
    assert "--help-settings" in complaint


@pytest.mark.claude
async def test_the_settings_can_be_read(tmp_path: Path) -> None:
    """`--help-settings` lists every setting with its default and serves nothing."""
    process = await start(tmp_path, "--help-settings")
    said, _ = await process.communicate()
    assert process.returncode == 0
    for each in dataclasses.fields(Settings):
        assert f"\n{each.name}=" in "\n" + said.decode()


@pytest.mark.claude
@pytest.mark.parametrize("option", ["--backend", "--port", "--state", "--set", "--cache", "--help-settings"])
async def test_help_says_what_an_option_does(tmp_path: Path, option: str) -> None:
    """No option of `local` is without a word about it."""
    process = await start(tmp_path, "--help")
    said, _ = await process.communicate()
    [told] = re.findall(rf"^  {option}(?: \S+)?\s+(\S.*)", said.decode(), re.MULTILINE)
    assert len(told.split()) > 2


@pytest.mark.claude
async def test_port_in_use(tmp_path: Path) -> None:
    """A port that somebody listens on is named on stderr; exit code 2."""
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as server:
        port = str(server.sockets[0].getsockname()[1])
        complaint = await refused(tmp_path, "--backend", "process", "--port", port)
    assert f"cannot serve on port {port}" in complaint


@pytest.mark.claude
@pytest.mark.parametrize("port", ["99999", "-1", "http"])
async def test_no_port(tmp_path: Path, port: str) -> None:
    """What can be no port is told as that."""
    assert "--port" in await refused(tmp_path, "--port", port)


@pytest.mark.claude
@pytest.mark.parametrize("option", ["--state", "--cache"])
async def test_a_file_for_a_folder(tmp_path: Path, option: str) -> None:
    """A folder that cannot be one is named, and the port is not blamed."""
    file = tmp_path / "file"
    file.touch()
    complaint = await refused(tmp_path, "--backend", "process", "--port", "0", option, str(file / "x"))
    assert str(file) in complaint
    assert "port" not in complaint


@pytest.mark.parametrize("verb", ["local", "rehearse"])
async def test_without_the_extra(tmp_path: Path, verb: str) -> None:
    """Without the packages that only these verbs need it says how to get them, from where they can be had."""
    (tmp_path / "starlette.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'starlette'\", name='starlette')"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "flaude_action", verb),
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{tmp_path}:{ROOT / 'src'}"},
        stderr=asyncio.subprocess.PIPE,
    )
    _, complaint = await process.communicate()
    assert process.returncode == 2
    assert "Traceback" not in complaint.decode()
    assert f"flaude-action {verb}" in complaint.decode()
    assert "pip install '.[local]'" in complaint.decode()
    assert f"git+{REPOSITORY_URL}" in complaint.decode()
