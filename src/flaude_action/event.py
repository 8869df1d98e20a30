"""What triggered this step, and which commit it is about: from `GITHUB_*` and the event's payload.

Reading only: whether a trigger is trusted is not decided here, and the one question that the payload leaves
open (the head of a commented pull request) is asked by `github`. GitHub's documents are `github_documents`'.
https://docs.github.com/en/actions/reference/workflows-and-actions/events-that-trigger-workflows
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flaude_action.errors import ConfigError
from flaude_action.github_documents import Pull, Repository, at, read_payload, text_at
from flaude_action.input_values import git_ref, http_url, repository_name
from flaude_action.refused import Refused
from flaude_action.untrusted import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

_SHA = re.compile(r"(?!0+$)[0-9a-f]{40}")
_PULL_EVENTS = frozenset({
    "pull_request", "pull_request_target", "pull_request_review", "pull_request_review_comment",
})  # fmt: skip

_BRANCH_EVENTS = frozenset({
    "push", "schedule", "workflow_dispatch", "repository_dispatch", "issues", "discussion",
})  # fmt: skip
"""Events about the commit and the ref that the runner names, and never about a pull request's."""
_COMMENT_EVENTS = frozenset({"issue_comment", "commit_comment", "discussion_comment"})

_REPOSITORIES = (
    ("repository",),
    ("pull_request", "head", "repo"),
    ("pull_request", "base", "repo"),
    ("workflow_run", "head_repository"),
)

_COMMENT_HINT = (
    "Give the job `if: github.event.issue.pull_request`, so that it runs for comments on pull requests only,"
    " or say what to work on with `ref:` (or `repository:`)."
)


@dataclass(frozen=True)
class Checkout:
    """What to fetch: `sha` pins one commit of 40 hex digits; `ref` says where to find it, or what to take.

    Both empty: the remote's default branch.
    """

    repository: str
    clone_url: str
    sha: str = ""
    ref: str = ""


