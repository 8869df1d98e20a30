"""The rehearsal on the user's own Fly; a localfly is that here, which the rehearsal does not know."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.support.step import CREDENTIAL, IMAGE, REPOSITORY, ROOT, Stage, stage

from flaude_action.rehearsal.own_fly import REPOSITORY as PUBLIC
from flaude_action.rehearsal.own_fly import about_fly, own_fly
from flaude_action.rehearsal.scenes import FIXES

if TYPE_CHECKING:
    from pathlib import Path

ALL = {"FLY_API_TOKEN": "fm2_mine", "FLY_APP": "mine", "ANTHROPIC_API_KEY": "sk-ant-mine"}


async def rehearse(here: Stage, **environ: str) -> subprocess.CompletedProcess[str]:
    """Beside everything that a user sets for it, where Fly, GitHub and the model are for this test."""
    repositories = here.folder / "repositories"
    shutil.copytree(repositories / f"{REPOSITORY}.git", repositories / f"{PUBLIC}.git")
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "flaude_action", "rehearse", "--cache", here.folder / "cache"],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(here.folder / "home"),
            "PYTHONPATH": str(ROOT / "src"),
            "FLY_API_TOKEN": here.fly.token,
            "FLY_APP": here.fly.app,
            "CLAUDE_CODE_OAUTH_TOKEN": CREDENTIAL,
            "FLAUDE_IMAGE": IMAGE,
            "FLY_FLAPS_BASE_URL": here.fly.flaps_url,
            "FLY_API_BASE_URL": here.fly.api_url,
            "GITHUB_SERVER_URL": here.githost,
            "ANTHROPIC_BASE_URL": here.model,
            **environ,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    print(done.stdout)  # pytest shows it with a failure
    return done


@pytest.mark.claude
async def test_both_endings(tmp_path: Path) -> None:
    """Both runs are at Fly, which is said first; the work is proven here, nothing is left or given away."""
    async with stage(tmp_path, FIXES.turns()) as here:
        done = await rehearse(here)
        created = await here.fly.requests("POST", f"/v1/apps/{here.fly.app}/machines")
        left = await here.machines_left()
    assert done.returncode == 0
    first, repository, model, *_ = done.stdout.splitlines()
    assert first.startswith(f"Machines are Fly's own, two in the app {here.fly.app} ")
    assert PUBLIC in repository
    assert model.startswith("The model of the first run is the real one, because CLAUDE_CODE_OAUTH_TOKEN is")
    assert len([each for each in created if each["path"].endswith("/machines")]) == 2
    assert left == []
    good, _, rest = done.stdout.partition("━━ The tests fail in `setup`")
    proof = good.partition("The pull request's tests, with that patch applied here")[2]
    assert "Ran 3 tests" in proof
    assert "OK" in proof
    bad, _, recap = rest.partition("━━ Recap")
    assert "FAIL: test_last_page_full" in bad
    assert "✓ Claude Code finds the bug and fixes it: success, exit code 0" in recap
    assert ": failure, exit code 1" in recap
    assert "setup_command_failed" in recap
    assert "✓ 2 machines were made, 0 are left at Fly." in recap
    assert CREDENTIAL not in done.stdout
    assert here.fly.token not in done.stdout


@pytest.mark.claude
async def test_a_token_that_fly_refuses(tmp_path: Path) -> None:
    """It ends with 1 and the cause, and asks for no machine."""
    async with stage(tmp_path, FIXES.turns(), tokens=["fm2_another"]) as here:
        done = await rehearse(here)
        assert await here.fly.requests("POST") == []
    assert done.returncode == 1
    assert "machine_auth_failed" in done.stdout.partition("━━ Recap")[2]
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize("missing", sorted(ALL))
def test_all_of_it_must_be_set(missing: str) -> None:
    """Without any one of the three it is this computer; when it is not the token, what is missing is said."""
    environ = {name: value for name, value in ALL.items() if name != missing}
    assert own_fly(ALL)
    assert own_fly(environ) is None
    said = about_fly(environ)
    assert ("although FLY_API_TOKEN is set" in said) == (missing != "FLY_API_TOKEN")
    assert ("FLY_APP" in said) == (missing == "FLY_APP")
    assert ("model" in said) == (missing == "ANTHROPIC_API_KEY")


def test_its_token_is_in_no_repr() -> None:
    """Neither the user's Fly nor the stage made of it shows the token."""
    assert "fm2_mine" not in repr(own_fly(ALL))


def test_the_example_is_laid_out_as_it_is(tmp_path: Path) -> None:
    """The commands in `setup` write the example's files, byte for byte."""
    fly = own_fly(ALL)
    assert fly
    given = fly.stage(tmp_path).inputs
    (tmp_path / "there").mkdir()
    subprocess.run(["sh", "-e", "-c", given["setup"]], cwd=tmp_path / "there", check=True)
    example = ROOT / "src" / "flaude_action" / "rehearsal" / "example" / "repository"
    assert {each.name: each.read_bytes() for each in example.iterdir()} == {
        each.name: each.read_bytes() for each in (tmp_path / "there").iterdir()
    }
    assert json.dumps(given).count("fm2_mine") == 1
