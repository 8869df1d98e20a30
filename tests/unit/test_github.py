"""The GitHub client: one call, and what each refusal means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from flaude_action.errors import FlaudeError
from flaude_action.github import TRIES, Commit, GitHub
from flaude_action.github_documents import Repository
from flaude_action.secret import SecretStr

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD = "a" * 40
PULL = {"number": 7, "head": {"sha": HEAD, "repo": None}, "base": {"sha": "b" * 40}}


class Host:
    """Answers in order, the last one for ever, and remembers the requests."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer


def github(host: Callable[[httpx.Request], httpx.Response], token: str | None = "ghs_secret") -> GitHub:
    secret = SecretStr(token) if token else None
    return GitHub("https://ghe.example/api/v3", secret, transport=httpx.MockTransport(host), pause_s=0)


async def failure(*answers: httpx.Response | Exception) -> tuple[FlaudeError, Host]:
    host = Host(*answers)
    async with github(host) as client:
        with pytest.raises(FlaudeError) as refused:
            await client.get_pull("owner/repo", 7)
    return refused.value, host


async def test_get_pull() -> None:
    """The pull request is asked for below the API's own path, with the token."""
    host = Host(httpx.Response(200, json=PULL))
    async with github(host) as client:
        pull = await client.get_pull("owner/repo", 7)
    assert (pull.number, pull.head.sha, pull.head.repository) == (7, HEAD, "")
    (request,) = host.requests
    assert str(request.url) == "https://ghe.example/api/v3/repos/owner/repo/pulls/7"
    assert request.headers["authorization"] == "Bearer ghs_secret"


async def test_without_a_token_none_is_sent() -> None:
    """Public repositories can be asked for by anyone."""
    host = Host(httpx.Response(200, json=PULL))
    async with github(host, token=None) as client:
        await client.get_pull("owner/repo", 7)
    assert "authorization" not in host.requests[0].headers


@pytest.mark.parametrize(
    ("answer", "type_", "retryable", "tries"),
    [
        (httpx.Response(401), "clone_auth_failed", "user", 1),
        (httpx.Response(403), "clone_auth_failed", "user", 1),
        (httpx.Response(403, headers={"x-ratelimit-remaining": "0"}), "clone_failed", "later", 1),
        (httpx.Response(429), "clone_failed", "later", 1),
        (httpx.Response(404, json={"message": "Not Found"}), "clone_ref_not_found", "user", 1),
        (httpx.Response(301, headers={"location": "https://evil.example"}), "clone_failed", "runner", 1),
        (httpx.Response(502), "clone_failed", "runner", TRIES),
        (httpx.ConnectError("no"), "clone_failed", "runner", TRIES),
        (httpx.Response(200, json={"message": "hello"}), "clone_failed", "runner", 1),
        (httpx.Response(200, text="<html>"), "clone_failed", "runner", 1),
    ],
)
async def test_refusals(answer: httpx.Response | Exception, type_: str, retryable: str, tries: int) -> None:
    """A refusal has its own type and is final; silence and server errors are tried again first."""
    error, host = await failure(answer)
    assert (error.type, error.retryable, len(host.requests)) == (type_, retryable, tries)
    assert "ghs_secret" not in f"{error} {error.dev} {error.as_json(debug=True)}"
    assert {request.url.host for request in host.requests} == {"ghe.example"}


async def test_a_server_error_may_pass() -> None:
    """The second answer counts when it is good."""
    host = Host(httpx.Response(503), httpx.Response(200, json=PULL))
    async with github(host) as client:
        assert (await client.get_pull("owner/repo", 7)).head.sha == HEAD


LINK = "https://codeload.example/o/n/legacy.tar.gz/x?token=hidden"
TREE = "d" * 40
COMMIT = {"sha": HEAD, "commit": {"tree": {"sha": TREE}}}


async def test_get_repository() -> None:
    """Whether it is private, and its default branch."""
    host = Host(httpx.Response(200, json={"private": True, "default_branch": "main"}))
    async with github(host) as client:
        assert await client.get_repository("owner/repo") == Repository(private=True, default_branch="main")
    assert host.requests[0].url.path == "/api/v3/repos/owner/repo"


async def test_get_commit() -> None:
    """A ref is resolved to the commit and its tree; what a URL would misread in it is quoted."""
    host = Host(httpx.Response(200, json=COMMIT))
    async with github(host) as client:
        assert await client.get_commit("owner/repo", "refs/heads/a#b") == Commit(HEAD, TREE)
    assert host.requests[0].url.raw_path == b"/api/v3/repos/owner/repo/commits/refs/heads/a%23b?per_page=1"


async def test_get_archive_link() -> None:
    """The redirect is not followed, and the link is a secret."""
    host = Host(httpx.Response(302, headers={"location": LINK}))
    async with github(host) as client:
        link = await client.get_archive_link("owner/repo", HEAD)
    assert link.get_secret_value() == LINK
    assert "hidden" not in f"{link!r} {link}"
    assert [request.url.path for request in host.requests] == [f"/api/v3/repos/owner/repo/tarball/{HEAD}"]


@pytest.mark.parametrize(
    ("answer", "type_"),
    [
        (httpx.Response(401), "clone_auth_failed"),
        (httpx.Response(403), "clone_auth_failed"),
        (httpx.Response(404), "clone_auth_failed"),
        (httpx.Response(409, json={"message": "Git Repository is empty."}), "clone_ref_not_found"),
        (httpx.Response(422, json={"message": "No commit found for SHA: x"}), "clone_ref_not_found"),
        (httpx.Response(429), "clone_failed"),
        (httpx.Response(500), "clone_failed"),
        (httpx.ConnectError("no"), "clone_failed"),
        (httpx.Response(301, headers={"location": LINK}), "clone_failed"),
        (httpx.Response(200, json=[]), "clone_failed"),
        (httpx.Response(302, headers={"location": "http://codeload.example/?token=hidden"}), "clone_failed"),
        (httpx.Response(302), "clone_failed"),
    ],
)
@pytest.mark.parametrize("call", ["get_commit", "get_archive_link"])
async def test_refusals_of_contents(answer: httpx.Response | Exception, type_: str, call: str) -> None:
    """A refusal says what to permit; an unsafe or missing link is none; no error shows a secret."""
    async with github(Host(answer)) as client:
        with pytest.raises(FlaudeError) as refused:
            await getattr(client, call)("owner/repo", HEAD)
    error = refused.value
    assert error.type == type_
    if isinstance(answer, httpx.Response) and answer.status_code in (403, 404):
        assert "contents: read" in error.hint
    told = f"{error} {error.as_json(debug=True)}"
    assert "hidden" not in told
    assert "ghs_secret" not in told


async def test_nothing_asked_nothing_opened() -> None:
    """A client that is not used costs no connection."""
    host = Host(httpx.Response(200))
    async with github(host):
        pass
    assert host.requests == []
