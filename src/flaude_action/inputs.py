"""Inputs: action.yml as one frozen value, read from the runner's environment with every problem at once.

How one value is written is `input_values`', `env_input`'s and `claude_args`'; here is which input uses which
notation. What several inputs mean together is `input_rules`', what triggered the run `event`'s. No pydantic:
importing it takes longer than all our own work until the create request.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from flaude_action import input_values as read
from flaude_action.claude_args import shell_words
from flaude_action.credential_forms import SECRET_INPUTS, forms_of
from flaude_action.env_credentials import credential_parts, is_credential
from flaude_action.env_input import environment, looks_secret
from flaude_action.errors import ConfigError
from flaude_action.held_credentials import held_credentials
from flaude_action.inline_credentials import inline_credentials
from flaude_action.input_rules import broken_rules, fitting_memory, leaks
from flaude_action.machine_size import SIZES, CpuKind
from flaude_action.refused import Refused
from flaude_action.secret import SecretStr
from flaude_action.untrusted import quoted
from flaude_action.workspace_file import NotReadable, read_workspace_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ProjectSettings = Literal["auto", "never", "always"]
FILE_BYTES = 256 * 1024
"""A larger file fits into no job (`machine_config.JOB_BYTES`), and is no Dockerfile."""


@dataclass(frozen=True)
class WorkspaceText:
    """A file of the workspace: its name as the workflow wrote it, and its text."""

    name: str
    text: str


def _credential(text: str) -> SecretStr:
    return SecretStr(read.credential(text))


def _file(name: str, workspace: Path) -> WorkspaceText:
    try:
        return WorkspaceText(name, read_workspace_file(workspace, name, FILE_BYTES))
    except NotReadable as reason:
        raise Refused(f"{quoted(name)} {reason}.", reason.hint) from None


def _json_or_file(text: str, workspace: Path) -> str:
    return read.json_object(text if read.looks_like_json(text) else _file(text, workspace).text)


READERS: dict[str, Callable[[str], Any]] = {
    "prompt": str,
    "anthropic_api_key": _credential,
    "claude_code_oauth_token": _credential,
    "anthropic_base_url": read.http_url,
    "github_token": _credential,
    "clone_token": _credential,
    "fly_api_token": _credential,
    "fly_app": read.app_name,
    "regions": read.region_codes,
    "cpu_kind": partial(read.one_of, choices=tuple(SIZES)),
    "cpus": partial(read.whole_number, low=1, high=16),
    "memory_mb": read.megabytes,
    "image": read.image_reference,
    "base_image": read.image_reference,
    "repository": read.repository_name,
    "ref": read.git_ref,
    "extra_repositories": read.repository_lines,
    "setup": read.shell_text,
    "model": read.model_name,
    "max_turns": partial(read.whole_number, low=1, high=10000),
    "max_budget_usd": read.dollars,
    "claude_args": shell_words,
    "allowed_tools": read.tool_rules,
    "project_settings": partial(read.one_of, choices=get_args(ProjectSettings)),
    "append_system_prompt": str,
    "env": environment,
    "timeout": read.duration_s,
    "idle_timeout": read.duration_s,
    "raise_on_failure": read.boolean,
    "show_full_output": read.boolean,
    "matrix_index": read.job_index,
}
FILE_READERS: dict[str, Callable[[str, Path], Any]] = {
    "prompt_file": _file,
    "dockerfile": _file,
    "settings": _json_or_file,
    "json_schema": _json_or_file,
}


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The fields are action.yml's inputs, in its order; what each means is said there.

    Durations are seconds. `env`'s values are as the workflow wrote them. `settings` and `json_schema` are
    JSON texts even when a file was named. Only `from_env` checks; a value made in Python is taken as it is.
    """

    prompt: str = ""
    prompt_file: WorkspaceText | None = None
    anthropic_api_key: SecretStr | None = None
    claude_code_oauth_token: SecretStr | None = None
    anthropic_base_url: str | None = None
    github_token: SecretStr | None = None
    clone_token: SecretStr | None = None
    fly_api_token: SecretStr | None = None
    fly_app: str = ""
    regions: tuple[str, ...] = ()
    cpu_kind: CpuKind = "shared"
    cpus: int = 2
    memory_mb: int = 4096
    image: str | None = None
    base_image: str | None = None
    dockerfile: WorkspaceText | None = None
    repository: str | None = None
    ref: str | None = None
    extra_repositories: tuple[tuple[str, str], ...] = ()
    setup: str | None = None
    model: str | None = None
    max_turns: int | None = None
    max_budget_usd: float | None = None
    claude_args: tuple[str, ...] = ()
    settings: str | None = None
    project_settings: ProjectSettings = "auto"
    allowed_tools: tuple[str, ...] = ()
    append_system_prompt: str | None = None
    json_schema: str | None = None
    env: dict[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 1800.0
    idle_timeout: float = 600.0
    raise_on_failure: bool = True
    show_full_output: bool = False
    matrix_index: str = "0"

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Inputs:
        """Read `INPUT_*`; empty means not given, and an input that is missing (act's post) has its default.

        Raises ConfigError whose `problems` are all that was found, in action.yml's order.
        """
        given = given_inputs(environ)
        values, refused = _read_each(given, Path(environ.get("GITHUB_WORKSPACE") or "."))
        inputs = cls(**values)
        unread = {name for name, _ in refused}
        for name, why in refused:
            if name == "memory_mb":
                why.hint = fitting_memory(inputs, unread) or why.hint
        refused += leaks(given, values, environ)
        refused += broken_rules(inputs, given, {name for name, _ in refused})
        if refused:
            order = [item.name for item in fields(cls)]
            refused.sort(key=lambda found: order.index(found[0]))
            raise ConfigError.of([_problem(*found) for found in refused])
        return inputs

    @property
    def task(self) -> str:
        """What Claude Code is asked to do."""
        return self.prompt_file.text if self.prompt_file else self.prompt

    def secrets(self) -> list[str]:
        """Everything to mask: credentials in all forms, values of `env` that could be one, parts of inputs
        that are one for sure.
        """
        masked = [value for name, value in self.env.items() if looks_secret(name, value)]
        return list(dict.fromkeys([*self._credentials(), *masked, *self._parts()]))

    def doubtful(self) -> set[str]:
        """Those that `env` gives and that, under each of their names, may as well be settings."""
        sure = [value for name, value in self.env.items() if is_credential(name, value)]
        return set(self.env.values()).difference(sure, self._parts())

    def _parts(self) -> list[str]:
        inline = inline_credentials(self.settings or "", self.claude_args, self.setup or "")
        return inline + [part for value in self.env.values() for part in credential_parts(value)]

    def _credentials(self) -> list[str]:
        given = {name: getattr(self, name) for name in SECRET_INPUTS if getattr(self, name)}
        return [form for name, secret in given.items() for form in forms_of(name, secret.get_secret_value())]


def _value(name: str, text: str, workspace: Path) -> Any:
    if not read.is_text(text):
        raise Refused("It is not UTF-8 text.", "Save the workflow as UTF-8.")
    return FILE_READERS[name](text, workspace) if name in FILE_READERS else READERS[name](text)


def _read_each(given: Mapping[str, str], workspace: Path) -> tuple[dict[str, Any], list[tuple[str, Refused]]]:
    values: dict[str, Any] = {}
    refused: list[tuple[str, Refused]] = []
    for name, text in given.items():
        try:
            values[name] = _value(name, text, workspace)
        except Refused as why:
            refused += [(name, each) for each in why.problems]
    return values, refused


def given_inputs(environ: Mapping[str, str]) -> dict[str, str]:
    """The inputs that have a value. The runner upper-cases names and cannot tell unset from empty.

    https://docs.github.com/en/actions/reference/workflows-and-actions/metadata-syntax#inputs
    """
    found = {
        name: _trimmed(environ.get(f"INPUT_{name.upper()}", ""))
        for name in (item.name for item in fields(Inputs))
    }
    return {name: value for name, value in found.items() if value}


def _trimmed(text: str) -> str:
    """Without white space around it; of several lines the first keeps its indent, which counts in YAML."""
    bare = text.strip()
    return text.strip("\r\n").rstrip() if "\n" in bare else bare


def given_secrets(environ: Mapping[str, str]) -> list[str]:
    """What to mask before the inputs are checked: every secret input as it came and in all its forms, and
    what else the runner holds."""
    given = given_inputs(environ)
    found = [form for name in SECRET_INPUTS if name in given for form in forms_of(name, given[name])]
    return found + [form for forms in held_credentials(environ).values() for form in forms]


def _problem(name: str, refused: Refused) -> ConfigError:
    return ConfigError(
        refused.type, f"Input `{name}`: {refused.message}", hint=refused.hint, meta={"input": name}
    )