@dataclass(frozen=True)
class Event:
    """The workflow run we are a step of. `step` is the step's id, or GitHub's name for it."""

    name: str
    repository: str
    sha: str
    ref: str
    run_id: str
    run_attempt: str
    job: str
    step: str
    server_url: str
    api_url: str
    payload: dict[str, Any] = field(repr=False)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Event:
        """Read the runner's variables and its payload file; what is missing is empty.

        Raises ConfigError when an address or the repository's name is not one.
        """
        return cls(
            name=environ.get("GITHUB_EVENT_NAME", ""),
            repository=_checked("GITHUB_REPOSITORY", environ.get("GITHUB_REPOSITORY", ""), _full_name),
            sha=environ.get("GITHUB_SHA", ""),
            ref=environ.get("GITHUB_REF", ""),
            run_id=environ.get("GITHUB_RUN_ID", ""),
            run_attempt=environ.get("GITHUB_RUN_ATTEMPT", "") or "1",
            job=environ.get("GITHUB_JOB", ""),
            step=environ.get("GITHUB_ACTION", ""),
            server_url=_url(environ, "GITHUB_SERVER_URL", "https://github.com"),
            api_url=_url(environ, "GITHUB_API_URL", "https://api.github.com"),
            payload=read_payload(environ.get("GITHUB_EVENT_PATH", "")),
        )

    @property
    def is_fork(self) -> bool:
        """Whether the commit to work on comes from another repository than the workflow, or an untold one."""
        if self.pull:
            return self.pull.is_fork
        if self.name == "workflow_run":
            return text_at(self.payload, "workflow_run", "head_repository", "full_name") != self.repository
        return self.name in _PULL_EVENTS

    @property
    def pull(self) -> Pull | None:
        """The pull request in the payload; a comment's has only its number."""
        return Pull.read(at(self.payload, "pull_request"))

    @property
    def pull_number(self) -> int | None:
        if self.pull:
            return self.pull.number
        number = at(self.payload, "issue", "number")
        is_pull = at(self.payload, "issue", "pull_request") is not None
        return number if is_pull and isinstance(number, int) else None

    @property
    def pull_to_ask_for(self) -> int | None:
        """The number of the pull request whose head only GitHub knows: a comment does not tell it."""
        return self.pull_number if self.name == "issue_comment" else None

    def known_repository(self, full_name: str) -> Repository | None:
        """What the payload says of a repository, if it is one of those that the event is about."""
        for path in _REPOSITORIES:
            if text_at(self.payload, *path, "full_name").lower() == full_name.lower():
                return Repository.read(at(self.payload, *path))
        return None

    def is_about(self, named: str | None) -> bool:
        """Whether the work on this repository (None: the event's) is on the workflow's own."""
        return not named or named.casefold() == self.repository.casefold()

    @property
    def default_branch(self) -> str:
        """The default branch of the workflow's own repository; "" where the payload does not tell."""
        repository = at(self.payload, "repository")
        if repository is None and self.name == "schedule":  # which runs on that branch and no other
            return self.ref.removeprefix("refs/heads/") if self.ref.startswith("refs/heads/") else ""
        full_name = text_at(repository, "full_name")
        return text_at(repository, "default_branch") if full_name and self.is_about(full_name) else ""

    @property
    def is_default_head(self) -> bool:
        """Whether `checkout()` is sure to be a commit of the workflow's own default branch.

        Of a `workflow_run` the names alone do not tell: a tag may be called like the branch. So its commit
        must be the one that the runner names, the default branch's last.
        """
        branch = self.default_branch
        if not branch or self.name != "workflow_run":
            return bool(branch) and self.name in _BRANCH_EVENTS and self.ref == f"refs/heads/{branch}"
        run = at(self.payload, "workflow_run")
        head = text_at(run, "head_repository", "full_name")
        return (
            text_at(run, "event") in _BRANCH_EVENTS
            and text_at(run, "head_branch") == branch
            and text_at(run, "head_sha") == self.sha
            and bool(head)
            and self.is_about(head)
        )

    def names_default_branch(self, repository: str | None, ref: str | None) -> bool:
        """Whether the inputs `repository` and `ref`, one of which is given, name the workflow's own default
        branch. Without a `ref` it is the one that git takes; a short name is a branch before it is a tag."""
        if not self.is_about(repository):
            return False
        branch = self.default_branch
        if ref and ref == self.sha:
            return self.is_default_head
        return not ref or (bool(branch) and ref in (branch, f"refs/heads/{branch}"))

    def identity(self, matrix_index: str) -> tuple[str, ...]:
        """What tells this step from every other one, for the machine's name and metadata."""
        return (self.repository, self.run_id, self.run_attempt, self.job, self.step, matrix_index)

    def checkout(self, pull: Pull | None = None) -> Checkout:
        """The commit this event is about; `pull` is GitHub's answer to `pull_to_ask_for`.

        Always a pinned commit, so that nothing pushed in the meantime is worked on.
        Raises ConfigError `event_unsupported`.
        """
        pull = pull or self.pull
        if pull and (self.name in _PULL_EVENTS or self.name == "issue_comment"):
            return self._head_of(pull)
        if self.pull_to_ask_for:
            raise self._unsupported("The head of the commented pull request is not known.")
        if self.name in _PULL_EVENTS:
            raise self._unsupported("Its payload tells of no pull request.")
        if self.name in _COMMENT_EVENTS:
            raise self._unsupported("The comment is not on a pull request.", _COMMENT_HINT)
        if self.name == "workflow_run":
            run = at(self.payload, "workflow_run")
            return self._pinned(text_at(run, "head_repository", "full_name"), text_at(run, "head_sha"), "")
        return self._pinned(self.repository, self.sha, self.ref)

    def named_checkout(self, repository: str | None, ref: str | None) -> Checkout:
        """What the inputs `repository` and `ref` name; without a repository, the workflow's own."""
        name = repository or self.repository
        if not name:
            raise self._unsupported("No repository is known.")
        sha = ref if ref and _SHA.fullmatch(ref) else ""
        return Checkout(name, self._clone_url(name), sha=sha, ref="" if sha else ref or "")

    def _head_of(self, pull: Pull) -> Checkout:
        if pull.head.repository:
            return self._pinned(pull.head.repository, pull.head.sha, "")
        # The fork is gone, but GitHub keeps the head of every pull request in the base repository.
        return self._pinned(self.repository, pull.head.sha, f"refs/pull/{pull.number}/head")

    def _pinned(self, repository: str, sha: str, ref: str) -> Checkout:
        if not _SHA.fullmatch(sha):
            raise self._unsupported("It names no commit.")
        try:
            name = _full_name(repository)
        except Refused:
            raise self._unsupported("It names no repository.") from None
        return Checkout(name, self._clone_url(name), sha=sha, ref=ref if _is_ref(ref) else "")

    def _clone_url(self, repository: str) -> str:
        return repository if "://" in repository else f"{self.server_url}/{repository}.git"

    def _unsupported(self, why: str, hint: str = "") -> ConfigError:
        details = f"The event is {quoted(self.name or 'unknown')}. {why}"
        return ConfigError("event_unsupported", details=details, hint=hint)


def _full_name(text: str) -> str:
    if "://" in text:
        raise Refused(f"{quoted(text)} is not owner/name.", "")
    return repository_name(text)


def _is_ref(ref: str) -> bool:
    try:
        return bool(ref and git_ref(ref))
    except Refused:
        return False


def _url(environ: Mapping[str, str], name: str, usual: str) -> str:
    return _checked(name, environ.get(name, ""), http_url) or usual


def _checked(name: str, text: str, reader: Any) -> str:
    try:
        return str(reader(text)) if text else ""
    except Refused as refused:
        hint = "The runner sets this variable; do not set it yourself."
        raise ConfigError("config_invalid", f"`{name}`: {refused.message}", hint=hint) from None
