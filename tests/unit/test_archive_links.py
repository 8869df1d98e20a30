"""When a repository is fetched as GitHub's archive, and which commit that is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from flaude_action import MachineConfig, RepoSpec
from flaude_action.archive_links import by_archive, with_links
from flaude_action.errors import FlaudeError
from flaude_action.event import Event
from flaude_action.github import GitHub
from flaude_action.repo_spec import Archive
from flaude_action.secret import SecretStr

if TYPE_CHECKING:
    from pathlib import Path

SHA, TREE = "a" * 40, "b" * 40
URL = "https://github.com/owner/repo.git"
OTHER = "https://github.com/owner/other"


class Host:
    """GitHub with `owner/repo` of the event, `owner/other`, and the refs it has; remembers what was asked."""

    def __init__(self, *refs: str, other: int | dict[str, Any] = 404) -> None:
        self.refs, self.other = refs, other
        self.asked: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        what = request.url.path.removeprefix("/repos/owner/")
        self.asked.append(what)
        if what == "other":
            return (
                httpx.Response(self.other)
                if isinstance(self.other, int)
                else httpx.Response(200, json=self.other)
            )
        _, kind, ref = what.split("/", 2)
        if kind == "tarball":
            return httpx.Response(302, headers={"location": f"https://codeload.example/{ref}?token=hidden"})
        if ref not in self.refs:
            return httpx.Response(422)
        return httpx.Response(200, json={"sha": SHA, "commit": {"tree": {"sha": TREE}}})

    def client(self) -> GitHub:
        transport = httpx.MockTransport(self)
        return GitHub("https://api.github.com", SecretStr("ghs_x"), transport=transport, pause_s=0)


def event(folder: Path, *, private: bool = True, **fields: Any) -> Event:
    repository = {"full_name": "owner/repo", "private": private, "default_branch": "main", **fields}
    (folder / "event.json").write_text(json.dumps({"repository": repository}))
    return Event.from_env(
        {"GITHUB_EVENT_PATH": str(folder / "event.json"), "GITHUB_REPOSITORY": "owner/repo"}
    )


async def pinned(host: Host, event: Event, repo: RepoSpec) -> RepoSpec:
    async with host.client() as github:
        return await by_archive(repo, event, github)


@pytest.mark.parametrize(
    ("repo", "refs", "ref"),
    [
        (RepoSpec(URL, sha=SHA), [SHA], ""),
        (RepoSpec(URL, sha=SHA, branch="refs/heads/main"), [SHA], "refs/heads/main"),
        (RepoSpec(URL, branch="refs/pull/7/head"), ["refs/pull/7/head"], "refs/pull/7/head"),
        (RepoSpec(URL, branch="side/way"), ["refs/heads/side/way"], "refs/heads/side/way"),
        (RepoSpec(URL, branch="v1"), ["refs/tags/v1"], "refs/tags/v1"),
        (RepoSpec(URL, branch="both"), ["refs/heads/both", "refs/tags/both"], "refs/heads/both"),
        (RepoSpec(URL), ["refs/heads/main"], "refs/heads/main"),
    ],
)
async def test_private(tmp_path: Path, repo: RepoSpec, refs: list[str], ref: str) -> None:
    """The commit is pinned as git on the machine would find it; there is no link yet."""
    found = await pinned(Host(*refs), event(tmp_path), repo)
    assert (found.sha, found.branch, found.archive) == (SHA, ref, Archive(TREE))


@pytest.mark.parametrize(
    "repo",
    [
        RepoSpec(URL, sha=SHA, token="given"),
        RepoSpec("https://gitlab.example/owner/repo.git"),
        RepoSpec("https://github.com.evil.example/owner/repo.git"),
        RepoSpec("https://github.com/owner/repo/../../x.git"),
        RepoSpec("https://github.com/../repo"),
        RepoSpec("https://github.com/owner/..git"),
    ],
)
async def test_not_ours_to_ask_for(tmp_path: Path, repo: RepoSpec) -> None:
    """With a token of its own or on another host it is as it was, and GitHub is not asked."""
    host = Host()
    assert await pinned(host, event(tmp_path), repo) == repo
    assert host.asked == []


async def test_public(tmp_path: Path) -> None:
    """A public repository is fetched without a credential; the payload tells, so nobody is asked."""
    host = Host()
    repo = RepoSpec(URL, sha=SHA)
    assert await pinned(host, event(tmp_path, private=False), repo) == repo
    assert host.asked == []


@pytest.mark.parametrize("answer", [401, 403, 404, {"private": False}])
async def test_another_repository(tmp_path: Path, answer: Any) -> None:
    """Of another repository GitHub is asked; one that is public or cannot be seen stays as it was."""
    host = Host(other=answer)
    assert await pinned(host, event(tmp_path), RepoSpec(OTHER)) == RepoSpec(OTHER)
    assert host.asked == ["other"]


async def test_another_private_repository(tmp_path: Path) -> None:
    """One that the token may see is fetched as an archive too, without a known default branch its HEAD."""
    found = await pinned(Host("HEAD", other={"private": True}), event(tmp_path), RepoSpec(OTHER))
    assert (found.sha, found.branch, found.archive) == (SHA, "", Archive(TREE))


@pytest.mark.parametrize(
    ("repo", "other", "type_"),
    [
        (RepoSpec(URL, branch="absent"), 404, "clone_ref_not_found"),
        (RepoSpec(URL, sha="c" * 40), 404, "clone_ref_not_found"),
        (RepoSpec(OTHER), 500, "clone_failed"),
    ],
)
async def test_failures(tmp_path: Path, repo: RepoSpec, other: int, type_: str) -> None:
    """A ref or commit that is not there, and a GitHub that is not well, are told as what they are."""
    with pytest.raises(FlaudeError) as failed:
        await pinned(Host(other=other), event(tmp_path), repo)
    assert failed.value.type == type_
    assert other == 500 or "owner/repo" in failed.value.details


async def test_another_commit_is_not_taken(tmp_path: Path) -> None:
    """An answer about another commit than the one asked for is a failure."""
    with pytest.raises(FlaudeError) as failed:
        await pinned(Host("c" * 40), event(tmp_path), RepoSpec(URL, sha="c" * 40))
    assert failed.value.type == "clone_failed"


async def test_links(tmp_path: Path) -> None:
    """Every archive gets a link of its own, nothing else is asked or changed."""
    host = Host()
    repos = [RepoSpec(URL, sha=SHA, archive=Archive(TREE)), RepoSpec(OTHER)]
    config = MachineConfig(prompt="p", repos=repos)
    async with host.client() as github:
        complete = await with_links(config, event(tmp_path), github)
    assert host.asked == [f"repo/tarball/{SHA}"]
    assert complete.secrets() == [f"https://codeload.example/{SHA}?token=hidden"]
    assert complete.repositories[1] == RepoSpec(OTHER)
    assert complete.session_id == config.session_id
    assert config.secrets() == []
