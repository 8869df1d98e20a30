"""In a real workflow run, where Fly tells no exit at all: the marker at the log's end decides, each way."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from tests.support.act import Workflow, run_workflow
from tests.support.claude_runs import player, to_play
from tests.support.fly import LocalFlyHandle, eventually, localfly
from tests.support.step import CREDENTIAL, IMAGE, REPOSITORY, make_repository, process_images

from localfly.githost import serve_githost

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.act, pytest.mark.docker]

SILENT = {"exit_event_shape": "none"}
FOREIGN = "foreign:1"


def workflow(folder: Path, fly: LocalFlyHandle, **inputs: str) -> asyncio.Task[Workflow]:
    """The run, begun."""
    given = {
        "prompt": "Fix it.",
        "claude_code_oauth_token": CREDENTIAL,
        "fly_api_token": fly.token,
        "fly_app": fly.app,
        "ref": "main",
        "timeout": "2m",
    }
    environment = {"FLY_FLAPS_BASE_URL": fly.flaps_url, "FLY_API_BASE_URL": fly.api_url}
    return asyncio.create_task(asyncio.to_thread(run_workflow, folder, given | inputs, environment))


def told(ended: Workflow) -> tuple[str, ...]:
    names = ("conclusion", "error_type", "exit_code", "exit_code_source")
    return tuple(ended.outputs[name] for name in names)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (0, ("success", "", "0", "log_marker")),
        (5, ("failure", "machine_exit_nonzero", "5", "log_marker")),
    ],
)
async def test_foreign_image(tmp_path: Path, code: int, expected: tuple[str, ...]) -> None:
    """An image without our guest: its marker passes with a warning, or fails."""
    program = f'[ "$FLAUDE_PROMPT" ] || exec sleep 60; echo working; echo "[flaude:exit:{code}]"; exit {code}'
    async with localfly(images={FOREIGN: {"argv": ["bash", "-c", program]}}, **SILENT) as fly:
        ended = await workflow(
            tmp_path, fly, image=FOREIGN, repository=f"http://127.0.0.1:9/{REPOSITORY}.git"
        )
    assert told(ended) == expected
    assert ended.exit_code == min(code, 1)
    assert ("The verdict rests on the log alone" in ended.log) is (code == 0)


async def test_document_lost(tmp_path: Path) -> None:
    """Our guest's document cannot be read any more, and somebody stops it: its last word decides."""
    make_repository(tmp_path)
    images = process_images(tmp_path, player(tmp_path))
    environment = json.dumps(to_play("sigkill_tool", "stay"))
    async with (
        serve_githost(tmp_path / "repositories") as githost,
        localfly(images=images, **SILENT) as fly,
    ):
        running = workflow(
            tmp_path, fly, image=IMAGE, repository=f"{githost}/{REPOSITORY}.git", env=environment
        )

        async def made() -> bool:
            return bool((await fly.call("GET", "/machines")).json())

        await eventually(made, within_s=120)
        [machine] = [each["id"] for each in (await fly.call("GET", "/machines")).json()]

        async def working() -> bool:
            return any("> Bash" in line for line in await fly.lines(machine))

        await eventually(working, within_s=30)
        await fly.fault("/exec$", action="drop", times=100_000)
        await fly.call("POST", f"/machines/{machine}/stop", {"signal": "SIGTERM"})
        ended = await running
    assert told(ended) == ("failure", "killed_by_signal", "143", "log_marker")
    assert ended.exit_code == 1
