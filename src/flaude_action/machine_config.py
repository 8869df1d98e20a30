"""What to run: the caller's `MachineConfig`, and the two documents made from it.

The job goes to our guest over exec and holds the secrets; the create body goes to Fly and holds none, unless
the image is foreign and takes everything as environment variables, as flaude's own image does. Sending them
is `execution`'s.
"""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from flaude_action import DEFAULT_IMAGE
from flaude_action.credential_forms import all_texts
from flaude_action.errors import ConfigError, GuestError
from flaude_action.repo_spec import RepoSpec, reveal
from flaude_action.untrusted import quoted
from flaude_guest.protocol import (
    ENV_DEADLINE_S,
    ENV_NONCE,
    ENV_PROVISION_S,
    HOLD_IDLE_S,
    HOLD_S,
    PROTOCOL,
    PROVISION_WINDOW_S,
    configuring_flags,
    configuring_members,
    configuring_variables,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flaude_action.repo_spec import SecretText

Guest = Literal["auto", "flaude", "foreign"]

GRACE_S = 10
"""How long Claude Code may take to exit after a good result."""
BOOT_S = 300
"""The longest a machine may take from create to started; most of it is the image pull."""
JOB_BYTES = 256 * 1024
"""The job travels on the stdin of one exec, which is known to take this much (`doctor` tries it)."""
MARGIN_S = 60
"""The host's deadline is later than the guest's by this, so that the guest's own verdict comes first."""

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class MachineConfig:
    """One run of Claude Code on one machine.

    Sizes are Fly's: `vm_memory_mb` in MB, `cpu_kind` shared or performance. `region` is tried first, then
    `regions` in order when Fly has no capacity; with none of them Fly chooses. Times are seconds. `settings`
    and `json_schema` are JSON text. Only with `project_settings` does the repository's own configuration
    (`.claude`, `.mcp.json`, `CLAUDE.md`) count: it can run programs and read the model's credential. Secrets
    are given as `SecretStr` or plain strings and shown by no `repr`. `guest` says whether the image has our
    guest in it; `auto` reads the image's label.
    """

    image: str = DEFAULT_IMAGE
    guest: Guest = "auto"
    prompt: str = field(default="", repr=False)
    claude_code_oauth_token: SecretText = field(default="", repr=False)
    anthropic_api_key: SecretText = field(default="", repr=False)
    anthropic_base_url: str = ""
    repos: Sequence[str | RepoSpec] = ()
    setup: str = ""
    region: str = ""
    regions: Sequence[str] = ()
    cpu_kind: str = "shared"
    vm_cpus: int = 2
    vm_memory_mb: int = 4096
    env: Mapping[str, SecretText] = field(default_factory=dict, repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict)
    model: str = ""
    max_turns: int | None = None
    max_budget_usd: float | None = None
    claude_args: Sequence[str] = ()
    settings: str = field(default="", repr=False)
    project_settings: bool = False
    allowed_tools: Sequence[str] = ()
    append_system_prompt: str = field(default="", repr=False)
    json_schema: str = ""
    timeout_s: float = 1800.0
    idle_timeout_s: float = 600.0
    show_full_output: bool = False
    session_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def check(self) -> None:
        """Raise ConfigError, carrying every problem, when this cannot run. Sizes are `inputs`' and Fly's."""
        problems: list[ConfigError] = []
        if not self.prompt.strip():
            problems.append(ConfigError("prompt_missing"))
        if not reveal(self.claude_code_oauth_token) and not reveal(self.anthropic_api_key):
            text = "No model credential: give claude_code_oauth_token or anthropic_api_key."
            problems.append(ConfigError("secret_missing", text))
        if any(repo.sha and not _COMMIT.fullmatch(repo.sha) for repo in self.repositories):
            problems.append(ConfigError("config_invalid", "RepoSpec.sha must be 40 lower-case hex digits."))
        if any(repo.url_holds_a_secret for repo in self.repositories):
            text = "A repository's URL must hold no credential: it is shown in logs."
            problems.append(ConfigError("config_invalid", text, hint="Give it as RepoSpec.token."))
        for name in () if self.project_settings else self._configured_by_files():
            text = f"{name} would let files of the repository configure Claude Code."
            hint = "Leave it out, or set project_settings if you trust all that may be checked out."
            problems.append(ConfigError("config_invalid", text, hint=hint))
        names = [repo.directory for repo in self.repositories]
        for name in sorted({name for name in names if names.count(name) > 1}):
            text = f"Two repositories want the folder {quoted(name)}."
            problems.append(
                ConfigError("config_invalid", text, hint="Leave one out, or fetch it in `setup:`.")
            )
        if not problems and (size := len(json.dumps(self.job("")))) > JOB_BYTES:
            text = (
                f"The job is {size >> 10} KiB as JSON; prompt, settings, schema and env may have"
                f" {JOB_BYTES >> 10} KiB together."
            )
            hint = "Put long texts into files of the repository and name them in the prompt."
            problems.append(ConfigError("config_invalid", text, hint=hint))
        if problems:
            raise ConfigError.of(problems)

    def _configured_by_files(self) -> list[str]:
        found = [f"claude_args: {flag}" for flag in configuring_flags(self.claude_args)]
        found += [f"env: {name}" for name in configuring_variables(self.env)]
        members = configuring_members(self.settings) if self.settings else []
        return found + [f"settings: {name}" if name else "settings, which must be JSON," for name in members]

    @property
    def repositories(self) -> tuple[RepoSpec, ...]:
        return tuple(RepoSpec(repo) if isinstance(repo, str) else repo for repo in self.repos)

    @property
    def wanted_regions(self) -> tuple[str | None, ...]:
        """Regions in the order to try, without repeats; `(None,)` leaves the choice to Fly."""
        named = dict.fromkeys(name for name in (self.region, *self.regions) if name)
        return tuple(named) or (None,)

    def texts(self) -> dict[str, str]:
        """Every text that goes to the machine, or into Fly's record of it, by the field it stands in."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: all_texts(value) for name, value in values.items()} | {
            "repos": all_texts([repo.document() for repo in self.repositories])
        }

    def secrets(self) -> list[str]:
        """Every secret string that goes to the machine."""
        tokens = [reveal(self.claude_code_oauth_token), reveal(self.anthropic_api_key)]
        for repo in self.repositories:
            tokens += repo.secrets()
        tokens += [reveal(value) for value in self.env.values() if not isinstance(value, str)]
        return [text for text in tokens if text]

    def job(self, nonce: str) -> dict[str, Any]:
        """The guest's job document: the stdin of `provision`, and the only thing that holds secrets."""
        return {
            "protocol": PROTOCOL,
            "nonce": nonce,
            "prompt": self.prompt,
            "credentials": {
                "anthropic_api_key": reveal(self.anthropic_api_key) or None,
                "claude_code_oauth_token": reveal(self.claude_code_oauth_token) or None,
            },
            "anthropic_base_url": self.anthropic_base_url or None,
            "repositories": [repo.document() for repo in self.repositories],
            "setup": self.setup or None,
            "agent": {
                "session_id": self.session_id,
                "model": self.model or None,
                "max_turns": self.max_turns,
                "max_budget_usd": self.max_budget_usd,
                "claude_args": list(self.claude_args),
                "settings": self.settings or None,
                "project_settings": self.project_settings,
                "allowed_tools": list(self.allowed_tools),
                "append_system_prompt": self.append_system_prompt or None,
                "json_schema": self.json_schema or None,
            },
            "env": {key: reveal(value) for key, value in self.env.items()},
            "masked_env": [key for key, value in self.env.items() if not isinstance(value, str)],
            "limits": {
                "timeout_s": self.timeout_s,
                "idle_timeout_s": self.idle_timeout_s,
                "hold_s": HOLD_S,
                "hold_idle_s": HOLD_IDLE_S,
                "grace_s": GRACE_S,
            },
            "show_full_output": self.show_full_output,
        }

    @property
    def lifetime_s(self) -> float:
        """The longest that a run with all its `timeout` may keep a machine."""
        return BOOT_S + self.timeout_s + HOLD_S + MARGIN_S

    def guest_env(self, nonce: str, lifetime_s: float) -> dict[str, str]:
        """Environment of a machine of ours: readable by anyone who may read the app, so no secret."""
        return {
            ENV_NONCE: nonce,
            ENV_PROVISION_S: str(PROVISION_WINDOW_S),
            ENV_DEADLINE_S: str(int(lifetime_s)),
        }

    def foreign_env(self) -> dict[str, str]:
        """Environment of a foreign image, in flaude's words. Fly shows it to anyone who may read the app."""
        given = {
            "CLAUDE_CODE_OAUTH_TOKEN": reveal(self.claude_code_oauth_token),
            "ANTHROPIC_API_KEY": reveal(self.anthropic_api_key),
            "ANTHROPIC_BASE_URL": self.anthropic_base_url,
            "FLAUDE_PROMPT": self.prompt,
        }
        if self.repositories:
            repos = [
                {"url": repo.url, "branch": repo.branch or repo.sha, "target_dir": repo.target_dir}
                for repo in self.repositories
            ]
            given["FLAUDE_REPOS"] = json.dumps(repos)
        environment = {key: value for key, value in given.items() if value}
        return environment | {key: reveal(value) for key, value in self.env.items()}

    def create_config(self, env: dict[str, str], metadata: dict[str, str]) -> dict[str, Any]:
        """`config` of the create call. https://fly.io/docs/machines/api/machines-resource/#create-a-machine"""
        return {
            "image": self.image,
            "env": env,
            "guest": {"cpu_kind": self.cpu_kind, "cpus": self.vm_cpus, "memory_mb": self.vm_memory_mb},
            "auto_destroy": True,
            "restart": {"policy": "no"},
            # Claude Code ends with a result on SIGINT and exit 0, which would lie; SIGTERM does not.
            "stop_config": {"signal": "SIGTERM", "timeout": "30s"},
            "metadata": {**self.metadata, **metadata},
        }


def guest_of(version: str | None) -> Guest:
    """What an image's label says of our guest. Raises GuestError when it is another release's."""
    if version is None:
        return "foreign"
    if version != str(PROTOCOL):
        details = f"The image speaks protocol {version[:8]}, this action speaks {PROTOCOL}."
        raise GuestError("protocol_mismatch", details=details)
    return "flaude"
