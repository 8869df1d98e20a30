"""GitHub's REST API: the calls we make, one method each, and what a refusal means. No policy.

The only place that holds `github_token`; the token goes to `GITHUB_API_URL` and nowhere else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote

import httpx

from flaude_action.errors import FlaudeError
from flaude_action.github_documents import Pull, Repository
from flaude_action.http_body import AS_IT_IS, BodyRefused, whole_answer
from flaude_action.json_document import json_of
from flaude_action.secret import SecretStr
from flaude_action.untrusted import one_line
from flaude_action.waiting import pause

if TYPE_CHECKING:
    from types import TracebackType

    from flaude_action.secret import Secret

TRIES: Final = 3
PAUSE_S: Final = 1.0
ANSWER_S: Final = 15.0
"""For one whole answer, of which there may be as many as tries."""
ANSWER_MAX_BYTES: Final = 2 * 1024 * 1024
"""A commit comes with one file's change, of which GitHub sends 1 MB at most."""
_ID = re.compile(r"[0-9a-f]{40}")
_LINK = re.compile(r"(https://|http://(127\.0\.0\.1|localhost|\[::1\])[:/])[\x21-\x7e]{1,4000}")


@dataclass(frozen=True)
class Commit:
    """A commit's id, and the id of its tree: what all its content hashes to."""

    sha: str
    tree: str


