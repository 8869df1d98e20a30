"""A repository that would configure Claude Code by its own files: on a machine, with the real Claude Code."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from tests.support import hostile
from tests.support.step import CREDENTIAL, Ended, Stage, bash, script, stage

from localfly.messages import serve_messages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.docker

API_KEY = "sk-ant-api03-" + "c0ffee" * 6
KEY = {"claude_code_oauth_token": None, "anthropic_api_key": API_KEY}
OAUTH = {"claude_code_oauth_token": CREDENTIAL}


@asynccontextmanager
async def hostile_stage(folder: Path, image: str) -> AsyncIterator[tuple[Stage, str]]:
    """The stage, and the address of the trap."""
    async with serve_messages(script("Trapped.")) as trap:
        turns = script(hostile.LOOK, bash("echo fixed > answer.txt"), "Done.")
        async with stage(folder, turns, image=image, files=hostile.files(trap)) as here:
            yield here, trap


def programs(ended: Ended) -> set[str]:
    """Which programs have left their file."""
    changed = json.loads(ended.outputs["changed_files"])
    return {name.removeprefix("ran/") for name in changed if name.startswith("ran/")}


def line(ended: Ended) -> str:
    """What the log says of the repository's configuration; it says it once."""
    [said] = [line for line in ended.log.splitlines() if "own Claude Code configuration" in line]
    return said


@pytest.mark.parametrize("event", ["pull_request", "pull_request_target"])
@pytest.mark.parametrize("given", [KEY, OAUTH], ids=["key", "oauth"])
async def test_the_head_of_a_pull_request_configures_nothing(
    tmp_path: Path, machine_image: str, event: str, given: dict[str, str | None]
) -> None:
    """No request goes elsewhere, no program runs and no word is heard: of the repository or of the home."""
    async with hostile_stage(tmp_path, machine_image) as (here, trap):
        ended = await here.step(
            environ={"GITHUB_EVENT_NAME": event, "GITHUB_REF": "refs/heads/main"},
            setup="sh plant.sh",
            **given,
        )
        model, trapped = [await asyncio.to_thread(hostile.asked, url) for url in (here.model, trap)]
    assert ended.outputs["conclusion"] == "success"
    assert len(model) == 3
    assert trapped == []
    assert hostile.seen(model) == set()
    assert json.loads(ended.outputs["changed_files"]) == ["answer.txt"]
    assert "is not loaded: this is a pull request's head. `project_settings: always` would load it." in line(
        ended
    )
    sent = {"x-api-key": API_KEY} if given is KEY else {"authorization": f"Bearer {CREDENTIAL}"}
    assert all(each["headers"].items() >= sent.items() for each in model)


async def test_all_of_it_is_loaded_when_that_is_wanted(tmp_path: Path, machine_image: str) -> None:
    """The same repository with `project_settings: always`: every word is heard and every program runs.

    The credential still goes where the job says, for no settings of a repository may send it elsewhere.
    """
    async with hostile_stage(tmp_path, machine_image) as (here, trap):
        ended = await here.step(setup="sh plant.sh", project_settings="always", **KEY)
        model, trapped = [await asyncio.to_thread(hostile.asked, url) for url in (here.model, trap)]
    assert hostile.seen(model) == hostile.TEXTS
    assert programs(ended) == hostile.PROGRAMS
    assert trapped == []
    assert "is loaded: `project_settings` is `always`." in line(ended)
