"""The main job with machines that are containers of our image: real users, real limits, real kills."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.support.step import CREDENTIAL, GITHUB_TOKEN, bash, script, stage

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.docker

# Eats memory until the kernel steps in; the kernel is told whom to take first.
EAT = "python3 -c 'x = [bytearray(1 << 24) for _ in range(400)]'"
SMALL = {"cpus": "1", "memory_mb": "512"}


async def test_work_is_done_in_a_container(tmp_path: Path, machine_image: str) -> None:
    """The machine is a container of our image; Claude Code works there as `agent`, without rights."""
    look = "id -un; grep NoNewPrivs /proc/self/status; ls /run/flaude; cat /proc/1/environ; touch /etc/x"
    turns = script(bash(look), bash("echo fixed > answer.txt"), "Done.")
    async with stage(tmp_path, turns, image=machine_image) as here:
        running = await here.start(show_full_output="true", setup="id -un > who.txt")
        await running.until("Claude Code is at work")
        label = "--filter=label=org.opencontainers.image.title"
        names = await asyncio.to_thread(
            subprocess.check_output, ["docker", "ps", label, "--format={{.Image}} {{.Names}}"], text=True
        )
        ended = await running.ended()
        left = await here.machines_left()
    assert f"{machine_image} localfly-" in names
    assert ended.exit_code == 0
    assert json.loads(ended.outputs["changed_files"]) == ["answer.txt", "who.txt"]
    assert "+agent" in (ended.workspace / ended.outputs["patch_file"]).read_text()
    assert "NoNewPrivs:\t1" in ended.log
    assert "/run/flaude': Permission denied" in ended.log
    assert "/proc/1/environ: Permission denied" in ended.log
    assert "touch: cannot touch '/etc/x': Permission denied" in ended.log
    assert ended.outputs["cleanup"] == "destroyed"
    assert left == []


async def test_agent_out_of_memory(tmp_path: Path, machine_image: str) -> None:
    """The kernel kills Claude Code itself for memory: a failure named so, never a success."""
    take_claude = (
        "for p in $PPID $$; do echo 1000 > /proc/$p/oom_score_adj; done; echo 0 > /proc/self/oom_score_adj; "
    )
    async with stage(tmp_path, script(bash(take_claude + EAT), "Done."), image=machine_image) as here:
        ended = await here.step(**SMALL)
    assert ended.exit_code == 1
    assert ended.outputs["error_type"] in ("agent_oom", "machine_oom")
    assert ended.outputs["oom_killed"] == "true"
    assert "memory_mb" in ended.outputs["error_hint"]


async def test_tool_out_of_memory(tmp_path: Path, machine_image: str) -> None:
    """The kernel kills a tool for memory and Claude Code goes on: a success with a warning."""
    take_tool = f"echo 1000 > /proc/self/oom_score_adj; {EAT}; echo survived > answer.txt"
    async with stage(tmp_path, script(bash(take_tool), "The tool was killed."), image=machine_image) as here:
        ended = await here.step(**SMALL)
    assert ended.exit_code == 0
    assert ended.outputs["conclusion"] == "success"
    assert [text for text in ended.of_level("warning") if "tool_oom" in text]


@pytest.mark.parametrize("by", ["clone_token", "archive"])
async def test_private_repository(tmp_path: Path, machine_image: str, by: str) -> None:
    """A private repository is fetched by the machine's root, by token or link; the agent finds no trace."""
    token = "github_pat_" + "5ecret" * 6 if by == "clone_token" else GITHUB_TOKEN
    secret = "(5ecret){6}|(1234abcd){5}|legacy.tar.gz/[0-9a-f]{40}"
    files = f"grep -rlsE '{secret}' / --exclude-dir=proc --exclude-dir=sys"
    hunt = f'echo "files=[$({files})] env=[$(env | grep -cE "{secret}")]"'
    async with stage(tmp_path, script(bash(hunt), "Nothing found."), image=machine_image) as here:
        here.make_private(token)
        given = {"clone_token": token} if by == "clone_token" else {}
        ended = await here.step(show_full_output="true", setup="git remote -v", **given)
        requests = await here.fly.requests("POST", "/exec")
    assert ended.outputs["conclusion"] == "success"
    assert "files=[] env=[0]" in ended.log
    assert f"{here.githost}/acme/widget.git (fetch)" in ended.log
    secrets = [token, CREDENTIAL] if by == "clone_token" else ["/_codeload/", CREDENTIAL]
    holding = [each for each in requests if any(secret in each["body"] for secret in secrets)]
    assert [json.loads(each["body"])["command"][1] for each in holding] == ["provision"]
    assert GITHUB_TOKEN not in json.dumps(requests)
