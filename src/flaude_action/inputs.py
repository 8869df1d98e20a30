"""Inputs: action.yml as one frozen model, read from the runner's environment with every problem at once.

How one value is written is `input_values`' and `claude_args`'; here is which input uses which notation, and
what several inputs mean together. What triggered the run is `event`'s.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr, ValidationError, ValidationInfo
from pydantic import field_validator as check

from flaude_action import input_values as read
from flaude_action.claude_args import check_claude_args
from flaude_action.errors import ConfigError
from flaude_action.input_values import Refused
from flaude_action.machine_size import SIZES, CpuKind, nearest_memory
from flaude_action.untrusted import quoted
from flaude_action.workspace_file import NotReadable, read_workspace_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FILE_BYTES = 1024 * 1024
DAY_S = 24 * 3600.0
_SECRET_INPUTS = (
    "anthropic_api_key", "claude_code_oauth_token", "github_token", "clone_token", "fly_api_token",
)  # fmt: skip
_SENT_TO_MACHINE = (
    "prompt", "setup", "env", "append_system_prompt", "settings", "json_schema", "claude_args",
)  # fmt: skip
_SECRET_NAME = re.compile(r"TOKEN|SECRET|KEY|PASS|CREDENTIAL|AUTH|DSN|PRIVATE|WEBHOOK", re.IGNORECASE)
_PLAIN = re.compile(r"[\W_]*[A-Za-z]*([\W_]+[A-Za-z]+)*[\W_]*|[\W\d_]*")


@dataclass(frozen=True)
class WorkspaceText:
    """A file of the workspace: its name as the workflow wrote it, and its text."""

    name: str
    text: str


def _text(reader: Callable[[str], Any]) -> BeforeValidator:
    """Read what comes as text; values that are made in Python are left to the type."""
    return BeforeValidator(lambda value: reader(value) if isinstance(value, str) else value)


def _file(name: str, info: ValidationInfo) -> WorkspaceText:
    workspace: Path = (info.context or {}).get("workspace") or Path.cwd()
    try:
        return WorkspaceText(name, read_workspace_file(workspace, name, FILE_BYTES))
    except NotReadable as reason:
        raise Refused(f"{quoted(name)} {reason}.", "Name a text file in the checked-out workspace.") from None


def _file_of_text(value: Any, info: ValidationInfo) -> Any:
    return _file(value, info) if isinstance(value, str) else value


def _json_or_file(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, str):
        return value
    return read.json_object(value if value.lstrip().startswith("{") else _file(value, info).text)


Flag = Annotated[bool, _text(read.boolean)]
Seconds = Annotated[float, _text(read.duration_s)]
Credential = Annotated[SecretStr | None, _text(read.credential)]
JsonText = Annotated[str | None, BeforeValidator(_json_or_file)]


class Inputs(BaseModel):
    """The fields are action.yml's inputs, in its order; what each means is said there.

    Durations are seconds. `env`'s values are as the workflow wrote them. `settings` and `json_schema` are
    JSON texts even when a file was named. The checks are the constructor's: an instance is always whole.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)

    prompt: str = ""
    prompt_file: Annotated[WorkspaceText | None, BeforeValidator(_file_of_text)] = None
    anthropic_api_key: Credential = None
    claude_code_oauth_token: Credential = None
    anthropic_base_url: Annotated[str | None, _text(read.http_url)] = None
    github_token: Credential = None
    clone_token: Credential = None
    fly_api_token: Credential = None
    fly_app: Annotated[str, _text(lambda text: text and read.app_name(text))] = ""
    regions: Annotated[tuple[str, ...], _text(read.region_codes)] = ()
    cpu_kind: Annotated[CpuKind, _text(partial(read.one_of, choices=tuple(SIZES)))] = "shared"
    cpus: Annotated[int, _text(partial(read.whole_number, low=1, high=16))] = 2
    memory_mb: Annotated[int, _text(partial(read.whole_number, low=256, high=131072))] = 4096
    image: Annotated[str, _text(lambda text: text and read.image_reference(text))] = ""
    repository: Annotated[str | None, _text(read.repository_name)] = None
    ref: Annotated[str | None, _text(read.git_ref)] = None
    extra_repositories: Annotated[tuple[tuple[str, str], ...], _text(read.repository_lines)] = ()
    setup: str | None = None
    model: Annotated[str | None, _text(read.model_name)] = None
    max_turns: Annotated[int | None, _text(partial(read.whole_number, low=1, high=10000))] = None
    max_budget_usd: Annotated[float | None, _text(read.dollars)] = None
    settings: JsonText = None
    allowed_tools: Annotated[tuple[str, ...], _text(read.tool_rules)] = ()
    append_system_prompt: str | None = None
    json_schema: JsonText = None
    claude_args: Annotated[tuple[str, ...], _text(read.shell_words)] = ()
    env: Annotated[dict[str, str], _text(read.environment)] = {}
    timeout: Seconds = 1800.0
    idle_timeout: Seconds = 600.0
    raise_on_failure: Flag = True
    show_full_output: Flag = False
    matrix_index: Annotated[str, _text(read.job_index)] = "0"

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Inputs:
        """Read `INPUT_*`; empty means not given, and an input that is missing (act's post) has its default.

        Raises ConfigError whose `problems` are all that was found, in action.yml's order.
        """
        given = given_inputs(environ)
        workspace = Path(environ.get("GITHUB_WORKSPACE") or ".")
        problems = [_problem(name, refused) for name, refused in _leaks(given)]
        try:
            inputs = cls.model_validate(given, context={"workspace": workspace})
        except ValidationError as error:
            problems += map(_problem_of_pydantic, error.errors(include_url=False, include_input=False))
        else:
            if not problems:
                return inputs
        order = list(cls.model_fields)
        raise ConfigError.of(sorted(problems, key=lambda problem: order.index(problem.meta["input"])))

    @property
    def task(self) -> str:
        """What Claude Code is asked to do."""
        return self.prompt_file.text if self.prompt_file else self.prompt

    def secrets(self) -> list[str]:
        """Everything to mask: the credentials, and the values of `env` that could be one."""
        credentials = (getattr(self, name) for name in _SECRET_INPUTS)
        found = [secret.get_secret_value() for secret in credentials if secret]
        return found + [value for name, value in self.env.items() if looks_secret(name, value)]

    @check("prompt_file")
    @classmethod
    def _one_prompt(cls, file: WorkspaceText | None, info: ValidationInfo) -> WorkspaceText | None:
        prompt = info.data.get("prompt", "")
        if file and prompt:
            raise Refused("`prompt` is given too.", "Keep one of `prompt:` and `prompt_file:`.")
        if not (file.text if file else prompt).strip():
            said = "The file is empty." if file else "Neither `prompt` nor `prompt_file` is given."
            raise Refused(said, "", "prompt_missing")
        return file

    @check("claude_code_oauth_token")
    @classmethod
    def _one_model_credential(cls, token: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if "anthropic_api_key" not in info.data:
            return token  # refused already
        key = info.data["anthropic_api_key"]
        if not key and not token:
            raise Refused(
                "Neither `anthropic_api_key` nor `claude_code_oauth_token` has a value.", "", "secret_missing"
            )
        if key and token:
            raise Refused("`anthropic_api_key` is given too.", "Keep the one that shall be billed.")
        if key and key.get_secret_value().startswith("sk-ant-oat"):
            raise Refused(
                "An OAuth token was given as `anthropic_api_key`.", "Pass it in this input instead."
            )
        return token

    @check("clone_token")
    @classmethod
    def _not_the_jobs_token(cls, token: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if token and token == info.data.get("github_token"):
            raise Refused(
                "It is the same as `github_token`, which never goes to a machine.",
                "Make a fine-grained token that can only read contents. Public repositories need none.",
            )
        return token

    @check("fly_api_token")
    @classmethod
    def _fly_token_needed(cls, token: SecretStr | None) -> SecretStr | None:
        if not token:
            raise Refused("It is empty.", "", "secret_missing")
        return token

    @check("fly_app")
    @classmethod
    def _app_needed(cls, app: str) -> str:
        if not app:
            raise Refused("It is empty.", "Create an app with `fly apps create <name>` and name it here.")
        return app

    @check("image")
    @classmethod
    def _image_needed(cls, image: str) -> str:
        if not image:
            raise Refused("It is empty.", "Push the machine image to a registry and name it here.")
        return image

    @check("cpus")
    @classmethod
    def _cpus_of_kind(cls, cpus: int, info: ValidationInfo) -> int:
        kind = info.data.get("cpu_kind")
        if kind and cpus not in SIZES[kind].cpus:
            choices = ", ".join(map(str, SIZES[kind].cpus))
            raise Refused(f"Fly has no {kind} machine with {cpus} CPUs.", f"Write one of {choices}.")
        return cpus

    @check("memory_mb")
    @classmethod
    def _memory_of_cpus(cls, memory_mb: int, info: ValidationInfo) -> int:
        kind, cpus = info.data.get("cpu_kind"), info.data.get("cpus")
        if kind and cpus:
            nearest = nearest_memory(kind, cpus, memory_mb)
            if memory_mb not in nearest:
                raise Refused(
                    f"Fly has no {kind} machine with {cpus} CPUs and {memory_mb} MB.",
                    f"Write {' or '.join(map(str, nearest))}.",
                )
        return memory_mb

    @check("claude_args")
    @classmethod
    def _args_not_ours(cls, args: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        check_claude_args(args, frozenset(name for name, value in info.data.items() if value))
        return args

    @check("timeout", "idle_timeout")
    @classmethod
    def _at_most_a_day(cls, seconds: float) -> float:
        if not 1 <= seconds <= DAY_S:
            raise Refused("It is not between 1s and 24h.", "Write 90s, 45m or 2h.")
        return seconds


def given_inputs(environ: Mapping[str, str]) -> dict[str, str]:
    """The inputs that have a value. The runner upper-cases names and cannot tell unset from empty.

    https://docs.github.com/en/actions/reference/workflows-and-actions/metadata-syntax#inputs
    """
    found = {name: environ.get(f"INPUT_{name.upper()}", "").strip() for name in Inputs.model_fields}
    return {name: value for name, value in found.items() if value}


def given_secrets(environ: Mapping[str, str]) -> list[str]:
    """What to mask before the inputs are checked: every secret input as it came."""
    given = given_inputs(environ)
    return [given[name] for name in _SECRET_INPUTS if name in given]


def looks_secret(name: str, value: str) -> bool:
    """Whether a value of `env` is masked: by its name, or as 8 characters that are no words and no number."""
    if _SECRET_NAME.search(name):
        return len(value) >= 4
    return len(value) >= 8 and not _PLAIN.fullmatch(value)


def _leaks(given: Mapping[str, str]) -> list[tuple[str, Refused]]:
    """Inputs bound for the machine that carry one of our secrets: the agent is to hold none of them."""
    return [
        (field, Refused(f"It holds the value of `{name}`.", "The machine gets its credentials by itself."))
        for field in _SENT_TO_MACHINE
        for name in _SECRET_INPUTS
        if len(given.get(name, "")) >= 8 and given[name] in given.get(field, "")
    ]


def _problem(name: str, refused: Refused) -> ConfigError:
    return ConfigError(
        refused.type, f"Input `{name}`: {refused.message}", hint=refused.hint, meta={"input": name}
    )


def _problem_of_pydantic(error: Any) -> ConfigError:
    name = str(error["loc"][0])
    cause = error.get("ctx", {}).get("error")
    return _problem(name, cause if isinstance(cause, Refused) else Refused("It has the wrong type.", ""))
