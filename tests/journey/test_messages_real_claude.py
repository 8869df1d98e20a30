"""The real Claude Code CLI against the scripted Messages API: what the stand-in says is really done."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.support import engines

from localfly.messages import serve_messages

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.claude


@dataclass
class Ended:
    """How the CLI ended: its exit code, its events, and what it asked of the API."""

    exit_code: int
    events: list[dict[str, Any]]
    requests: list[dict[str, Any]]

    @property
    def result(self) -> dict[str, Any]:
        return self.events[-1]


async def claude(script: dict[str, Any], tmp_path: Path, *flags: str) -> Ended:
    """Run the CLI once in `tmp_path/work`, with a home of its own and the credential `dummy`."""
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir(exist_ok=True)
    async with serve_messages(script) as url, httpx.AsyncClient() as client:
        process = await asyncio.create_subprocess_exec(
            str(engines.claude()),
            *("-p", "--output-format", "stream-json", "--verbose", "--dangerously-skip-permissions"),
            *flags,
            cwd=work,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(home),
                "IS_SANDBOX": "1",
                "ANTHROPIC_BASE_URL": url,
                "CLAUDE_CODE_OAUTH_TOKEN": "dummy",
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
                "DISABLE_AUTOUPDATER": "1",
            },
        )
        stdout, _ = await asyncio.wait_for(process.communicate(b"Fix the bug."), timeout=60)
        requests = (await client.get(f"{url}/_messages/requests")).json()
    assert process.returncode is not None
    return Ended(process.returncode, [json.loads(line) for line in stdout.splitlines()], requests)


async def test_tools_really_run(tmp_path: Path) -> None:
    """Scripted Bash, Read and Edit calls are carried out, and the last turn's text is the result."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work/sums.py").write_text("total = n + 1\n")
    edit = {"file_path": "sums.py", "old_string": "n + 1", "new_string": "n"}
    script = {
        "turns": [
            {"text": "Look.", "tools": [{"name": "Bash", "input": {"command": "echo six*7 > out.txt"}}]},
            {"tools": [{"name": "Read", "input": {"file_path": "sums.py"}}]},
            {"tools": [{"name": "Edit", "input": edit}]},
            {"text": "Fixed."},
        ]
    }
    ended = await claude(script, tmp_path)
    assert ended.exit_code == 0
    assert (ended.result["subtype"], ended.result["is_error"]) == ("success", False)
    assert (ended.result["result"], ended.result["num_turns"]) == ("Fixed.", 4)
    assert (tmp_path / "work/sums.py").read_text() == "total = n\n"
    assert (tmp_path / "work/out.txt").read_text() == "six*7\n"
    assert {request["headers"]["authorization"] for request in ended.requests} == {"Bearer dummy"}


async def test_the_turn_limit(tmp_path: Path) -> None:
    """A script whose last turn is a tool call goes on until the CLI's own turn limit."""
    script = {"turns": [{"tools": [{"name": "Bash", "input": {"command": "true"}}]}]}
    ended = await claude(script, tmp_path, "--max-turns", "2")
    assert ended.exit_code == 1
    assert ended.result["subtype"] == "error_max_turns"
    assert len(ended.requests) == 2


async def test_errors_are_the_apis_own(tmp_path: Path) -> None:
    """The CLI recognises a scripted refusal as the failure it stands for."""
    message = "Your credit balance is too low to access the Anthropic API."
    ended = await claude({"turns": [{"error": {"status": 400, "message": message}}]}, tmp_path)
    assert ended.exit_code == 1
    assert (ended.result["is_error"], ended.result["api_error_status"]) == (True, 400)
    assert [event.get("error") for event in ended.events if event["type"] == "assistant"] == ["billing_error"]


async def test_a_cut_stream_is_tried_again(tmp_path: Path) -> None:
    """The CLI retries a stream that broke off, and the script then goes on."""
    script = {"turns": [{"text": "A text to be cut in its middle.", "cut": True, "times": 1}]}
    ended = await claude(script, tmp_path)
    assert ended.exit_code == 0
    assert ended.result["result"] == "A text to be cut in its middle."
    assert len(ended.requests) == 2
