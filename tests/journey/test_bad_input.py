"""Bad input through the real `main` verb: every problem at once, with its fix, and nothing is started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.fly import localfly
from tests.support.step import REPOSITORY, ROOT, Stage, launch, make_repository

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Stage]:
    """A Fly to be left alone; no model and no git host are ever reached."""
    async with localfly() as fly:
        yield Stage(fly, "http://127.0.0.1:9", "http://127.0.0.1:9", tmp_path, make_repository(tmp_path))


async def creates(here: Stage) -> list[dict[str, object]]:
    return [each for each in await here.fly.requests("POST") if str(each["path"]).endswith("/machines")]


ONE_PROBLEM = [
    # inputs, the type, what the annotation must name
    ({"prompt": ""}, "prompt_missing", "`prompt"),
    ({"fly_api_token": ""}, "secret_missing", "`fly_api_token`"),
    ({"fly_app": ""}, "config_invalid", "fly apps create"),
    ({"claude_code_oauth_token": ""}, "secret_missing", "anthropic_api_key"),
    ({"regions": "fra xyz"}, "config_invalid", "xyz"),
    ({"memory_mb": "5000"}, "config_invalid", "4096"),
    ({"cpu_kind": "performance", "cpus": "2", "memory_mb": "2048"}, "config_invalid", "4096"),
    ({"timeout": "30"}, "config_invalid", "45m"),
    ({"env": "A: [1"}, "config_invalid", "`env`"),
    ({"project_settings": "yes"}, "config_invalid", "`always`"),
    ({"claude_args": "--setting-sources=project"}, "config_invalid", "`project_settings:`"),
    ({"claude_args": "--plugin-dir .claude/plugin"}, "config_invalid", "`project_settings: always`"),
    (
        {"settings": '{"env": {"CLAUDE_CODE_PLUGIN_DIRS": "x"}}'},
        "config_invalid",
        "`project_settings: always`",
    ),
    ({"env": "BUN_OPTIONS: --preload ./x.js"}, "config_invalid", "`project_settings: always`"),
    ({"prompt": "", "prompt_file": "../outside"}, "config_invalid", "`prompt_file`"),
    ({"prompt": "", "prompt_file": "/proc/self/environ"}, "config_invalid", "`prompt_file`"),
]


@pytest.mark.parametrize(("inputs", "error_type", "named"), ONE_PROBLEM)
async def test_one_problem(here: Stage, inputs: dict[str, str], error_type: str, named: str) -> None:
    """One bad input gives one annotation that names it and the fix, exit 2, and no machine."""
    ended = await here.step(**inputs)
    assert ended.exit_code == 2
    [error] = ended.of_level("error")
    assert named in error
    assert ended.outputs["error_type"] == error_type
    assert ended.outputs["conclusion"] == "failure"
    assert await creates(here) == []


COMMENT = {"GITHUB_EVENT_NAME": "issue_comment", "GITHUB_REF": "refs/heads/main"}
ISSUE = {"action": "created", "issue": {"number": 3}, "comment": {"body": "/fix"}}


async def test_a_comment_on_an_issue(here: Stage) -> None:
    """A comment that is on no pull request names nothing to work on: it is told so, and nothing is made."""
    here.payload = ISSUE | {"repository": {"full_name": REPOSITORY, "default_branch": "main"}}
    ended = await here.step(environ=COMMENT)
    assert (ended.exit_code, ended.outputs["error_type"]) == (2, "event_unsupported")
    [error] = ended.of_level("error")
    assert "The comment is not on a pull request." in error
    assert "`if: github.event.issue.pull_request`" in error
    assert "`ref:`" in ended.outputs["error_hint"]
    assert await creates(here) == []


async def test_linked_prompt_file(here: Stage) -> None:
    """A prompt file that is a link out of the workspace is refused, and what it points to is not shown."""
    secret = here.folder / "secret.txt"
    secret.write_text("do not read me")
    variables = here.variables({"prompt": None, "prompt_file": "task.md"}, {})
    (Path(variables["GITHUB_WORKSPACE"]) / "task.md").symlink_to(secret)
    ended = await (await launch(variables)).ended()
    assert ended.exit_code == 2
    assert "`prompt_file`" in ended.log
    assert "do not read me" not in ended.log


async def test_job_too_long_for_its_road(here: Stage) -> None:
    """A prompt that does not fit through Fly's exec is refused before anything is started."""
    variables = here.variables({"prompt": None, "prompt_file": "task.md"}, {})
    (Path(variables["GITHUB_WORKSPACE"]) / "task.md").write_text('"' * 150_000)
    ended = await (await launch(variables)).ended()
    assert ended.exit_code == 2
    assert "293 KiB" in ended.outputs["error_message"]
    assert await creates(here) == []


