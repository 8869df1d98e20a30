"""GitHub's REST API: the calls we make, one method each, and what a refusal means. No policy.

The only place that holds `github_token`; the token goes to `GITHUB_API_URL` and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

import httpx

from flaude_action.errors import FlaudeError
from flaude_action.event import Pull
from flaude_action.untrusted import one_line
from flaude_action.waiting import pause

if TYPE_CHECKING:
    from types import TracebackType

    from flaude_action.secret import Secret

TRIES: Final = 3
PAUSE_S: Final = 1.0
ANSWER_S: Final = 15.0


class GitHub:
    """A client for one API host; `token` may be None for what anyone may read."""

    def __init__(
        self,
        api_url: str,
        token: Secret | None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        pause_s: float = PAUSE_S,
    ) -> None:
        self._pause_s = pause_s
        headers = {
            "accept": "application/vnd.github+json",
            "x-github-api-version": "2022-11-28",
            "user-agent": "flaude-action",
        }
        if token:
            headers["authorization"] = f"Bearer {token.get_secret_value()}"
        # Redirects are not followed: a renamed repository must be named anew, and the token stays here.
        self._http = httpx.AsyncClient(
            base_url=api_url, headers=headers, timeout=ANSWER_S, transport=transport
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def get_pull(self, repository: str, number: int) -> Pull:
        """`GET /repos/{repository}/pulls/{number}`: the head as it is now.

        https://docs.github.com/en/rest/pulls/pulls#get-a-pull-request
        Raises FlaudeError `clone_auth_failed`, `clone_ref_not_found` or `clone_failed`.
        """
        answer = await self._get(f"/repos/{repository}/pulls/{number}")
        try:
            pull = Pull.read(answer.json())
        except (ValueError, RecursionError):
            pull = None
        if pull is None:
            raise FlaudeError("clone_failed", details="GitHub's answer is not a pull request.")
        return pull

    async def _get(self, path: str) -> httpx.Response:
        """A good answer; server errors and silence are tried again, a refusal is not."""
        failure = FlaudeError("clone_failed")
        for attempt in range(1, TRIES + 1):
            try:
                answer = await self._http.get(path)
            except httpx.TransportError as error:
                failure = FlaudeError("clone_failed", details="GitHub did not answer.", dev=repr(error))
            else:
                if answer.is_success:
                    return answer
                failure = _refusal(answer)
                if answer.status_code < 500:
                    break
            if attempt < TRIES:
                await pause(self._pause_s * attempt)
        raise failure


def _refusal(answer: httpx.Response) -> FlaudeError:
    """Status -> error. GitHub says 404 also for what the token may not see.

    https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api
    """
    said = f"GitHub said HTTP {answer.status_code}"
    dev = one_line(answer.text, 500)
    limited = answer.headers.get("x-ratelimit-remaining") == "0" or "retry-after" in answer.headers
    if answer.status_code == 429 or (answer.status_code == 403 and limited):
        return FlaudeError("clone_failed", details=f"{said}: its rate limit.", retryable="later", dev=dev)
    if answer.status_code in (401, 403):
        hint = "Give the job `permissions: pull-requests: read, contents: read`."
        return FlaudeError("clone_auth_failed", details=f"{said}.", hint=hint, dev=dev)
    if answer.status_code == 404:
        hint = "Give the job `permissions: pull-requests: read`; a pull request it may not see is not found."
        return FlaudeError("clone_ref_not_found", details=f"{said}.", hint=hint, dev=dev)
    return FlaudeError("clone_failed", details=f"{said}.", dev=dev)