class GitHub:
    """A client for one API host; `token` may be None for what anyone may read."""

    def __init__(
        self,
        api_url: str,
        token: Secret | None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        pause_s: float = PAUSE_S,
        answer_s: float = ANSWER_S,
    ) -> None:
        self._api_url = api_url
        self._token = token
        self._transport = transport
        self._pause_s = pause_s
        self._answer_s = answer_s

    @cached_property
    def _http(self) -> httpx.AsyncClient:
        """Made when it is needed: most steps have nothing to ask."""
        headers = {
            "accept": "application/vnd.github+json",
            "x-github-api-version": "2022-11-28",
            "user-agent": "flaude-action",
            **AS_IT_IS,
        }
        if self._token:
            headers["authorization"] = f"Bearer {self._token.get_secret_value()}"
        # Redirects are not followed: a renamed repository must be named anew, and the token stays here.
        return httpx.AsyncClient(
            base_url=self._api_url, headers=headers, timeout=self._answer_s, transport=self._transport
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if "_http" in self.__dict__:
            await self._http.aclose()

    async def get_pull(self, repository: str, number: int) -> Pull:
        """`GET /repos/{repository}/pulls/{number}`: the head as it is now.

        https://docs.github.com/en/rest/pulls/pulls#get-a-pull-request
        Raises FlaudeError `clone_auth_failed`, `clone_ref_not_found` or `clone_failed`.
        """
        pull = Pull.read(await self._document(f"/repos/{repository}/pulls/{number}", _PULL))
        if pull is None:
            raise FlaudeError("clone_failed", details="GitHub's answer is not a pull request.")
        return pull

    async def get_repository(self, repository: str) -> Repository:
        """`GET /repos/{repository}`. Every token of a workflow may ask this of its own repository.

        https://docs.github.com/en/rest/repos/repos#get-a-repository
        Raises FlaudeError `clone_auth_failed` or `clone_failed`.
        """
        found = Repository.read(await self._document(f"/repos/{repository}", _CONTENTS))
        if found is None:
            raise FlaudeError("clone_failed", details="GitHub's answer is not a repository.")
        return found

    async def get_commit(self, repository: str, ref: str) -> Commit:
        """`GET /repos/{repository}/commits/{ref}`: a SHA, a full ref or HEAD, resolved now.

        https://docs.github.com/en/rest/commits/commits#get-a-commit
        Raises FlaudeError `clone_auth_failed`, `clone_ref_not_found` or `clone_failed`.
        """
        path = f"/repos/{repository}/commits/{quote(ref)}?per_page=1"  # the pages are of changed files
        document = await self._document(path, _CONTENTS)
        sha, tree = _at(document, "sha"), _at(document, "commit", "tree", "sha")
        if not (_ID.fullmatch(sha) and _ID.fullmatch(tree)):
            raise FlaudeError("clone_failed", details="GitHub's answer is not a commit.")
        return Commit(sha, tree)

    async def get_archive_link(self, repository: str, sha: str) -> SecretStr:
        """`GET /repos/{repository}/tarball/{sha}`: where GitHub redirects to, which is not followed.

        Who has the link of a private repository can read that commit, for five minutes.
        https://docs.github.com/en/rest/repos/contents#download-a-repository-archive-tar
        Raises FlaudeError `clone_auth_failed`, `clone_ref_not_found` or `clone_failed`.
        """
        answer, _ = await self._get(f"/repos/{repository}/tarball/{sha}", _CONTENTS, good=(302,))
        link = answer.headers.get("location", "")
        if not _LINK.fullmatch(link):
            raise FlaudeError("clone_failed", details="GitHub did not answer with an archive's link.")
        return SecretStr(link)

    async def _document(self, path: str, refusals: _Refusals) -> Any:
        return json_of((await self._get(path, refusals))[1])

    async def _get(
        self, path: str, refusals: _Refusals, good: tuple[int, ...] = (200,)
    ) -> tuple[httpx.Response, bytes]:
        """A good answer; server errors and silence are tried again, a refusal is not."""
        failure = FlaudeError("clone_failed")
        for attempt in range(1, TRIES + 1):
            try:
                request = self._http.build_request("GET", path)
                answer, body = await whole_answer(
                    self._http, request, most=ANSWER_MAX_BYTES, seconds=self._answer_s
                )
            except BodyRefused as refused:
                told = f"GitHub said HTTP {refused.response.status_code}: {refused}."
                raise FlaudeError("clone_failed", details=told) from refused
            except (TimeoutError, httpx.RequestError) as error:
                failure = FlaudeError("clone_failed", details="GitHub did not answer.", dev=repr(error))
            else:
                if answer.status_code in good:
                    return answer, body
                failure = _refusal(answer, body, refusals)
                if answer.status_code < 500:
                    break
            if attempt < TRIES:
                await pause(self._pause_s * attempt)
        raise failure


@dataclass(frozen=True)
class _Refusals:
    """Hints for the statuses of one question (empty: the catalog's), and what "not found" is the type of."""

    forbidden: str = ""
    missing: str = ""
    missing_type: str = "clone_auth_failed"


_CONTENTS = _Refusals()
_PULL = _Refusals(
    "Give the job `permissions: pull-requests: read, contents: read`.",
    "Give the job `permissions: pull-requests: read`; a pull request it may not see is not found.",
    "clone_ref_not_found",
)


def _at(document: Any, *path: str) -> str:
    for name in path:
        document = document.get(name) if isinstance(document, dict) else None
    return document if isinstance(document, str) else ""


def _refusal(answer: httpx.Response, body: bytes, refusals: _Refusals) -> FlaudeError:
    """Status -> error. GitHub says 404 also for what the token may not see.

    https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api
    """
    said = f"GitHub said HTTP {answer.status_code}"
    dev = one_line(body.decode("utf-8", "replace"), 500)
    limited = answer.headers.get("x-ratelimit-remaining") == "0" or "retry-after" in answer.headers
    if answer.status_code == 429 or (answer.status_code == 403 and limited):
        return FlaudeError("clone_failed", details=f"{said}: its rate limit.", retryable="later", dev=dev)
    if answer.status_code == 401:
        hint = "GitHub does not know `github_token`, or it has ended: leave the input at its default."
        return FlaudeError("clone_auth_failed", details=f"{said}.", hint=hint, dev=dev)
    if answer.status_code == 403:
        return FlaudeError("clone_auth_failed", details=f"{said}.", hint=refusals.forbidden, dev=dev)
    if answer.status_code == 404:
        return FlaudeError(refusals.missing_type, details=f"{said}.", hint=refusals.missing, dev=dev)
    if answer.status_code in (409, 422):  # an empty repository, and a ref or SHA that it does not have
        return FlaudeError("clone_ref_not_found", details=f"{said}.", dev=dev)
    return FlaudeError("clone_failed", details=f"{said}.", dev=dev)
