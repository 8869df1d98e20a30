"""A repository the machine is to fetch, as the caller names it, and as the job tells the machine.

Fetching is the guest's; where an archive's link comes from is `archive_links`'.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    from flaude_action.secret import Secret

    SecretText = Secret | str

_TOKEN_CHARS = 8


@dataclass(frozen=True)
class Archive:
    """A commit's content as GitHub's archive: `tree` is the commit's tree id, by which the machine checks it.

    `url` downloads it, without any credential and for five minutes; so it is a secret, and asked for last.
    """

    tree: str
    url: SecretText = field(default="", repr=False)

    def secrets(self) -> list[str]:
        """The link, and the token in it, which is as good as the link."""
        url = reveal(self.url)
        tokens = [value for _, value in parse_qsl(urlsplit(url).query) if len(value) >= _TOKEN_CHARS]
        return [url, *tokens] if url else []


@dataclass(frozen=True)
class RepoSpec:
    """A repository to fetch. `branch` is a branch, tag or full ref; `sha` pins one commit of 40 hex digits.

    Without either the remote's default branch is used. `target_dir` is the folder's name, by default the
    repository's. `token` is used by the machine's root for this one fetch and never reaches the agent. With
    an `archive` of the commit `sha` nothing is fetched by git, and there is no history.
    """

    url: str
    branch: str = ""
    target_dir: str = ""
    sha: str = ""
    token: SecretText | None = field(default=None, repr=False)
    archive: Archive | None = None

    @property
    def directory(self) -> str:
        """The folder's name on the machine, which takes letters, digits and `._-` after the first one."""
        if self.target_dir:
            return self.target_dir
        name = self.url.rstrip("/").rsplit("/", 1)[-1].removesuffix(".git")
        return re.sub(r"^[.-]", "_", re.sub(r"[^A-Za-z0-9._-]", "-", name))[:100]

    @property
    def url_holds_a_secret(self) -> bool:
        """Whether a password stands in the URL, or a token in the place of a user's name."""
        try:
            parts = urlsplit(self.url)
        except ValueError:
            return False  # no URL at all: git says so
        return bool(parts.password or (parts.username and parts.scheme in ("http", "https")))

    def document(self) -> dict[str, Any]:
        return {
            "url": self.url,
            "ref": self.branch,
            "sha": self.sha,
            "directory": self.directory,
            "token": reveal(self.token) or None,
            "archive": {"url": reveal(self.archive.url), "tree": self.archive.tree} if self.archive else None,
        }

    def secrets(self) -> list[str]:
        """What must be shown nowhere: the token, the archive's link."""
        token = reveal(self.token)
        return ([token] if token else []) + (self.archive.secrets() if self.archive else [])


def reveal(value: SecretText | None) -> str:
    """The plain string behind a secret."""
    if value is None or isinstance(value, str):
        return value or ""
    return value.get_secret_value()
