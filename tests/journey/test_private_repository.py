"""A private repository with nothing but `github_token`, through the real `main` verb."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.support.guest import git
from tests.support.step import CREDENTIAL, GITHUB_TOKEN, REPOSITORY, bash, script, stage

from localfly.githost import PRIVATE_TOKEN_FILE
from localfly.github_archive import Archives

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.claude

LOOK = script(
    bash("git log --format=%B -1; git remote -v; env; cat /proc/self/environ | tr '\\0' '\\n'"),
    bash("echo fixed >> README.md; echo new > answer.txt"),
    "Done.",
)


async def links(githost: str) -> list[str]:
    """The links to archives that were used, as the git host saw them."""
    async with httpx.AsyncClient() as client:
        seen = (await client.get(f"{githost}/_githost/requests")).json()
    return [f"{githost}{one['path']}?{one['query']}" for one in seen if one["path"].startswith("/_codeload/")]


@pytest.mark.parametrize("named", [{}, {"repository": REPOSITORY, "ref": "main"}, {"repository": REPOSITORY}])
async def test_it_works(tmp_path: Path, named: dict[str, str]) -> None:
    """The change is made on the commit's own content, its patch fits the commit, the token went nowhere."""
    async with stage(tmp_path, LOOK) as here:
        here.make_private(GITHUB_TOKEN)
        ended = await here.step(show_full_output="true", **named)
        requests = await here.fly.requests()
        [link] = await links(here.githost)
    assert ended.exit_code == 0
    assert ended.outputs["conclusion"] == "success"
    assert f"Content of {here.sha}" in ended.log
    patch = ended.workspace / ended.outputs["patch_file"]
    git(tmp_path / "source", "apply", "--index", str(patch))
    assert (tmp_path / "source" / "README.md").read_text() == "A widget.\nfixed\n"

    assert not [each for each in requests if GITHUB_TOKEN in json.dumps(each)]
    token = link.rpartition("=")[2]
    holding = [each for each in requests if token in json.dumps(each)]
    assert [json.loads(each["body"])["command"] for each in holding] == [["flaude-guest", "provision"]]
    assert link in holding[0]["body"]
    masks = [line for line in ended.log.splitlines() if line.startswith("::add-mask::")]
    assert {f"::add-mask::{link}", f"::add-mask::{token}"} <= set(masks)
    shown = "\n".join(line for line in ended.log.splitlines() if not line.startswith("::add-mask::"))
    written = [path.read_text() for path in (ended.workspace / ".flaude").rglob("*") if path.is_file()]
    for place in (shown, ended.summary, json.dumps(ended.outputs), *written):
        for secret in (token, GITHUB_TOKEN, CREDENTIAL):
            assert secret not in place


async def test_a_token_that_may_not_read_it(tmp_path: Path) -> None:
    """Told before a machine is made, with what to permit."""
    async with stage(tmp_path) as here:
        here.make_private("ghs_another")
        readable = tmp_path / "repositories" / "acme" / "other.git"
        readable.mkdir()
        (readable / PRIVATE_TOKEN_FILE).write_text(GITHUB_TOKEN)
        ended = await here.step()
        requests = await here.fly.requests("POST")
    assert ended.exit_code == 2
    assert ended.outputs["error_type"] == "clone_auth_failed"
    assert "contents: read" in ended.outputs["error_hint"]
    assert requests == []


async def test_a_ref_that_is_not_there(tmp_path: Path) -> None:
    """Told before a machine is made."""
    async with stage(tmp_path) as here:
        here.make_private(GITHUB_TOKEN)
        ended = await here.step(ref="absent")
        requests = await here.fly.requests("POST")
    assert ended.outputs["error_type"] == "clone_ref_not_found"
    assert requests == []


async def test_permission_that_ends_meanwhile(tmp_path: Path) -> None:
    """A link that GitHub refuses once the machine is up is a named failure, and the machine is gone."""
    async with stage(tmp_path) as here:
        here.make_private(GITHUB_TOKEN)
        running = await here.start()
        await running.until("Creating machine")
        here.make_private("ghs_another")
        ended = await running.ended()
        left = await here.machines_left()
        holding = [each for each in await here.fly.requests() if CREDENTIAL in each["body"]]
    assert ended.outputs["conclusion"] == "failure"
    assert ended.outputs["error_type"] == "clone_auth_failed"
    assert left == []
    assert holding == []


async def test_a_link_that_has_ended(tmp_path: Path) -> None:
    """A link that is no longer good when the machine uses it is the machine's own, typed failure."""
    async with stage(tmp_path, archives=Archives(seconds=0.0)) as here:
        here.make_private(GITHUB_TOKEN)
        ended = await here.step()
    assert ended.outputs["error_type"] == "clone_auth_failed"
    assert ended.outputs["exit_code_source"] == "guest_result"
    assert "HTTP 404" in ended.log


async def test_an_archive_that_is_not_the_whole_commit(tmp_path: Path) -> None:
    """A commit that its archive cannot stand in for needs `clone_token`, and with it works."""
    async with stage(tmp_path) as here:
        bare = tmp_path / "repositories" / f"{REPOSITORY}.git"
        source = tmp_path / "source"
        (source / ".gitattributes").write_text("README.md export-ignore\n")
        git(source, "add", ".gitattributes")
        git(source, "commit", "--quiet", "--all", "--message=Hide")
        git(source, "push", "--quiet", str(bare), "HEAD:main")
        here.make_private(GITHUB_TOKEN)
        refused = await here.step(ref="main")
        here.make_private("github_pat_contents")
        fetched = await here.step(ref="main", clone_token="github_pat_contents")
    assert refused.outputs["error_type"] == "clone_archive_unusable"
    assert "clone_token" in refused.outputs["error_hint"]
    assert fetched.outputs["conclusion"] == "success"