async def test_all_problems_at_once(here: Stage) -> None:
    """Five bad inputs are five annotations of one run."""
    ended = await here.step(prompt="", fly_api_token="", regions="xyz", timeout="30", env=": :")
    assert ended.exit_code == 2
    assert len(ended.of_level("error")) == 5
    assert await here.fly.requests() == []


async def test_unknown_app(here: Stage) -> None:
    """An app that does not exist is told with the line that makes it, and nothing is created."""
    ended = await here.step(fly_app="not-there")
    assert ended.exit_code == 2
    [error] = ended.of_level("error")
    assert "`fly apps create not-there --network not-there`" in error
    assert ended.outputs["error_type"] == "app_not_found"
    assert await creates(here) == []


async def test_refused_token(here: Stage) -> None:
    """A token that Fly does not take is told before anything is created."""
    await here.fly.settings(tokens=["fm2_another"])
    ended = await here.step()
    assert ended.exit_code == 2
    assert ended.outputs["error_type"] == "machine_auth_failed"


async def test_a_failure_before_the_machine(here: Stage) -> None:
    """What fails at Fly before there is a machine is a failure like any other, and may be kept green."""
    await here.fly.fault("/apps/[^/]+$", method="GET", action="respond", status=422, body={}, times=99)
    loud, quiet = await here.step(), await here.step(raise_on_failure="false")
    assert (loud.exit_code, quiet.exit_code) == (1, 0)
    for ended in (loud, quiet):
        assert ended.outputs["conclusion"] == "failure"
        assert ended.outputs["error_phase"] == "create"


async def test_a_wrong_input_stays_red(here: Stage) -> None:
    """Nothing was started: there is no failure of a run to be quiet about."""
    assert (await here.step(prompt="", raise_on_failure="false")).exit_code == 2


async def test_a_link_instead_of_the_folder(here: Stage) -> None:
    """A checkout with a link where the step's files go is refused before anything is started."""
    variables = here.variables({}, {})
    (Path(variables["GITHUB_WORKSPACE"]) / ".flaude").symlink_to(here.folder)
    ended = await (await launch(variables)).ended()
    assert (ended.exit_code, ended.outputs["error_type"]) == (2, "config_invalid")
    assert ".flaude" in ended.of_level("error")[0]
    assert await here.fly.requests() == []


async def test_a_locale_without_the_letters(here: Stage) -> None:
    """The runner reads UTF-8, whatever encoding the job's environment has asked for."""
    ended = await here.step(environ={"PYTHONIOENCODING": "ascii"}, fly_app="\u00e9\u2028x")
    assert ended.exit_code == 2
    assert "`\u00e9 x` is not a Fly app's name." in ended.of_level("error")[0]


@pytest.mark.parametrize("state", [{}, {"STATE_nonce": "ab"}])
def test_post_never_fails_the_job(tmp_path: Path, state: dict[str, str]) -> None:
    """Whatever main has left, or somebody else has put there."""
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), "HOME": str(tmp_path)}
    environ |= {"FLY_FLAPS_BASE_URL": "http://127.0.0.1:9", "INPUT_FLY_API_TOKEN": "fm2_abcdef"}
    done = subprocess.run(
        [sys.executable, "-m", "flaude_action", "post"],
        env=environ | state,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("::add-mask::") or not state
    assert ("::warning" in done.stdout) == bool(state)
    assert not done.stderr


def test_missing_prompt_imports_little(tmp_path: Path) -> None:
    """Without a prompt neither docker nor yaml nor the HTTP client is loaded."""
    code = (
        "import sys; from flaude_action.cli import main_entry; code = main_entry();"
        "sys.__stderr__.write(f'{code} {sorted({name.partition(\".\")[0] for name in sys.modules})}')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stderr.startswith("2 ")
    assert not {"'docker'", "'yaml'", "'httpx'", "'pydantic'"} & set(done.stderr.strip("2 []").split(", "))
