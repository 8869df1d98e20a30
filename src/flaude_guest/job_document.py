"""The job document of `provision`, read once and strictly: what is not understood is refused, not guessed.

Every field has the host's checks behind it already, so this is the second look of a program that is about to
act as root on it.
"""

from __future__ import annotations

import re
from typing import Any

from flaude_guest import protocol
from flaude_guest.job import AgentOptions, Archive, Job, Limits, Repository

_SHA = re.compile(r"[0-9a-f]{40}")
_DIRECTORY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_URL = re.compile(r"(https?|file)://[^\s\x00-\x1f\x7f]+")
_LINK = re.compile(r"(https://|http://(127\.0\.0\.1|localhost|\[::1\])[:/])[\x21-\x7e]+")
# https://git-scm.com/docs/git-check-ref-format, and no leading dash: a ref must never be read as an option.
_REF_FORBIDDEN = re.compile(r"^[-/]|[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|^\.|\.lock(/|$)|\.$|/$|^@$")


class JobRefused(Exception):
    """The document cannot be acted on. `type` is an id of the catalog, the text fixed wording."""

    def __init__(self, type: str, message: str) -> None:  # noqa: A002 - the field's name in every JSON form
        super().__init__(message)
        self.type = type


def read(document: Any, nonce: str) -> Job:
    """The job of a provision document. Raises JobRefused."""
    if not isinstance(document, dict):
        raise JobRefused("config_invalid", "The job is not a JSON object.")
    if document.get("protocol") != protocol.PROTOCOL or document.get("nonce") != nonce:
        raise JobRefused("protocol_mismatch", "The job is for another protocol version or another machine.")
    job = _Fields(document, "job")
    prompt = job.text("prompt")
    if not prompt.strip():
        raise JobRefused("prompt_missing", "The job's prompt is empty.")
    env = _variables(job.mapping("env"))
    repositories = tuple(_repository(_Fields(one, "repositories")) for one in job.items("repositories"))
    if len({one.directory for one in repositories}) != len(repositories):
        raise JobRefused("config_invalid", "Two repositories want the same directory.")
    return Job(
        prompt=prompt,
        credentials=_credentials(job),
        repositories=repositories,
        setup=job.text("setup"),
        agent=_agent(job.fields("agent")),
        env=env,
        limits=_limits(job.fields("limits")),
        show_full_output=job.get("show_full_output") is True,
        masked_env=tuple(name for name in job.texts("masked_env") if name in env),
    )


class _Fields:
    """Typed access to a JSON object; a wrong type is refused by the field's name, never by its value."""

    def __init__(self, document: Any, name: str) -> None:
        if not isinstance(document, dict):
            raise JobRefused("config_invalid", "%s is not an object." % name)
        self._document: dict[str, Any] = document
        self._name = name

    def get(self, key: str) -> Any:
        return self._document.get(key)

    def wrong(self, key: str) -> JobRefused:
        return JobRefused("config_invalid", "%s.%s is not valid." % (self._name, key))

    def text(self, key: str, pattern: re.Pattern[str] | None = None) -> str:
        value = self._document.get(key)
        if value is None or value == "":
            return ""
        if not _is_text(value) or (pattern and not pattern.fullmatch(value)):
            raise self.wrong(key)
        return str(value)

    def number(self, key: str, at_least: float) -> float | None:
        value = self._document.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not at_least <= value < 1e9:
            raise self.wrong(key)
        return value

    def items(self, key: str) -> list[Any]:
        value = self._document.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.wrong(key)
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        values = self.items(key)
        if not all(map(_is_text, values)):
            raise self.wrong(key)
        return tuple(values)

    def mapping(self, key: str) -> dict[str, Any]:
        value = self._document.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.wrong(key)
        return value

    def fields(self, key: str) -> _Fields:
        return _Fields(self._document.get(key), key)


def _is_text(value: Any) -> bool:
    """Something a process can be handed: no NUL, no half of a surrogate pair."""
    return isinstance(value, str) and "\0" not in value and not re.search("[\ud800-\udfff]", value)


def _repository(one: _Fields) -> Repository:
    url, ref, directory = one.text("url", _URL), one.text("ref"), one.text("directory", _DIRECTORY)
    if not url or "@" in url.split("/")[2]:
        raise one.wrong("url")
    if _REF_FORBIDDEN.search(ref):
        raise one.wrong("ref")
    if not directory:
        raise one.wrong("directory")
    sha, token = one.text("sha", _SHA), one.text("token")
    return Repository(url, ref, sha, directory, token, _archive(one, sha))


def _archive(one: _Fields, sha: str) -> Archive | None:
    """`{"url", "tree"}`; only for a pinned commit, because nothing else has one tree."""
    if one.get("archive") is None:
        return None
    archive = one.fields("archive")
    url, tree = archive.text("url", _LINK), archive.text("tree", _SHA)
    if not (sha and url and tree):
        raise one.wrong("archive")
    return Archive(url, tree)


def _credentials(job: _Fields) -> dict[str, str]:
    """Environment variables of Claude Code: at most one credential, and the address of the model API."""
    given = job.fields("credentials")
    found = {
        "ANTHROPIC_API_KEY": given.text("anthropic_api_key"),
        "CLAUDE_CODE_OAUTH_TOKEN": given.text("claude_code_oauth_token"),
        "ANTHROPIC_BASE_URL": job.text("anthropic_base_url"),
    }
    return {name: value for name, value in found.items() if value}


def _variables(env: dict[str, Any]) -> dict[str, str]:
    for name, value in env.items():
        if not _VARIABLE.fullmatch(name) or not _is_text(value):
            raise JobRefused("config_invalid", "env has an entry that is not a variable.")
    return dict(env)


def _agent(agent: _Fields) -> AgentOptions:
    session_id = agent.text("session_id", _UUID)
    turns = agent.number("max_turns", 1)
    claude_args = agent.texts("claude_args")
    if not session_id:
        raise agent.wrong("session_id")
    if "--" in claude_args:  # everything after it, our own flags too, would be read as the prompt
        raise agent.wrong("claude_args")
    settings, project_settings = agent.text("settings"), agent.get("project_settings") is True
    if not project_settings:
        if protocol.configuring_flags(claude_args):
            raise agent.wrong("claude_args")
        if settings and protocol.configuring_members(settings):
            raise agent.wrong("settings")
    return AgentOptions(
        session_id=session_id,
        model=agent.text("model"),
        max_turns=None if turns is None else int(turns),
        max_budget_usd=agent.number("max_budget_usd", 0),
        claude_args=claude_args,
        settings=settings,
        allowed_tools=agent.texts("allowed_tools"),
        append_system_prompt=agent.text("append_system_prompt"),
        json_schema=agent.text("json_schema"),
        project_settings=project_settings,
    )


def _limits(limits: _Fields) -> Limits:
    def seconds(key: str, default: float) -> float:
        value = limits.number(key, 0)
        return default if value is None else float(value)

    return Limits(
        timeout_s=seconds("timeout_s", 1800),
        idle_timeout_s=seconds("idle_timeout_s", 600),
        hold_s=seconds("hold_s", protocol.HOLD_S),
        hold_idle_s=seconds("hold_idle_s", protocol.HOLD_IDLE_S),
        grace_s=seconds("grace_s", 10),
    )
