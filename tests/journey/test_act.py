"""The whole action in a real workflow run: act, Docker, git, Claude Code; Fly and the model are scripted."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.support import engines
from tests.support.act import GIT, Workflow, run_workflow
from tests.support.fly import localfly

from localfly.githost import serve_githost
from localfly.messages import serve_messages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.act, pytest.mark.docker]

KEY = "test-api-key-that-is-masked"
SUMS = "def total(numbers):\n    return sum(numbers) + 1\n"
EDIT = {"file_path": "sums.py", "old_string": "sum(numbers) + 1", "new_string": "sum(numbers)"}
REPAIR: dict[str, Any] = {
    "turns": [
        {"text": "I read it.", "tools": [{"name": "Read", "input": {"file_path": "sums.py"}}]},
        {"tools": [{"name": "Edit", "input": EDIT}]},
        {"text": "The sum was one too high.\n::error::and this is not a workflow command"},
    ]
}


def example_repository(root: Path) -> str:
    """A bare repository `o/sums` below `root`; the SHA of its only commit."""
    work, bare = root / "work", root / "served" / "o" / "sums.git"
    work.mkdir(parents=True)
    (work / "sums.py").write_text(SUMS)
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "Begin"]):
        subprocess.run(["git", *words], cwd=work, env=GIT, check=True)
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(bare)], env=GIT, check=True)
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=work, env=GIT, capture_output=True, text=True, check=True
    )
    return head.stdout.strip()


@asynccontextmanager
async def local(port: int) -> AsyncIterator[str]:
    """`flaude-action local --backend docker`, as a user starts it; the address that it names."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "flaude_action", "local", "--backend", "docker", "--port", str(port)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        said = (await process.stdout.readuntil(b"FLY_API_TOKEN")).decode()
        yield said.partition("FLY_FLAPS_BASE_URL=")[2].split()[0]
    finally:
        process.terminate()
        assert await process.wait() == 0


@asynccontextmanager
async def worked(
    folder: Path, image: str, turns: dict[str, Any]
) -> AsyncIterator[tuple[Workflow, list[Any]]]:
    """A workflow on a container machine with a model of these turns, and the machines left after it."""
    head = example_repository(folder)
    async with (
        local(engines.free_port()) as url,
        serve_messages(turns) as model,
        serve_githost(folder / "served") as githost,
    ):
        inputs = {
            "prompt": "The sum is wrong. Repair it.",
            "anthropic_api_key": KEY,
            "anthropic_base_url": model,
            "fly_api_token": "any-text",
            "fly_app": "local",
            "image": image,
            "repository": f"{githost}/o/sums.git",
            "ref": head,
            "timeout": "3m",
        }
        environment = {"FLY_FLAPS_BASE_URL": url, "FLY_API_BASE_URL": url}
        ended: Workflow = await asyncio.to_thread(run_workflow, folder, inputs, environment)
        async with httpx.AsyncClient(headers={"authorization": "Bearer any-text"}) as client:
            yield ended, (await client.get(f"{url}/v1/apps/local/machines")).json()


@pytest.mark.claude
async def test_a_repair_arrives_in_later_steps(tmp_path: Path, machine_image: str) -> None:
    """Claude Code repairs a file on a container machine; later steps read the outputs and find the files."""
    async with worked(tmp_path, machine_image, REPAIR) as (ended, left):
        outputs = ended.outputs
    assert ended.exit_code == 0, ended.log
    assert "The step ended as success." in ended.log
    assert "[runner] machine exited with exit code 0, not restarting" in ended.log.partition("ended as")[2]
    told = [outputs[name] for name in ("conclusion", "exit_code", "exit_code_source", "cleanup")]
    assert told == ["success", "0", "guest_result", "destroyed"]
    assert outputs["result"].startswith("The sum was one too high.")
    assert outputs["machine_id"] in ended.log
    assert outputs["session_id"] in (ended.workspace / outputs["execution_file"]).read_text()
    assert outputs["num_turns"] == "3"
    assert float(outputs["cost_usd"]) > 0
    assert outputs["changed_files"] == '["sums.py"]'
    patch = (ended.workspace / outputs["patch_file"]).read_text()
    assert "-    return sum(numbers) + 1\n+    return sum(numbers)\n" in patch
    assert left == []
    assert KEY not in ended.log


@pytest.mark.claude
async def test_a_failure_arrives_in_later_steps(tmp_path: Path, machine_image: str) -> None:
    """A run that fails in the middle: red, an error that names the cause, the same outputs, the work kept."""
    refusal = {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "Credit balance is too low"},
    }
    turns = {"turns": [*REPAIR["turns"][:2], {"error": {"status": 400, "body": refusal}}]}
    async with worked(tmp_path, machine_image, turns) as (ended, left):
        outputs = ended.outputs
    assert ended.exit_code == 1
    assert "The step ended as failure." in ended.log
    assert "The Anthropic account has no credit left." in ended.log
    assert outputs["error_ref"] in ended.log
    told = [outputs[name] for name in ("conclusion", "exit_code", "error_type", "error_phase", "cleanup")]
    assert told == ["failure", "1", "model_billing", "model_api", "destroyed"]
    for name in ("machine_id", "result", "session_id", "num_turns", "cost_usd", "log_file"):
        assert outputs[name]
    assert "+    return sum(numbers)" in (ended.workspace / outputs["patch_file"]).read_text()
    assert left == []


async def test_a_bad_step_is_red_before_it_costs_anything(tmp_path: Path) -> None:
    """Every wrong input is told in one run, outputs are set, and Fly hears nothing."""
    async with localfly() as fly:
        inputs = {"prompt": "p", "fly_api_token": fly.token, "fly_app": fly.app, "cpus": "3", "timeout": "90"}
        environment = {"FLY_FLAPS_BASE_URL": fly.flaps_url, "FLY_API_BASE_URL": fly.api_url}
        ended = await asyncio.to_thread(run_workflow, tmp_path, inputs, environment)
        asked = await fly.requests(path="/v1/")

    assert ended.exit_code != 0
    assert "The step ended as failure." in ended.log
    assert (ended.outputs["error_type"], ended.outputs["error_phase"]) == ("secret_missing", "config")
    for wrong in ("`anthropic_api_key`", "`cpus`", "`timeout`"):
        assert wrong in ended.log
    assert asked == []
