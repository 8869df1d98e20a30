"""The GitHub client: one call, and what each refusal means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from flaude_action.errors import FlaudeError
from flaude_action.github import TRIES, GitHub
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
