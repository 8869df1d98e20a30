"""README's examples run as they are written, and its tables say what the code does."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.support.fly import localfly
from tests.support.step import CREDENTIAL, IMAGE, ROOT, Stage, make_repository, script, stage

from flaude_action.step import EXIT_CANCELLED, EXIT_CONFIG, EXIT_FAILED, EXIT_OK

README = (ROOT / "README.md").read_text()
APP = "my-flaude-app"
NOWHERE = "http://127.0.0.1:9"

claude = pytest.mark.claude


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


async def run_example(here: Stage, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A block as a program, with what README tells a user to set."""
    program = here.folder / "example.py"
    program.write_text(code)
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "src"),
        "FLY_API_TOKEN": here.fly.token,
        "FLY_FLAPS_BASE_URL": here.fly.flaps_url,
        "FLY_API_BASE_URL": here.fly.api_url,
        "FLAUDE_IMAGE": IMAGE,
        "ANTHROPIC_API_KEY": CREDENTIAL,
        "ANTHROPIC_BASE_URL": here.model,
    }
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, program, *arguments],
        env=environ,
        capture_output=True,
        text=True,
        timeout=90,
    )


@claude
async def test_library_in_one_call(tmp_path: Path) -> None:
    """The first library example does the work and prints what it says it prints."""
    async with stage(tmp_path, apps=[APP]) as here:
        done = await run_example(here, blocks("python")[0], f"{here.githost}/acme/widget.git")
    assert done.returncode == 0, done.stderr
    assert "Done: the answer is written.\n2 turns, " in done.stdout
    assert "changed: answer.txt" in done.stdout


@claude
async def test_library_in_one_call_fails_with_its_type(tmp_path: Path) -> None:
    """The same example with a model that is refused ends in MachineExitError, with log lines at its end."""
    refusal = {"type": "error", "error": {"type": "authentication_error", "message": "invalid token"}}
    turns = script({"error": {"status": 401, "body": refusal}})
    async with stage(tmp_path, turns, apps=[APP]) as here:
        done = await run_example(here, blocks("python")[0], f"{here.githost}/acme/widget.git")
    assert done.returncode == 1
    assert done.stderr.startswith("model_auth_failed: ")
    assert "[flaude:exit:1]" in done.stderr


@claude
async def test_library_line_by_line(tmp_path: Path) -> None:
    """The second library example prints the log as it comes and the end."""
    async with stage(tmp_path, script("Hello from the model."), apps=[APP]) as here:
        done = await run_example(here, blocks("python")[1])
        here.fly.app = APP
        left = await here.machines_left()
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "Hello from the model." in lines
    assert lines[-1] == "success  0"
    assert left == []


@claude
async def test_workflow(tmp_path: Path) -> None:
    """The workflow's step, with its secrets filled in, passes; the step after it reads the outputs."""
    [workflow] = [yaml.safe_load(block) for block in blocks("yaml")]
    uses, reads = workflow["jobs"]["fix"]["steps"]
    async with stage(tmp_path, apps=[APP]) as here:
        here.fly.app = APP
        secrets = {
            "${{ secrets.CLAUDE_CODE_OAUTH_TOKEN }}": CREDENTIAL,
            "${{ secrets.FLY_API_TOKEN }}": here.fly.token,
        }
        inputs = {name: secrets.get(value, value) for name, value in uses["with"].items()}
        ended = await here.step(**{"image": None, "timeout": None, **inputs})
    assert ended.exit_code == 0
    output = re.compile(r"\$\{\{ steps\.flaude\.outputs\.(\w+) }}")
    environ = {name: ended.outputs[output.sub(r"\1", value)] for name, value in reads["env"].items()}
    shell = await asyncio.to_thread(
        subprocess.run,
        ["bash", "-e", "-c", reads["run"]],
        env=environ | {"PATH": os.environ["PATH"], "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")},
        cwd=ended.workspace,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert shell.returncode == 0, shell.stderr
    assert shell.stdout == "success \n"
    assert "\n+fixed\n" in (tmp_path / "summary").read_text()


def test_it_is_installed_from_where_it_is() -> None:
    """Nothing of ours is on PyPI: every `pip install` takes the clone or the repository."""
    taken = re.findall(r"`pip install '?([^`']+)'?`", README)
    assert taken
    assert [what for what in taken if not what.startswith((".", "git+https://"))] == []


EXIT_CODES = {
    EXIT_OK: [{"raise_on_failure": "false"}],
    EXIT_FAILED: [{}],
    EXIT_CONFIG: [{"timeout": "30"}, {"timeout": "30", "raise_on_failure": "false"},
                  {"fly_api_token": ""}, {"fly_app": "not-there"}],
    EXIT_CANCELLED: [{}, {"raise_on_failure": "false"}],
}  # fmt: skip
"""Inputs of a step on a Fly that makes no machine; the last are cancelled while it is asked for one."""


async def test_exit_codes(tmp_path: Path) -> None:
    """README's table of exit codes, row by row through the real `main`; a success with 0 is `test_main`'s."""
    table = README.partition("| exit code | when |")[2].partition("\n\n")[0]
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)] == list(EXIT_CODES)
    async with localfly() as fly:
        here = Stage(fly, NOWHERE, NOWHERE, tmp_path, make_repository(tmp_path))
        await fly.fault("/machines$", method="POST", action="respond", status=422, body={}, times=4)
        for code in (EXIT_OK, EXIT_FAILED, EXIT_CONFIG):
            for inputs in EXIT_CODES[code]:
                ended = await here.step(**inputs)
                assert (inputs, ended.exit_code) == (inputs, code)
                assert ended.outputs["conclusion"] == "failure"


async def test_exit_code_of_a_cancelled_step(tmp_path: Path) -> None:
    """Cancelled is 130, whatever `raise_on_failure` says."""
    async with localfly() as fly:
        here = Stage(fly, NOWHERE, NOWHERE, tmp_path, make_repository(tmp_path))
        await fly.fault("/machines$", method="POST", action="delay", seconds=30, times=99)
        for inputs in EXIT_CODES[EXIT_CANCELLED]:
            running = await here.start(**inputs)
            await running.until("Creating machine")
            running.signal(signal.SIGINT)
            ended = await running.ended()
            assert (inputs, ended.exit_code) == (inputs, EXIT_CANCELLED)
            assert ended.outputs["conclusion"] == "cancelled"


def test_length() -> None:
    """README stays readable: under 250 lines."""
    assert len(README.splitlines()) < 250


@pytest.mark.parametrize("target", re.findall(r"\]\(((?!https?:)[^)#]+)\)", README))
def test_links_lead_somewhere(target: str) -> None:
    """Every link into the repository names a file or folder that is there."""
    assert (Path(ROOT) / target).exists()
