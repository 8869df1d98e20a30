"""A private repository without a `clone_token`: the machine gets GitHub's archive of one commit, by a link.

`github_token` stays here. With it GitHub is asked, before money is spent, which commit it is and what its
content hashes to; and, when the machine is up, for the link, which is good for five minutes. What the machine
does with the link is `flaude_guest.archive`'s.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from flaude_action.errors import FlaudeError
from flaude_action.repo_spec import Archive

if TYPE_CHECKING:
    from flaude_action.event import Event
    from flaude_action.github import Commit, GitHub
    from flaude_action.github_documents import Repository
    from flaude_action.machine_config import MachineConfig
    from flaude_action.repo_spec import RepoSpec

_FULL_NAME = re.compile(r"(?!\.+/)[A-Za-z0-9_.-]+/(?!\.+$)[A-Za-z0-9_.-]+")


async def by_archive(repo: RepoSpec, event: Event, github: GitHub) -> RepoSpec:
    """`repo` pinned to a commit and its archive if it is private; as it is when it is public, has a token or
    lies elsewhere.

    One that `github_token` may not see stays as it is too: it may be public, and git will find out. Raises
    FlaudeError `clone_auth_failed`, `clone_ref_not_found` or `clone_failed`.
    """
    name = _name_on(event.server_url, repo)
    if not name or repo.token:
        return repo
    found = event.known_repository(name) or await _look(github, name)
    if found is None or not found.private:
        return repo
    try:
        ref, commit = await _commit(github, name, repo, found.default_branch)
    except FlaudeError as error:
        error.details = f"The repository is {name}. {error.details}"
        raise
    if repo.sha not in ("", commit.sha):
        raise FlaudeError("clone_failed", details="GitHub answered with another commit.")
    return replace(repo, branch=ref, sha=commit.sha, archive=Archive(commit.tree))


async def with_links(config: MachineConfig, event: Event, github: GitHub) -> MachineConfig:
    """`config` with a fresh link for every archive. Raises what `GitHub.get_archive_link` raises."""
    repos = []
    for repo in config.repositories:
        if repo.archive is not None:
            link = await github.get_archive_link(_name_on(event.server_url, repo), repo.sha)
            repo = replace(repo, archive=replace(repo.archive, url=link))
        repos.append(repo)
    return replace(config, repos=repos)


def _name_on(server_url: str, repo: RepoSpec) -> str:
    """`owner/name` when the repository is on the workflow's own GitHub, else ''."""
    path = repo.url.removeprefix(server_url + "/").removesuffix("/").removesuffix(".git")
    return path if path != repo.url and _FULL_NAME.fullmatch(path) else ""


async def _look(github: GitHub, name: str) -> Repository | None:
    try:
        return await github.get_repository(name)
    except FlaudeError as error:
        if error.type == "clone_auth_failed":
            return None
        raise


async def _commit(github: GitHub, name: str, repo: RepoSpec, default_branch: str) -> tuple[str, Commit]:
    """(ref, commit). A short name is a branch first, then a tag, as for git on the machine."""
    if repo.sha:
        return repo.branch, await github.get_commit(name, repo.sha)
    if repo.branch.startswith("refs/"):
        return repo.branch, await github.get_commit(name, repo.branch)
    if not repo.branch and not default_branch:
        return "", await github.get_commit(name, "HEAD")
    ref = f"refs/heads/{repo.branch or default_branch}"
    try:
        return ref, await github.get_commit(name, ref)
    except FlaudeError as error:
        if error.type != "clone_ref_not_found" or not repo.branch:
            raise
    ref = f"refs/tags/{repo.branch}"
    return ref, await github.get_commit(name, ref)
