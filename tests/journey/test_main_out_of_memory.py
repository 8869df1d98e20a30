"""The main job on machines whose memory the agent fills up: the supervisor lives, and the work comes back."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.support.step import bash, script, stage

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.step import Ended

pytestmark = pytest.mark.docker

_SHARED = "import mmap\nx = [mmap.mmap(-1, 1 << 24) for _ in range(400)]\nfor m in x: m.write(bytes(1 << 24))"
_MEMFD = "import os\nf = os.memfd_create('x')\nwhile True: os.write(f, bytes(1 << 20))"
# Written to through a descriptor or detached at once, memory is nobody's in the kernel's accounts.
_SYSTEM_V = (
    "import ctypes\nc = ctypes.CDLL(None)\nc.shmat.restype = ctypes.c_void_p\n"
    "for _ in range(400):\n"
    "  a = c.shmat(c.shmget(0, 1 << 22, 0o1600), None, 0)\n"
    "  ctypes.memset(a, 1, 1 << 22)\n  c.shmdt(ctypes.c_void_p(a))"
)
EATERS = {
    "one big process": "python3 -c 'x = [bytearray(1 << 24) for _ in range(400)]'",
    "shared mappings": f'python3 -c "{_SHARED}"',
    "memfd": f'python3 -c "{_MEMFD}"',
    "many memfds, again and again": f'for i in $(seq 30); do python3 -c "{_MEMFD}" & done; wait',
    "System V": f"for i in 1 2 3 4 5; do python3 -c '{_SYSTEM_V}'; done",
    "/dev/shm": "for i in $(seq 99); do head -c 1000000 /dev/zero > /dev/shm/$i; done; "
    "python3 -c 'x = [bytearray(1 << 24) for _ in range(400)]'",
    "400 shells": "for i in $(seq 400); do bash -c 'x=$(yes | head -c 3000000); sleep 60; :' & done; wait",
}


def work_arrived(ended: Ended) -> None:
    assert ended.outputs["exit_code_source"] == "guest_result", ended.log
    assert json.loads(ended.outputs["changed_files"]) == ["answer.txt"]
    assert "+fixed" in (ended.workspace / ended.outputs["patch_file"]).read_text()


@pytest.mark.parametrize("eater", EATERS.values(), ids=EATERS)
async def test_the_work_of_an_agent_that_fills_the_memory(
    tmp_path: Path, machine_image: str, eater: str
) -> None:
    """Claude Code or its tools are killed and told so; what was done until then is there."""
    turns = script(bash("echo fixed > answer.txt"), bash(eater), "Done.")
    async with stage(tmp_path, turns, image=machine_image) as here:
        ended = await here.step(cpus="1", memory_mb="512", timeout="90s")
    work_arrived(ended)
    if ended.exit_code:
        assert ended.outputs["error_type"] == "agent_oom"
    else:
        assert [text for text in ended.of_level("warning") if "tool_oom" in text]


async def test_files_that_take_git_more_memory_than_there_is(tmp_path: Path, machine_image: str) -> None:
    """git is given no file that it cannot hold; of one of millions of lines it is asked for bytes."""
    make = "truncate -s 4G data.img; yes '' | head -c 30000000 > lines; head -c 40000000 /dev/zero > zeros"
    turns = script(bash(f"echo fixed > answer.txt; {make}"), "Done.")
    async with stage(tmp_path, turns, image=machine_image) as here:
        ended = await here.step(cpus="1", memory_mb="512", timeout="90s")
    assert ended.outputs["exit_code_source"] == "guest_result", ended.log
    assert ended.outputs["error_type"] == "collect_failed"
    assert "`data.img` (4 GiB, too large)." in ended.of_level("error")[0]
    assert json.loads(ended.outputs["changed_files"]) == ["answer.txt", "lines", "zeros"]
    apply = ["git", "apply", str(ended.workspace / ended.outputs["patch_file"])]
    fresh = tmp_path / "fresh"
    await asyncio.to_thread(subprocess.run, ["git", "clone", "-q", tmp_path / "source", fresh], check=True)
    await asyncio.to_thread(subprocess.run, apply, cwd=fresh, check=True)
    assert (fresh / "lines").read_bytes() == b"\n" * 30_000_000
    assert (fresh / "zeros").read_bytes() == bytes(40_000_000)
