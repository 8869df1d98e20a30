"""The job that a machine was made for, as plain values.

How it is read from the host's document, and what of that is refused, is `job_document`'s.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Mapping
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Archive:
    """A link to the content of the pinned commit, as tar.gz, and the commit's tree id, which proves it.

    The link lets anyone read the repository for a few minutes, so it is a secret.
    """

    url: str = field(repr=False)
    tree: str

    @property
    def secrets(self) -> list[str]:
        """The link, and the token in it, which is as good as the link, also as the link spells it."""
        query = urlsplit(self.url).query
        spelt = [part.partition("=")[2] for part in query.split("&")]
        return [self.url, *(value for _, value in parse_qsl(query)), *spelt]


@dataclass(frozen=True)
class Repository:
    """`ref` may be short or full, `sha` pins it; both empty means the default branch.

    With an `archive` the content comes from there, and `url` only names the repository.
    """

    url: str
    ref: str
    sha: str
    directory: str
    token: str = field(repr=False)
    archive: Archive | None = None

    @property
    def login(self) -> str:
        """The token as git sends it, '' without one: what stands after `Basic` in the header."""
        login = b"x-access-token:" + self.token.encode("utf-8")
        return base64.b64encode(login).decode("ascii") if self.token else ""

    @property
    def secrets(self) -> list[str]:
        """What lets others read the repository, in every form it is sent in."""
        return [self.token, self.login, *(self.archive.secrets if self.archive else ())]


@dataclass(frozen=True)
class Limits:
    """Seconds. `timeout_s` counts from provision to the agent's end.

    The result is held for `hold_s` in all; once all of it has been handed over, `hold_idle_s` from the host's
    last call on.
    """

    timeout_s: float
    idle_timeout_s: float
    hold_s: float
    hold_idle_s: float
    grace_s: float


@dataclass(frozen=True)
class AgentOptions:
    """What becomes Claude Code's command line.

    Without `project_settings` nothing that lies in the repository or in the agent's home configures Claude
    Code: no settings, hooks, MCP servers, memory, skills, agents or commands.
    """

    session_id: str
    model: str
    max_turns: int | None
    max_budget_usd: float | None
    claude_args: tuple[str, ...]
    settings: str
    allowed_tools: tuple[str, ...]
    append_system_prompt: str
    json_schema: str
    project_settings: bool

    @property
    def wants_schema(self) -> bool:
        """A structured answer was asked for, here or in the user's own arguments."""
        return bool(self.json_schema) or any(arg.split("=")[0] == "--json-schema" for arg in self.claude_args)


@dataclass(frozen=True)
class Job:
    prompt: str = field(repr=False)
    credentials: Mapping[str, str] = field(repr=False)
    repositories: tuple[Repository, ...]
    setup: str
    agent: AgentOptions
    env: Mapping[str, str] = field(repr=False)
    limits: Limits
    show_full_output: bool
    masked_env: tuple[str, ...] = ()

    @property
    def secrets(self) -> list[str]:
        """What must not appear in the log. Which values of `env` are secrets is for the host to say."""
        tokens = [secret for repository in self.repositories for secret in repository.secrets]
        keys = [value for name, value in self.credentials.items() if name != "ANTHROPIC_BASE_URL"]
        masked = [self.env[name] for name in self.masked_env]
        return [secret for secret in (*tokens, *keys, *masked) if secret]
