"""When a step loads the repository's own Claude Code configuration, as its event and its inputs have it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import hostile
from tests.support.step import REPOSITORY, script, stage

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.claude

OWN = {"repository": {"full_name": REPOSITORY, "private": False, "default_branch": "main"}}
MAIN = "refs/heads/main"
COMMENT = OWN | {"action": "created", "issue": {"number": 3}}
NOT_SURE = "not known to be the head of your own default branch"
NOT_NAMED = "not known to name your own default branch"


def after(sha: str, event: str) -> dict[str, Any]:
    """What a `workflow_run` after a run for the default branch says."""
    run = {"event": event, "head_branch": "main", "head_sha": sha, "head_repository": OWN["repository"]}
    return OWN | {"workflow_run": run}


@pytest.mark.parametrize(
    ("name", "ref", "payload", "inputs", "why_not"),
    [
        ("push", MAIN, OWN, {}, ""),
        ("workflow_run", MAIN, "push", {}, ""),
        ("pull_request", "refs/pull/7/merge", None, {"ref": "main"}, ""),
        ("issue_comment", MAIN, COMMENT, {"repository": REPOSITORY}, ""),
        ("push", MAIN, OWN, {"project_settings": "never"}, "`project_settings` is `never`"),
        ("push", MAIN, OWN, {"ref": "refs/heads/topic"}, NOT_NAMED),
        ("push", "refs/heads/topic", OWN, {}, NOT_SURE),
        ("push", MAIN, {}, {}, NOT_SURE),
        ("workflow_run", MAIN, "pull_request", {}, NOT_SURE),
        ("pull_request", "refs/pull/7/merge", None, {}, "a pull request's head"),
    ],
    ids=str,
)
async def test_whose_configuration_counts(
    tmp_path: Path, name: str, ref: str, payload: Any, inputs: dict[str, str], why_not: str
) -> None:
    """It is loaded where what is checked out is surely the own default branch's, and the log says why not."""
    files = {"CLAUDE.md": "CANARY_memory_\n"}
    async with stage(tmp_path, script("Done."), files=files, branches=["topic"]) as here:
        here.payload = after(here.sha, payload) if isinstance(payload, str) else payload
        ended = await here.step(environ={"GITHUB_EVENT_NAME": name, "GITHUB_REF": ref}, **inputs)
        heard = hostile.seen(await asyncio.to_thread(hostile.asked, here.model))
    assert ended.outputs["conclusion"] == "success"
    assert heard == (set() if why_not else {"memory"})
    [said] = [line for line in ended.log.splitlines() if "own Claude Code configuration" in line]
    assert (why_not in said and "is not loaded" in said) if why_not else "is loaded" in said
    assert ended.log.index(said) < ended.log.index("Creating machine")


async def test_a_command_as_prompt(tmp_path: Path) -> None:
    """`/review` asks the model by an agent of its own: its answer is the result, and the step is green."""
    async with stage(tmp_path, script("Nothing is wrong here.")) as here:
        reviewed, counted = await here.step(prompt="/review"), await here.step(prompt="/cost")
    assert (reviewed.exit_code, reviewed.outputs["conclusion"]) == (0, "success")
    assert reviewed.outputs["result"] == "Nothing is wrong here."
    assert float(reviewed.outputs["cost_usd"]) > 0
    assert (counted.exit_code, counted.outputs["error_type"]) == (1, "agent_error")
